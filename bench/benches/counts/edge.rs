//! A whole exchange over real sockets: what the thread costs that serves it, from the client's head to the log. Client and
//! origin have threads of their own, which are not counted.
//!
//! Beside it, what a proxy on Pingora costs that does nothing, and one that sets the same headers: setting one costs up to
//! four allocations in Pingora's header maps, whoever does it.

use std::any::Any;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{ProxyHttp, Session, http_proxy};
use sallyport::Edge;
use sallyport_filters::Registry;
use sallyport_testkit::Tokens;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::case::{Case, Work};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok";

const ROUTES: &str = r#"
version: 1
listeners: { public: { address: "127.0.0.1:0" } }
process: { access_log: LOG, watch: false }
issuers:
  main: { issuer: "https://id.example.com/", audiences: [platform], algorithms: [ES256], jwks: { file: jwks.json } }
upstreams: { origin: { targets: ["ORIGIN"] } }
chains:
  whole:
    - cors: { origins: ["https://app.example.com"] }
    - security_headers: { preset: api }
    - jwt: { issuer: main, forward: { X-User-Id: sub } }
    - rate_limit: { rate: 1000000/s, key: jwt.sub }
routes:
  - { match: "GET /v1/batches/{id}", chains: [whole], upstream: origin }
"#;

/// What the chain above sets for the upstream.
const REQUEST_HEADERS: [(&str, &str); 6] = [
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-Proto", "http"),
    ("X-Forwarded-Host", "api.example.com"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
    ("X-Request-Id", "01a206fb-d584-7ee0-9e41-f8d307bf43d8"),
    ("X-User-Id", "user-1"),
];

/// What it sets for the client.
const RESPONSE_HEADERS: [(&str, &str); 10] = [
    ("RateLimit-Policy", "\"chain\";q=1000000;w=1"),
    ("RateLimit", "\"chain\";r=999999;t=1"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-site"),
    ("Cache-Control", "no-store"),
    ("Vary", "Origin"),
    ("X-Request-Id", "01a206fb-d584-7ee0-9e41-f8d307bf43d8"),
];

/// Exchanges of a count: enough for what a timer does now and then to be little.
const TURNS: usize = 400;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        served("edge: bare Pingora", |runtime, origin| pingora(runtime, origin, false)),
        served("edge: Pingora that sets the same headers", |runtime, origin| pingora(runtime, origin, true)),
        served("edge: whole chain", |runtime, origin| edge(runtime, origin, "access.log")),
        served("edge: whole chain, no access log", |runtime, origin| edge(runtime, origin, "off")),
    ]
}

/// An address that serves, a request it answers with 200, and what must live as long.
type Serving = (SocketAddr, String, Box<dyn Any>);

fn served(name: &'static str, serve: fn(&Runtime, SocketAddr) -> Serving) -> Case {
    Case { name, turns: TURNS, make: Box::new(move |_| Box::new(Exchanges::new(serve))) }
}

/// A client of a server on this thread.
struct Exchanges {
    runtime: Runtime,
    go: mpsc::Sender<usize>,
    done: UnboundedReceiver<()>,
    _alive: Box<dyn Any>,
}

impl Exchanges {
    fn new(serve: fn(&Runtime, SocketAddr) -> Serving) -> Exchanges {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (address, request, alive) = serve(&runtime, origin());
        let (go, gone) = mpsc::channel();
        let (report, done) = unbounded_channel();
        thread::spawn(move || {
            let mut client = TcpStream::connect(address).unwrap();
            while let Ok(turns) = gone.recv() {
                for _ in 0..turns {
                    client.write_all(request.as_bytes()).unwrap();
                    read_answer(&mut client);
                }
                if report.send(()).is_err() {
                    return;
                }
            }
        });
        Exchanges { runtime, go, done, _alive: alive }
    }
}

impl Work for Exchanges {
    fn prepare(&mut self, _turns: usize) {}

    fn turn(&mut self, turns: usize) {
        self.go.send(turns).unwrap();
        self.runtime.block_on(self.done.recv()).unwrap();
    }
}

fn pingora(runtime: &Runtime, origin: SocketAddr, sets_headers: bool) -> Serving {
    struct Bare(SocketAddr, bool);

    #[async_trait]
    impl ProxyHttp for Bare {
        type CTX = ();
        fn new_ctx(&self) {}
        fn init_downstream_modules(&self, _modules: &mut HttpModules) {}
        async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
            Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
        }
        async fn upstream_request_filter(
            &self,
            _: &mut Session,
            head: &mut RequestHeader,
            _ctx: &mut (),
        ) -> Result<()> {
            for (name, value) in REQUEST_HEADERS.into_iter().filter(|_| self.1) {
                head.insert_header(name, value)?;
            }
            Ok(())
        }
        async fn response_filter(
            &self,
            _: &mut Session,
            head: &mut ResponseHeader,
            _ctx: &mut (),
        ) -> Result<()> {
            for (name, value) in RESPONSE_HEADERS.into_iter().filter(|_| self.1) {
                head.insert_header(name, value)?;
            }
            Ok(())
        }
    }

    let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), Bare(origin, sets_headers)));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let socket = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = socket.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((tcp, _)) = socket.accept().await {
            tcp.set_nodelay(true).unwrap();
            let (proxy, stopped) = (proxy.clone(), stopped.clone());
            tokio::spawn(async move { proxy.process_new(Box::new(Stream::from(tcp)), &stopped).await });
        }
    });
    (address, request(""), Box::new(stop))
}

fn edge(runtime: &Runtime, origin: SocketAddr, log: &str) -> Serving {
    let folder = tempfile::TempDir::new().unwrap();
    let tokens = Tokens::new("https://id.example.com/", "platform");
    tokens.write_jwks(&folder.path().join("jwks.json"));
    let routes = folder.path().join("routes.yaml");
    std::fs::write(&routes, ROUTES.replace("ORIGIN", &origin.to_string()).replace("LOG", log)).unwrap();
    let started = runtime.block_on(Edge::new(Registry::standard()).start(&routes));
    let running = started.unwrap_or_else(|error| panic!("the edge did not start:\n{error}"));
    let address = running.address("public").unwrap();
    let token = tokens.token().sign();
    (address, request(&format!("Authorization: Bearer {token}\r\n")), Box::new((running, folder)))
}

fn request(more: &str) -> String {
    format!(
        "GET /v1/batches/7?full=1 HTTP/1.1\r\nHost: api.example.com\r\nAccept: */*\r\nUser-Agent: test\r\n{more}\r\n"
    )
}

fn origin() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        for tcp in socket.incoming() {
            let mut tcp = tcp.unwrap();
            thread::spawn(move || {
                let (mut buffer, mut seen) = ([0; 16 * 1024], Vec::new());
                while let Ok(count @ 1..) = tcp.read(&mut buffer) {
                    seen.extend_from_slice(&buffer[..count]);
                    if seen.ends_with(b"\r\n\r\n") {
                        seen.clear();
                        if tcp.write_all(ANSWER).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn read_answer(client: &mut TcpStream) {
    let (mut buffer, mut seen) = ([0; 16 * 1024], Vec::new());
    while !seen.ends_with(b"\r\n\r\nok") {
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection was closed: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&seen));
}
