//! How connections to HTTP/1 targets are made: as Pingora does, and with a [`Deadline`] that the edge finds again in
//! the connection's digest.

use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::ext;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{Digest, GetProxyDigest};
use pingora_error::{Error, ErrorType, OrErr};
use pingora_http::ResponseHeader;

use crate::deadline::{Deadline, Watch};

/// Connects and puts a deadline on the connection. Time limits of the connection itself are the caller's:
/// `total_connection_timeout` of the peer covers this.
#[derive(Debug)]
pub(crate) struct Dial;

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> pingora_error::Result<Stream> {
        let Some(inet) = address.as_inet() else {
            return Error::e_explain(ErrorType::InternalError, "a target that is no network address");
        };
        let socket = ext::connect(inet, None).await?;
        let watch = Watch::shared().or_err(ErrorType::InternalError, "while connecting")?;
        // Too many open files is the way this fails. Without a deadline the exchange would have no limit, so the
        // connection is not used.
        let twin =
            socket.as_fd().try_clone_to_owned().or_err(ErrorType::InternalError, "second descriptor")?;
        let deadline = Arc::new(Deadline::new(TcpStream::from(twin), watch));
        // A proxy digest is the one place where data of ours can stay with a connection of Pingora's; the response
        // it wants is that of a CONNECT proxy, which there is not.
        let none = Box::new(ResponseHeader::build_no_case(200, Some(0))?);
        let mut stream = Stream::from(socket);
        stream.set_proxy_digest(ProxyDigest::new(none, Some(Box::new(deadline))));
        Ok(stream)
    }
}

/// The deadline of the connection that this digest describes, if it was made by [`Dial`].
pub(crate) fn deadline_of(digest: &Digest) -> Option<Arc<Deadline>> {
    let data = digest.proxy_digest.as_ref()?.user_data.as_ref()?;
    data.downcast_ref::<Arc<Deadline>>().cloned()
}
