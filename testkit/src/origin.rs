//! A real HTTP/1.1 server on loopback that remembers exactly what it received and misbehaves when told to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::answer::Answer;
use crate::body::Body;
use crate::origin_h1::accept;
use crate::wait::within;
use crate::wire::{Head, Wire};

/// An origin under the story's control. It stops when it is dropped.
pub struct Origin {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Mutex<Option<AbortHandle>>,
}

/// A request that an origin received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Which connection, counted from 0.
    pub connection: usize,
    /// The method.
    pub method: String,
    /// The target, as in the request line.
    pub target: String,
    /// The whole head, as received. Over HTTP/2 made from the fields, pseudo-headers first.
    pub head: Head,
    /// The body as far as it came.
    pub body: Body,
    /// Whether the whole body came.
    pub complete: bool,
}

impl Received {
    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.value(name)
    }

    /// The values of all headers of this name.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.head.values(name)
    }
}

/// An origin before it is started.
#[derive(Default)]
pub struct OriginBuilder {
    pub(crate) name: String,
    pub(crate) answers: HashMap<String, Vec<Answer>>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

impl OriginBuilder {
    /// The name it echoes.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// What it answers to requests for this path, whatever the query and method.
    pub fn on(self, path: &str, answer: Answer) -> Self {
        self.on_in_turn(path, [answer])
    }

    /// What it answers to the first, second, ... request for this path; the last goes on for ever.
    pub fn on_in_turn(mut self, path: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.answers.insert(path.to_owned(), answers.into_iter().collect());
        self
    }

    /// Speaks TLS.
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Binds a free port of loopback and serves.
    pub async fn start(self) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared::new(self));
        let origin = Origin { shared, address, accepting: Mutex::new(None) };
        origin.accept_on(listener);
        origin
    }
}

impl Origin {
    /// An origin that echoes every request.
    pub async fn start() -> Self {
        Origin::builder().start().await
    }

    /// An origin with answers of one's own; what they do not cover is echoed.
    pub fn builder() -> OriginBuilder {
        OriginBuilder { name: "origin".to_owned(), ..OriginBuilder::default() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far whose head is complete.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.borrow().requests.clone()
    }

    /// The latest request.
    ///
    /// # Panics
    /// When there was none.
    pub fn last(&self) -> Received {
        self.requests().pop().expect("the origin received a request")
    }

    /// Waits until `count` request heads have come, and answers with all of them.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        self.until(&format!("request {count} at the origin"), |log| log.requests.len() >= count).await
    }

    /// Waits until `count` requests have come whole.
    pub async fn wait_for_complete(&self, count: usize) -> Vec<Received> {
        let whole = move |log: &Log| log.requests.iter().filter(|r| r.complete).count() >= count;
        self.until(&format!("whole request {count} at the origin"), whole).await
    }

    /// Waits until no connection is open.
    pub async fn wait_until_idle(&self) {
        self.until("the end of the origin's connections", |log| log.open == 0).await;
    }

    /// What broke RFC 9112 in what it received. A story that fears smuggling asserts that this is empty.
    pub fn violations(&self) -> Vec<String> {
        self.shared.log.borrow().violations.clone()
    }

    /// How many connections were made to it so far.
    pub fn connections(&self) -> usize {
        self.shared.log.borrow().tapes.len()
    }

    /// Every byte received on a connection, counted from 0.
    pub fn bytes(&self, connection: usize) -> Vec<u8> {
        self.shared.log.borrow().tapes[connection].lock().unwrap().clone()
    }

    /// Stops listening and breaks every connection.
    pub fn kill(&self) {
        if let Some(task) = self.accepting.lock().unwrap().take() {
            task.abort();
        }
    }

    /// Listens again on the same port, after [`Origin::kill`].
    pub async fn restart(&self) {
        let bind = || async { TcpListener::bind(self.address).await.ok() };
        // The killed task's socket is closed by the runtime, a moment after the abort.
        let listener = crate::wait::until("the origin's own port", bind).await;
        self.accept_on(listener);
    }

    async fn until(&self, what: &str, condition: impl FnMut(&Log) -> bool) -> Vec<Received> {
        let mut log = self.shared.log.subscribe();
        let reached = within(what, log.wait_for(condition)).await;
        reached.expect("the origin keeps its log").requests.clone()
    }

