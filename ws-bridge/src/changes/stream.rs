//! The stream of a view's changes, as the aggregator sends it: an answer over HTTP/1.1 that does not end, cut into lines.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::line::Malformed;

/// Bytes of a line: a row and what it was, with room to spare for any `row_bytes` that makes sense.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why there are no changes to be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Away {
    #[error("{0}")]
    Connect(io::Error),
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("the aggregator does not know the view; it may run with another configuration")]
    Unknown,
    #[error("the aggregator answers with {0}")]
    Status(StatusCode),
    #[error("the aggregator has ended the stream")]
    Ended,
    #[error("the aggregator has said nothing for {0:?}")]
    Silent(Duration),
    #[error("the aggregator sends {0}")]
    Malformed(Malformed),
}

/// A stream of lines.
pub(super) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// The bytes of `buffer` that are known to hold no line's end.
    searched: usize,
    /// The connection; it goes with this.
    _connection: JoinSet<()>,
}

impl Lines {
    /// Asks for the changes of a view.
    pub(super) async fn open(socket: &Path, view: &str) -> Result<Lines, Away> {
        let stream = UnixStream::connect(socket).await.map_err(Away::Connect)?;
        let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // An error of it is an error of the body, too.
            let _ = connection.await;
        });
        // Names of views have no character that a path would escape.
        let request = Request::get(format!("/views/{view}/changes")).header(header::HOST, "aggregator");
        let Ok(request) = request.body(Empty::<Bytes>::new()) else { return Err(Away::Unknown) };
        let response = requests.send_request(request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(Away::Unknown),
            status => return Err(Away::Status(status)),
        }
        Ok(Lines { body: response.into_body(), buffer: BytesMut::new(), searched: 0, _connection: task })
    }

    /// The next line, without its end. A line that the stream ends within is none.
    pub(super) async fn next(&mut self) -> Result<Bytes, Away> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                return Err(Away::Malformed(Malformed("a line of more than 64 MiB")));
            }
            let Some(frame) = self.body.frame().await else { return Err(Away::Ended) };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
