//! Peers, and the deadline of a connection, through Pingora's own connector over real sockets.

use std::net::TcpListener;

use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::tls::ALPN;
use pingora_core::upstreams::peer::Peer;
use pingora_http::RequestHeader;
use sallyport_identity::fetch::testing::TlsOrigin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn timeouts(first_byte: u64, idle: u64, whole: u64) -> Timeouts {
    Timeouts {
        connect: Timespan::from_secs(5),
        first_byte: Timespan::from_millis(first_byte),
        idle: Timespan::from_millis(idle),
        whole: Timespan::from_millis(whole),
    }
}

fn tls(ca: Option<PathBuf>, server_name: Option<&str>) -> UpstreamTls {
    UpstreamTls {
        ca: ca.map(|path| Located::nowhere(path.to_str().unwrap().to_owned())),
        server_name: server_name.map(|name| Located::nowhere(name.to_owned())),
    }
}

#[test]
fn a_peer_has_the_limits_of_its_route() {
    let upstream = build(&settings(TWO));
    let picked = upstream.pick(&[], Instant::now()).unwrap();
    let peer = upstream.peer(&picked, &timeouts(300, 1000, 0));
    let options = &peer.options;
    assert_eq!(options.total_connection_timeout, Some(Duration::from_secs(5)));
    assert_eq!(options.read_timeout, Some(Duration::from_millis(1000)), "the longer of the two");
    assert_eq!(options.write_timeout, Some(Duration::from_millis(1000)));
    assert_eq!(options.idle_timeout, Some(Duration::from_secs(60)));
    assert_eq!(options.alpn, ALPN::H1);
    assert!(options.http_upstream_request_policy.strip_hop_by_hop);
    assert_eq!(peer.address().as_inet(), Some(&picked.address()));
    assert!(!peer.is_tls());
}

#[test]
fn a_tls_peer_always_has_a_name_to_check() {
    for (target, name, sni) in [
        ("10.0.0.1:443", None, "10.0.0.1"),
        ("[::1]:443", None, "::1"),
        ("10.0.0.1:443", Some("a.internal"), "a.internal"),
    ] {
        let mut settings = settings(&[(target, 1)]);
        settings.tls = Some(tls(None, name));
        let upstream = build(&settings);
        let picked = upstream.pick(&[], Instant::now()).unwrap();
        let peer = upstream.peer(&picked, &Timeouts::default());
        assert!(peer.is_tls() && peer.verify_cert() && peer.verify_hostname());
        assert_eq!(peer.sni(), sni);
    }
}

/// The pool's key in Pingora 0.9.1 leaves out the authorities.
#[test]
fn connections_are_not_shared_between_different_trust() {
    let (one, other) = (TlsOrigin::start("a", false), TlsOrigin::start("a", false));
    let files = [one.ca_file("pool-one"), other.ca_file("pool-other")];
    let key = |ca: Option<&PathBuf>, name: &str| {
        let mut settings = settings(&[("10.0.0.1:443", 1)]);
        settings.tls = Some(tls(ca.cloned(), None));
        let upstream = Upstream::new(name, &settings, Path::new("."), &mut Report::default()).unwrap();
        let picked = upstream.pick(&[], Instant::now()).unwrap();
        upstream.peer(&picked, &Timeouts::default()).reuse_hash()
    };
    let keys =
        [key(Some(&files[0]), "a"), key(Some(&files[1]), "a"), key(None, "a"), key(Some(&files[0]), "b")];
    for (index, one) in keys.iter().enumerate() {
        assert!(keys[..index].iter().all(|other| other != one), "{keys:?}");
    }
    assert_eq!(keys[0], key(Some(&files[0]), "a"), "the same over a reload");

    // A changed file of authorities is a changed upstream, although the settings are equal.
    let mut settings = settings(&[("10.0.0.1:443", 1)]);
    settings.tls = Some(tls(Some(files[0].clone()), None));
    let running = build(&settings);
    assert!(running.same_settings(&settings, Path::new(".")));
    std::fs::copy(&files[1], &files[0]).unwrap();
    assert!(!running.same_settings(&settings, Path::new(".")));
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
}

#[test]
fn h2_is_by_prior_knowledge_and_bounded() {
    let mut settings = settings(TWO);
    settings.protocol = Protocol::H2;
    let upstream = build(&settings);
    let peer = upstream.peer(&upstream.pick(&[], Instant::now()).unwrap(), &Timeouts::default());
    assert_eq!((peer.options.alpn.get_min_http_version(), peer.options.max_h2_streams), (2, 128));
    assert!(peer.options.custom_l4.is_none(), "one exchange may not cut the connection of others");
}