    fn accept_on(&self, listener: TcpListener) {
        let task = tokio::spawn(accept(listener, Arc::clone(&self.shared)));
        *self.accepting.lock().unwrap() = Some(task.abort_handle());
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the origin's tasks share: the answers, and what was received.
pub(crate) struct Shared {
    name: String,
    answers: Mutex<HashMap<String, Vec<Answer>>>,
    tls: Option<TlsAcceptor>,
    pub(crate) log: watch::Sender<Log>,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) requests: Vec<Received>,
    pub(crate) violations: Vec<String>,
    pub(crate) tapes: Vec<Arc<Mutex<Vec<u8>>>>,
    pub(crate) open: usize,
}

impl Shared {
    pub(crate) fn new(builder: OriginBuilder) -> Self {
        Shared {
            name: builder.name,
            answers: Mutex::new(builder.answers),
            tls: builder.tls.map(TlsAcceptor::from),
            log: watch::Sender::new(Log::default()),
        }
    }

    /// The TLS side of a connection, if the origin speaks TLS; `None` when the handshake fails.
    pub(crate) async fn secure(&self, stream: TcpStream, tape: Arc<Mutex<Vec<u8>>>) -> Option<Wire> {
        match &self.tls {
            None => Some(Wire::new(stream).recording(tape)),
            Some(tls) => Some(Wire::new(tls.accept(stream).await.ok()?).recording(tape)),
        }
    }

    pub(crate) fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }

    pub(crate) fn answer(&self, target: &str) -> Answer {
        let path = target.split('?').next().unwrap_or(target);
        match self.answers.lock().unwrap().get_mut(path) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers.first().cloned().unwrap_or_else(Answer::echo),
            None => Answer::echo(),
        }
    }

    pub(crate) fn opened(&self) -> (usize, Arc<Mutex<Vec<u8>>>) {
        let tape = Arc::new(Mutex::new(Vec::new()));
        let mut number = 0;
        self.log.send_modify(|log| {
            number = log.tapes.len();
            log.tapes.push(Arc::clone(&tape));
            log.open += 1;
        });
        (number, tape)
    }

    pub(crate) fn begin(&self, received: Received) -> usize {
        let mut index = 0;
        self.log.send_modify(|log| {
            index = log.requests.len();
            log.requests.push(received);
        });
        index
    }

    pub(crate) fn body(&self, index: usize, body: Body, complete: bool) {
        self.log.send_modify(|log| {
            log.requests[index].body = body;
            log.requests[index].complete = complete;
        });
    }

    pub(crate) fn violation(&self, text: String) {
        self.log.send_modify(|log| log.violations.push(text));
    }

    /// What [`Answer::echo`] answers.
    pub(crate) fn echo(&self, index: usize) -> Vec<u8> {
        let log = self.log.borrow();
        let request = &log.requests[index];
        let version = request.head.start.rsplit(' ').next().unwrap_or_default();
        let echo = json!({
            "origin": self.name,
            "connection": request.connection,
            "method": request.method,
            "target": request.target,
            "version": version,
            "headers": request.head.fields,
            "body_bytes": request.body.bytes,
            "body_sha256": request.body.sha256,
            "body": String::from_utf8_lossy(&request.body.kept[..request.body.kept.len().min(4096)]),
        });
        echo.to_string().into_bytes()
    }
}

