//! A connection to an upstream for one tunnel alone: made as Pingora makes them, TLS included, but thin. It has neither the
//! pool's business nor the second descriptor by which [`sallyport_upstreams`] limits the time of exchanges.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use pingora_core::connectors::{ConnectorOptions, L4Connect, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::ext;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};

/// Its pool stays empty: a connection that was a tunnel is not used again.
static CONNECTOR: LazyLock<TransportConnector> =
    LazyLock::new(|| TransportConnector::new(Some(ConnectorOptions::new(1))));

/// Connects to a target within the peer's time limits.
///
/// # Errors
/// No connection was made.
pub(super) async fn connect(mut peer: Box<HttpPeer>) -> Result<Stream> {
    if let SocketAddr::Inet(_) = &peer._address {
        peer.options.custom_l4 = Some(Arc::new(Thin));
    }
    CONNECTOR.new_stream(&*peer).await
}

#[derive(Debug)]
struct Thin;

#[async_trait]
impl L4Connect for Thin {
    async fn connect(&self, address: &SocketAddr) -> Result<L4Stream> {
        match address.as_inet() {
            Some(inet) => Ok(L4Stream::from(ext::connect(inet, None).await?)),
            None => Error::e_explain(ErrorType::InternalError, "a target that is no network address"),
        }
    }
}
