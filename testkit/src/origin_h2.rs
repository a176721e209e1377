//! An HTTP/2 origin, by prior knowledge or over TLS, with the answers and the memory of [`Origin`].
//! Of the bad answers it knows the ones that mean something over HTTP/2: a broken stream in place of a broken connection.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::answer::{Answer, Content, Piece};
use crate::body::{Body, Reading, pattern_block};
use crate::origin::{Open, Origin, OriginBuilder, Received, Shared};
use crate::wait::within;
use crate::wire::{Head, Stream};

/// An HTTP/2 origin under the story's control. It stops when it is dropped.
pub struct H2Origin {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: AbortHandle,
}

impl H2Origin {
    /// An origin that echoes every request.
    pub async fn start() -> Self {
        H2Origin::from_builder(Origin::builder().name("h2-origin")).await
    }

    /// An origin with the answers of this builder.
    pub async fn from_builder(builder: OriginBuilder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared::new(builder));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        H2Origin { shared, address, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far whose head is complete.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.borrow().requests.clone()
    }

    /// How many connections were made to it so far.
    pub fn connections(&self) -> usize {
        self.shared.log.borrow().tapes.len()
    }

    /// Waits until `count` request heads have come, and answers with all of them.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut log = self.shared.log.subscribe();
        let reached =
            within("a request at the HTTP/2 origin", log.wait_for(|log| log.requests.len() >= count)).await;
        reached.expect("the origin keeps its log").requests.clone()
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        connections.spawn(secure(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn secure(stream: TcpStream, shared: Arc<Shared>) {
    let (number, _) = shared.opened();
    let _open = Open(Arc::clone(&shared));
    match shared.tls() {
        None => connection(stream, number, Arc::clone(&shared)).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                connection(stream, number, Arc::clone(&shared)).await;
            }
        }
    }
}

async fn connection(stream: impl Stream, number: usize, shared: Arc<Shared>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(exchange(request, respond, number, Arc::clone(&shared)));
    }
}

async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    number: usize,
    shared: Arc<Shared>,
) {
    let (parts, mut incoming) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let answer = shared.answer(&target);
    let mut fields = vec![
        (":method".to_owned(), parts.method.to_string()),
        (":scheme".to_owned(), parts.uri.scheme_str().unwrap_or_default().to_owned()),
        (":authority".to_owned(), parts.uri.authority().map(ToString::to_string).unwrap_or_default()),
        (":path".to_owned(), target.clone()),
    ];
    fields.extend(pairs(&parts.headers));
    let head = Head { start: format!("{} {target} HTTP/2", parts.method), fields, raw: Vec::new() };
    let complete = incoming.is_end_stream();
    let method = parts.method.to_string();
    let index =
        shared.begin(Received { connection: number, method, target, head, body: Body::of(b""), complete });
    if !answer.early {
        read_body(&mut incoming, index, &shared).await;
    }
    if let Some(signal) = &answer.held {
        signal.given().await;
    }
    // A stream that the peer reset in the meantime is no failure of the origin; the story asserts on what it sees.
    let _ = write_answer(&mut respond, &answer, index, &shared).await;
    if answer.early {
        read_body(&mut incoming, index, &shared).await;
    }
}

async fn read_body(incoming: &mut RecvStream, index: usize, shared: &Shared) {
    let mut reading = Reading::default();
    let mut complete = true;
    while let Some(chunk) = incoming.data().await {
        let Ok(chunk) = chunk else {
            complete = false;
            break;
        };
        reading.take(&chunk);
        let _ = incoming.flow_control().release_capacity(chunk.len());
    }
    if complete && let Ok(Some(trailers)) = incoming.trailers().await {
        for (name, value) in pairs(&trailers) {
            reading.trailer(&name, &value);
        }
    }
    shared.body(index, reading.so_far(), complete);
}

async fn write_answer(
    respond: &mut SendResponse<Bytes>,
    answer: &Answer,
    index: usize,
    shared: &Shared,
) -> Result<(), h2::Error> {
    match &answer.content {
        Content::Echo => {
            let body = Bytes::from(shared.echo(index));
            let stream = &mut respond.send_response(head(200, answer, Some(body.len() as u64)), false)?;
            send(stream, body, true).await
        }
        Content::Fixed(status, body) => {
            let stream = &mut respond.send_response(head(*status, answer, None), body.is_empty())?;
            if body.is_empty() { Ok(()) } else { send(stream, body.clone(), true).await }
        }
        Content::Download(bytes) => {
            let mut stream = respond.send_response(head(200, answer, Some(*bytes)), *bytes == 0)?;
            let block = Bytes::from(pattern_block());
            let mut left = *bytes;
            while left > 0 {
                let piece = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                left -= piece as u64;
                send(&mut stream, block.slice(..piece), left == 0).await?;
            }
            Ok(())
        }
        Content::Stream(feed) => {
            let mut pieces = feed.listen();
            let mut stream = respond.send_response(head(200, answer, None), false)?;
            loop {
                match pieces.recv().await {
                    Some(Piece::Data(data)) => send(&mut stream, data, false).await?,
                    Some(Piece::End(trailers)) => return stream.send_trailers(header_map(&trailers)),
                    Some(Piece::Break) | None => {
                        stream.send_reset(Reason::INTERNAL_ERROR);
                        return Ok(());
                    }
                }
            }
        }
        Content::Cut(declared, sent) => {
            let mut stream = respond.send_response(head(200, answer, Some(*declared)), false)?;
            send(&mut stream, sent.clone(), false).await?;
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Content::Raw(_) | Content::RawKept(_) | Content::Close => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
    }
}

/// Sends data as fast as the peer's window allows.
pub(crate) async fn send(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    loop {
        if data.is_empty() {
            return if end { stream.send_data(data, true) } else { Ok(()) };
        }
        stream.reserve_capacity(data.len());
        match std::future::poll_fn(|context| stream.poll_capacity(context)).await {
            Some(capacity) => {
                let piece = data.split_to(capacity?.min(data.len()));
                let last = end && data.is_empty();
                stream.send_data(piece, last)?;
                if data.is_empty() {
                    return Ok(());
                }
            }
            None => return Err(Reason::CANCEL.into()),
        }
    }
}

/// Fields as pairs, in the order of the map.
pub(crate) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn head(status: u16, answer: &Answer, length: Option<u64>) -> Response<()> {
    let mut response = Response::builder().status(status).body(()).expect("a status of the story is valid");
    *response.headers_mut() = header_map(&answer.headers);
    if let Some(length) = length {
        response.headers_mut().insert("content-length", length.into());
    }
    response
}

fn header_map(fields: &[(String, String)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(name).expect("a header name of the story is valid");
            (name, HeaderValue::from_str(value).expect("a header value of the story is valid"))
        })
        .collect()
}
