//! An HTTP/2 client: one connection, many requests.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::task::AbortHandle;

use crate::body::Reading;
use crate::client::{connect, secure};
use crate::origin_h2::{pairs, send};
use crate::response::Response;
use crate::wait::within;
use crate::wire::{Head, Stream};

/// One HTTP/2 connection.
pub struct H2Client {
    requests: SendRequest<Bytes>,
    scheme: &'static str,
    authority: String,
    driver: AbortHandle,
}

impl H2Client {
    /// Connects by prior knowledge, without TLS (RFC 9113, section 3.3).
    ///
    /// # Errors
    /// When the other side does not speak HTTP/2.
    pub async fn plain(address: SocketAddr) -> Result<Self, h2::Error> {
        H2Client::over(connect(address).await, "http").await
    }

    /// Connects over TLS; ALPN must choose `h2`.
    ///
    /// # Panics
    /// When the handshake fails or ALPN chooses something else.
    pub async fn tls(address: SocketAddr, name: &str, config: Arc<rustls::ClientConfig>) -> Self {
        let stream = secure(address, name, config).await.expect("a TLS handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()), "ALPN did not choose HTTP/2");
        H2Client::over(stream, "https").await.expect("an HTTP/2 connection")
    }

    async fn over(stream: impl Stream, scheme: &'static str) -> Result<Self, h2::Error> {
        let (requests, connection) = within("an HTTP/2 handshake", h2::client::handshake(stream)).await?;
        // The driver ends with the connection; what went wrong is seen by the requests.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(H2Client { requests, scheme, authority: "localhost".to_owned(), driver })
    }

    /// Asks for this authority from now on. Default: localhost.
    pub fn authority(mut self, authority: &str) -> Self {
        self.authority = authority.to_owned();
        self
    }

    /// A GET on this connection.
    pub fn get(&self, target: &str) -> H2Draft {
        self.request("GET", target)
    }

    /// A request on this connection. Several may be under way at a time.
    pub fn request(&self, method: &str, target: &str) -> H2Draft {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}://{}{target}", self.scheme, self.authority))
            .body(())
            .expect("a request of the story is valid");
        H2Draft { requests: self.requests.clone(), request, body: None, trailers: None }
    }
}

impl Drop for H2Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A request that is being written.
pub struct H2Draft {
    requests: SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl H2Draft {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = http::HeaderName::try_from(name).expect("a header name of the story is valid");
        self.request.headers_mut().append(name, value.parse().expect("a header value of the story is valid"));
        self
    }

    /// Adds `authorization: Bearer`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Adds a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends it and reads the response.
    ///
    /// # Panics
    /// When the stream or the connection ends before.
    pub async fn send(self) -> Response {
        self.try_send().await.unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Sends it and reads the response.
    ///
    /// # Errors
    /// When the stream or the connection ends before.
    pub async fn try_send(self) -> Result<Response, h2::Error> {
        within("a response over HTTP/2", self.exchange()).await
    }

    async fn exchange(self) -> Result<Response, h2::Error> {
        let mut requests = self.requests.ready().await?;
        let (response, mut stream) = requests.send_request(self.request, self.body.is_none())?;
        if let Some(body) = self.body {
            // A server may answer and reset before it has read everything; its answer is what counts.
            let _ = send(&mut stream, body, self.trailers.is_none()).await;
            if let Some(trailers) = self.trailers {
                let _ = stream.send_trailers(trailers);
            }
        }
        let (parts, mut incoming) = response.await?.into_parts();
        let mut reading = Reading::default();
        while let Some(chunk) = incoming.data().await {
            let chunk = chunk?;
            reading.take(&chunk);
            incoming.flow_control().release_capacity(chunk.len())?;
        }
        if let Some(trailers) = incoming.trailers().await? {
            pairs(&trailers).iter().for_each(|(name, value)| reading.trailer(name, value));
        }
        let status = parts.status.as_u16();
        let head = Head { start: format!("HTTP/2 {status}"), fields: pairs(&parts.headers), raw: Vec::new() };
        Ok(Response { status, interim: Vec::new(), head, body: reading.so_far() })
    }
}
