//! What an origin answers, good or bad, and the switches that let a story decide when.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

/// An answer of an origin. Unless it says otherwise, the origin reads the whole request before it answers.
#[derive(Clone)]
pub struct Answer {
    pub(crate) content: Content,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) held: Option<Signal>,
    pub(crate) early: bool,
    pub(crate) continues: bool,
}

#[derive(Clone)]
pub(crate) enum Content {
    /// What was received, as JSON.
    Echo,
    Fixed(u16, Bytes),
    Stream(Feed),
    /// This many bytes of the known pattern.
    Download(u64),
    /// Verbatim bytes, then the end of the connection.
    Raw(Bytes),
    /// Verbatim bytes; the connection stays.
    RawKept(Bytes),
    /// A declared length, and fewer bytes.
    Cut(u64, Bytes),
    /// Nothing at all; the connection ends.
    Close,
}

impl Answer {
    fn of(content: Content) -> Self {
        Answer { content, headers: Vec::new(), held: None, early: false, continues: false }
    }

    /// 200 with what was received, as JSON: `method`, `target`, `version`, `headers` (pairs, in order, in the case they
    /// had), `body_bytes`, `body_sha256`, `body` (its first part), `origin` (the origin's name), `connection`.
    pub fn echo() -> Self {
        Answer::of(Content::Echo)
    }

    /// A status with a short text.
    pub fn status(status: u16) -> Self {
        Answer::fixed(status, format!("status {status}"))
    }

    /// 200 with this body as `application/json`.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Answer::fixed(200, body).header("Content-Type", "application/json")
    }

    /// A status and a body.
    pub fn fixed(status: u16, body: impl Into<Bytes>) -> Self {
        Answer::of(Content::Fixed(status, body.into()))
    }

    /// 200 with the chunks of `feed`, each sent when the story sends it.
    pub fn stream(feed: &Feed) -> Self {
        Answer::of(Content::Stream(feed.clone()))
    }

    /// 200 with so many bytes, see [`crate::body::Body::patterned`].
    pub fn download(bytes: u64) -> Self {
        Answer::of(Content::Download(bytes))
    }

    /// These bytes in place of a response, then the end of the connection.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Answer::of(Content::Raw(bytes.into()))
    }

    /// These bytes in place of a response; the connection stays open.
    pub fn raw_kept(bytes: impl Into<Bytes>) -> Self {
        Answer::of(Content::RawKept(bytes.into()))
    }

    /// A body that is declared longer than what is sent before the connection ends.
    pub fn cut(declared: u64, sent: impl Into<Bytes>) -> Self {
        Answer::of(Content::Cut(declared, sent.into()))
    }

    /// The connection ends after the request was read, without an answer.
    pub fn close() -> Self {
        Answer::of(Content::Close)
    }

    /// Adds a header to a fixed or streamed answer.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers only after `signal` was given; the request has been read by then. If the other side closes the connection
    /// before, the origin lets go of it, and [`Origin::wait_until_idle`](crate::Origin::wait_until_idle) sees that.
    pub fn held(mut self, signal: &Signal) -> Self {
        self.held = Some(signal.clone());
        self
    }

    /// Answers before the body is read, and reads the body afterwards.
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// Sends `100 Continue` before the body is read.
    pub fn continues(mut self) -> Self {
        self.continues = true;
        self
    }
}

/// A switch that a story throws once.
#[derive(Clone)]
pub struct Signal(watch::Sender<bool>);

impl Signal {
    /// A switch that was not thrown yet.
    #[allow(clippy::new_without_default, reason = "a switch without a name of its own would say nothing")]
    pub fn new() -> Self {
        Signal(watch::Sender::new(false))
    }

    /// Throws it: everything that waits goes on, now and later.
    pub fn give(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is thrown.
    pub async fn given(&self) {
        // The sender lives in `self`, so the channel cannot close here.
        let _ = self.0.subscribe().wait_for(|thrown| *thrown).await;
    }
}

/// The chunks of a streamed answer, sent by the story when it likes.
#[derive(Clone)]
pub struct Feed {
    sender: mpsc::UnboundedSender<Piece>,
    receiver: Arc<Mutex<Option<mpsc::UnboundedReceiver<Piece>>>>,
}

pub(crate) enum Piece {
    Data(Bytes),
    End(Vec<(String, String)>),
    Break,
}

impl Feed {
    /// A feed for one exchange.
    #[allow(clippy::new_without_default, reason = "as for `Signal`")]
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Feed { sender, receiver: Arc::new(Mutex::new(Some(receiver))) }
    }

    /// Sends a chunk.
    pub fn send(&self, bytes: impl Into<Bytes>) {
        // Nobody listening is a matter for the story's own asserts.
        let _ = self.sender.send(Piece::Data(bytes.into()));
    }

    /// Ends the body well.
    pub fn finish(&self) {
        let _ = self.sender.send(Piece::End(Vec::new()));
    }

    /// Ends the body well, with trailers.
    pub fn finish_with(&self, name: &str, value: &str) {
        let _ = self.sender.send(Piece::End(vec![(name.to_owned(), value.to_owned())]));
    }

    /// Breaks the connection inside the body.
    pub fn cut(&self) {
        let _ = self.sender.send(Piece::Break);
    }

    pub(crate) fn listen(&self) -> mpsc::UnboundedReceiver<Piece> {
        self.receiver.lock().unwrap().take().expect("a feed serves one exchange; make another for the next")
    }
}