/// A server that keeps connections and answers each request as it is told to.
async fn keeping(answers: &'static [&'static str]) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                for answer in answers {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                let _ = stream.read_u8().await;
            });
        }
    });
    address
}

async fn begin(connector: &Connector, peer: &HttpPeer) -> (HttpSession, bool) {
    let (mut session, reused) = connector.get_http_session(peer).await.unwrap();
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    head.insert_header("Host", "a").unwrap();
    session.write_request_header(Box::new(head)).await.unwrap();
    session.finish_request_body().await.unwrap();
    (session, reused)
}

async fn drain(session: &mut HttpSession) -> pingora_error::Result<usize> {
    let mut bytes = 0;
    while let Some(chunk) = session.read_response_body().await? {
        bytes += chunk.len();
    }
    Ok(bytes)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_with_a_deadline_is_pooled_and_its_limit_does_not_outlive_an_exchange() {
    let address = keeping(&[OK, OK]).await.to_string();
    let upstream = build(&settings(&[(&address, 1)]));
    let peer = upstream.peer(&upstream.pick(&[], Instant::now()).unwrap(), &Timeouts::default());
    let connector = Connector::new(None);
    // The limit of the first exchange is short: it would pass while the connection waits in the pool.
    let mut first = None;
    for (round, limits) in [timeouts(60_000, 60_000, 40), timeouts(60_000, 60_000, 60_000)].iter().enumerate()
    {
        let (mut session, reused) = begin(&connector, &peer).await;
        assert_eq!(reused, round == 1, "the second exchange takes the pooled connection");
        let mut pace = Pace::new(session.digest(), limits);
        pace.request_sent(Instant::now());
        session.read_response_header().await.unwrap();
        pace.response_head(Instant::now());
        assert_eq!(drain(&mut session).await.unwrap(), 2);
        if round == 0 {
            // Not finished: the exchange's end is noted late, as Pingora drops the context after the release.
            first = Some(pace);
        } else {
            first.take();
            assert_eq!(pace.late(Instant::now()), None);
        }
        connector.release_http_session(session, &*peer, peer.idle_timeout()).await;
    }
}

#[tokio::test]
async fn the_first_byte_is_limited_though_reads_may_take_longer() {
    let address = keeping(&[""]).await.to_string();
    let upstream = build(&settings(&[(&address, 1)]));
    let limits = timeouts(30, 60_000, 0);
    let peer = upstream.peer(&upstream.pick(&[], Instant::now()).unwrap(), &limits);
    let (mut session, _) = begin(&Connector::new(None), &peer).await;
    let mut pace = Pace::new(session.digest(), &limits);
    assert_eq!(pace.late(Instant::now()), None);
    pace.request_sent(Instant::now());
    within_ten_seconds(session.read_response_header()).await.unwrap_err();
    assert_eq!(pace.late(Instant::now()), Some(Late::FirstByte));
}

#[tokio::test]
async fn the_pause_in_a_body_is_limited_though_the_first_byte_may_take_longer() {
    let address = keeping(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"]).await.to_string();
    let upstream = build(&settings(&[(&address, 1)]));
    let limits = timeouts(60_000, 30, 0);
    let peer = upstream.peer(&upstream.pick(&[], Instant::now()).unwrap(), &limits);
    let (mut session, _) = begin(&Connector::new(None), &peer).await;
    let mut pace = Pace::new(session.digest(), &limits);
    pace.request_sent(Instant::now());
    session.read_response_header().await.unwrap();
    pace.response_head(Instant::now());
    while let Ok(Some(_)) = within_ten_seconds(session.read_response_body()).await {
        pace.response_chunk(Instant::now());
    }
    assert_eq!(pace.late(Instant::now()), Some(Late::Idle));
}

/// An answer without a length ends with its connection (RFC 9112, section 6.3, rule 8): cut short by the limit it
/// looks complete, and only `late` tells.
#[tokio::test]
async fn the_whole_is_limited_and_a_cut_answer_can_be_told_from_a_complete_one() {
    let address = keeping(&["HTTP/1.1 200 OK\r\n\r\npart"]).await.to_string();
    let upstream = build(&settings(&[(&address, 1)]));
    let limits = timeouts(60_000, 60_000, 50);
    let peer = upstream.peer(&upstream.pick(&[], Instant::now()).unwrap(), &limits);
    let (mut session, _) = begin(&Connector::new(None), &peer).await;
    let mut pace = Pace::new(session.digest(), &limits);
    pace.request_sent(Instant::now());
    session.read_response_header().await.unwrap();
    pace.response_head(Instant::now());
    assert_eq!(within_ten_seconds(drain(&mut session)).await.unwrap(), 4);
    assert_eq!(pace.late(Instant::now()), Some(Late::Whole));
}

#[tokio::test]
async fn deadlines_work_under_tls_and_the_certificate_is_checked() {
    let origin = TlsOrigin::start("a.internal", false);
    let ca = origin.ca_file("deadline");
    let address = origin.address.to_string();
    let limits = timeouts(30, 60_000, 0);
    let peer = |name: Option<&str>, ca: Option<PathBuf>| {
        let mut settings = settings(&[(&address, 1)]);
        settings.tls = Some(tls(ca, name));
        let upstream = build(&settings);
        upstream.peer(&upstream.pick(&[], Instant::now()).unwrap(), &limits)
    };
    let connector = Connector::new(None);
    for refused in [peer(None, Some(ca.clone())), peer(Some("a.internal"), None)] {
        assert!(within_ten_seconds(connector.get_http_session(&*refused)).await.is_err());
    }
    let (mut session, _) = begin(&connector, &peer(Some("a.internal"), Some(ca.clone()))).await;
    let mut pace = Pace::new(session.digest(), &limits);
    pace.request_sent(Instant::now());
    within_ten_seconds(session.read_response_header()).await.unwrap_err();
    assert_eq!(pace.late(Instant::now()), Some(Late::FirstByte));
    std::fs::remove_file(ca).unwrap();
}

#[tokio::test]
async fn a_refused_connection_is_told_as_pingora_tells_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let upstream = build(&settings(&[(&address, 1)]));
    let peer = upstream.peer(&upstream.pick(&[], Instant::now()).unwrap(), &Timeouts::default());
    let error = Connector::<()>::new(None).get_http_session(&*peer).await.err().unwrap();
    assert_eq!(error.etype(), &pingora_error::ErrorType::ConnectRefused);
}

#[test]
fn without_a_deadline_the_whole_is_noticed_when_asked() {
    let now = Instant::now();
    let mut pace = Pace::new(None, &timeouts(1000, 1000, 2000));
    pace.request_sent(now);
    pace.request_sent(now + Duration::from_secs(1));
    pace.response_head(now + Duration::from_secs(1));
    assert_eq!(pace.late(now + Duration::from_millis(1999)), None);
    assert_eq!(pace.late(now + Duration::from_millis(2000)), Some(Late::Whole));
    let mut endless = Pace::new(None, &timeouts(1000, 1000, 0));
    endless.request_sent(now);
    assert_eq!(endless.late(now + Duration::from_secs(3600)), None);
}

/// An origin of HTTP/2 by prior knowledge; counts its connections.
async fn h2_origin() -> (SocketAddr, Arc<AtomicU64>) {
    use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
    use pingora_core::protocols::l4::stream::Stream;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU64::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                let Ok(mut connection) = handshake(Box::new(Stream::from(socket)), None).await else {
                    return;
                };
                let digest = Arc::default();
                while let Ok(Some(H2Accept::Session(mut session))) =
                    HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)).await
                {
                    let head = pingora_http::ResponseHeader::build(200, None).unwrap();
                    session.write_response_header(Box::new(head), false).unwrap();
                    tokio::spawn(async move { session.write_body("h2".into(), true).await });
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn plain_h2_is_spoken_at_once_and_one_connection_serves_many() {
    let (address, connections) = h2_origin().await;
    let name = address.to_string();
    let mut settings = settings(&[(&name, 1)]);
    settings.protocol = Protocol::H2;
    settings.health = Some(health("/healthz"));
    let upstream = build(&settings);
    let peer = upstream.peer(&upstream.pick(&[], Instant::now()).unwrap(), &Timeouts::default());
    let connector = Connector::new(None);
    let mut sessions = Vec::new();
    for round in 0..3 {
        let (mut session, reused) = begin(&connector, &peer).await;
        assert_eq!(reused, round > 0);
        within_ten_seconds(session.read_response_header()).await.unwrap();
        assert_eq!(within_ten_seconds(drain(&mut session)).await.unwrap(), 2);
        assert!(matches!(session, HttpSession::H2(_)));
        let pace = Pace::new(session.digest(), &Timeouts::default());
        assert_eq!(pace.late(Instant::now()), None);
        sessions.push(session);
    }
    assert_eq!(connections.load(Relaxed), 1);

    // A health check speaks the same protocol, over a connection of its own.
    let target = upstream.board.load().targets[0].clone();
    target.unhealthy.store(true, Relaxed);
    let fetcher = Fetcher::new();
    for _ in 0..2 {
        within_ten_seconds(upstream.check(&target, &health("/healthz"), &fetcher)).await;
    }
    assert!(target.healthy());
    assert_eq!(connections.load(Relaxed), 3);
}