/// Counts a connection as open until it is dropped, however its task ends.
pub(crate) struct Open(pub(crate) Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.log.send_modify(|log| log.open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Feed, Signal};
    use crate::certificates::Certificates;
    use crate::client::Client;
    use crate::client_h2::H2Client;
    use crate::origin_h2::H2Origin;

    #[tokio::test]
    async fn echoes_what_it_received_byte_for_byte() {
        let origin = Origin::start().await;
        let mut client = Client::plain(origin.address()).await;
        let bytes = b"POST /a?b HTTP/1.1\r\nhOsT: x\r\nContent-Length: 3\r\n\r\nabc";
        client.send_slowly(bytes).await;
        let echo = client.response().await.expect(200).json();
        assert_eq!(echo["target"], "/a?b");
        assert_eq!(echo["headers"][0], json!(["hOsT", "x"]));
        assert_eq!(echo["body"], "abc");
        assert_eq!(origin.bytes(0), bytes);
        assert!(origin.last().complete);
    }

    #[tokio::test]
    async fn notices_what_another_parser_would_forgive() {
        let origin = Origin::start().await;
        let mut client = Client::plain(origin.address()).await;
        client
            .send("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            .await;
        assert!(client.closed().await.is_empty());
        assert_eq!(origin.violations().len(), 1);
    }

    #[tokio::test]
    async fn answers_when_told_and_in_turn() {
        let (signal, feed) = (Signal::new(), Feed::new());
        let origin = Origin::builder()
            .on_in_turn("/held", [Answer::status(503).held(&signal), Answer::status(204)])
            .on("/feed", Answer::stream(&feed))
            .start()
            .await;
        let mut client = Client::plain(origin.address()).await;
        client.send("GET /held HTTP/1.1\r\n\r\nGET /held HTTP/1.1\r\n\r\n").await;
        origin.wait_for(1).await;
        signal.give();
        client.response().await.expect(503);
        client.response().await.expect(204);
        client.send("GET /feed HTTP/1.1\r\n\r\n").await;
        client.head().await;
        feed.send("one");
        assert_eq!(client.some_bytes().await, b"3\r\none\r\n");
        feed.cut();
        assert!(client.closed().await.is_empty());
    }

    #[tokio::test]
    async fn misbehaves_on_purpose() {
        let origin = Origin::builder()
            .on("/cut", Answer::cut(10, "four"))
            .on("/raw", Answer::raw("nonsense\r\n\r\n"))
            .on("/close", Answer::close())
            .on("/early", Answer::status(413).early())
            .on("/continue", Answer::echo().continues())
            .start()
            .await;
        for path in ["/cut", "/raw"] {
            let mut client = Client::plain(origin.address()).await;
            client.send(format!("GET {path} HTTP/1.1\r\n\r\n")).await;
            assert!(client.try_response_to("GET").await.is_err(), "{path}");
        }
        let mut client = Client::plain(origin.address()).await;
        client.send("GET /close HTTP/1.1\r\n\r\n").await;
        assert!(client.try_response_to("GET").await.unwrap().is_none());
        let mut client = Client::plain(origin.address()).await;
        client.send("POST /early HTTP/1.1\r\nContent-Length: 2\r\n\r\n").await;
        client.response().await.expect(413);
        client.send("ok").await;
        client.send("POST /continue HTTP/1.1\r\nContent-Length: 2\r\n\r\n").await;
        client.send("ok").await;
        assert_eq!(client.response().await.expect(200).interim, [100]);
    }

    #[tokio::test]
    async fn comes_back_on_the_same_port() {
        let origin = Origin::start().await;
        let mut client = Client::plain(origin.address()).await;
        client.get("/").send().await.expect(200);
        origin.kill();
        assert!(client.closed().await.is_empty());
        origin.wait_until_idle().await;
        origin.restart().await;
        Client::plain(origin.address()).await.get("/").send().await.expect(200);
        assert_eq!(origin.connections(), 2);
    }

    #[tokio::test]
    async fn speaks_tls_and_http2() {
        let certificates = Certificates::new();
        let tls = certificates.server_config(&["localhost"], &["http/1.1"]);
        let origin = Origin::builder().tls(tls).start().await;
        let config = certificates.client_config(&["http/1.1"]);
        let mut client = Client::tls(origin.address(), "localhost", Arc::clone(&config)).await.unwrap();
        client.get("/").send().await.expect(200);
        assert!(Client::tls(origin.address(), "other.test", config).await.is_err());

        let tls = certificates.server_config(&["localhost"], &["h2"]);
        let builder = Origin::builder().tls(tls).on("/big", Answer::download(300_000));
        let origin = H2Origin::from_builder(builder).await;
        let client = H2Client::tls(origin.address(), "localhost", certificates.client_config(&["h2"])).await;
        assert_eq!(client.get("/big").send().await.expect(200).body, Body::patterned(300_000));
        let sent = Body::patterned(200_000).kept;
        let echo = client.request("PUT", "/up").body(sent.clone()).send().await.expect(200).json();
        assert_eq!(echo["body_sha256"], Body::of(&sent).sha256);
        assert_eq!(origin.requests().len(), 2);
        assert_eq!(origin.connections(), 1);
    }

    #[tokio::test]
    async fn downloads_are_what_was_declared() {
        let origin = Origin::builder().on("/big", Answer::download(3_000_000)).start().await;
        let response = Client::plain(origin.address()).await.get("/big").send().await.expect(200);
        assert_eq!(response.body, Body::patterned(3_000_000));
    }
}
