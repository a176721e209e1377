//! How many heap allocations of ours a request costs on the pass path: those of the edge with its whole chain, less those
//! of a proxy on Pingora that does nothing but set the same headers. Setting one costs up to four in Pingora's header
//! maps, whoever does it. A binary of its own, because it counts what a whole thread allocates.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
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

/// The goal of the project.
const OURS_MAX: f64 = 10.0;
const WARM: usize = 50;
const COUNTED: usize = 500;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok";

const ROUTES: &str = r#"
version: 1
listeners: { public: { address: "127.0.0.1:0" } }
process: { access_log: access.log, watch: false }
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

/// What the chain below sets for the upstream.
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

#[test]
fn the_pass_path_allocates_little_more_than_its_headers_cost() {
    let bare = per_request(|runtime, origin| pingora(runtime, origin, false));
    let setting = per_request(|runtime, origin| pingora(runtime, origin, true));
    let edge = per_request(edge);
    println!(
        "allocations a request: bare Pingora {bare:.1}, setting the same headers {setting:.1}, the edge {edge:.1}"
    );
    let ours = edge - setting;
    assert!(ours <= OURS_MAX, "{ours:.1} allocations a request are ours");
}

/// An address that serves, a request it answers with 200, and what must live as long.
type Serving = (SocketAddr, String, Box<dyn std::any::Any>);

/// Allocations of one exchange on the thread that serves. Client and origin have threads of their own.
fn per_request(serve: fn(&Runtime, SocketAddr) -> Serving) -> f64 {
    let origin = origin();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (address, request, _alive) = serve(&runtime, origin);
    let (go, gone) = std::sync::mpsc::channel();
    let (report, mut reported) = tokio::sync::mpsc::unbounded_channel();
    thread::spawn(move || {
        let mut client = TcpStream::connect(address).unwrap();
        for count in [WARM, COUNTED] {
            gone.recv().unwrap();
            for _ in 0..count {
                client.write_all(request.as_bytes()).unwrap();
                read_answer(&mut client);
            }
            report.send(()).unwrap();
        }
    });
    let mut round = || {
        go.send(()).unwrap();
        runtime.block_on(reported.recv()).unwrap();
    };
    round();
    allocation_counter::measure(round).count_total as f64 / COUNTED as f64
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

fn edge(runtime: &Runtime, origin: SocketAddr) -> Serving {
    let folder = tempfile::TempDir::new().unwrap();
    let tokens = Tokens::new("https://id.example.com/", "platform");
    tokens.write_jwks(&folder.path().join("jwks.json"));
    let routes = folder.path().join("routes.yaml");
    std::fs::write(&routes, ROUTES.replace("ORIGIN", &origin.to_string())).unwrap();
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
