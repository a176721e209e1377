//! TLS at the front door and towards origins, HTTP/2, and plain listeners.

use sallyport_testkit::wait::until;
use sallyport_testkit::{Answer, Certificates, Client, EdgeUnderTest, H2Client, H2Origin, Leaf, Origin};

fn listener(leaves: &[&Leaf]) -> String {
    let entry =
        |leaf: &&Leaf| format!("{{ cert: \"{}\", key: \"{}\" }}", leaf.cert.display(), leaf.key.display());
    let certificates: Vec<String> = leaves.iter().map(entry).collect();
    format!(
        "listeners:\n  public:\n    address: \"127.0.0.1:0\"\n    tls: {{ certificates: [{}] }}\n",
        certificates.join(", ")
    )
}

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let (origin, certificates) = (Origin::start().await, Certificates::new());
    let yaml = listener(&[&certificates.leaf(&["localhost"])]) + &crate::everything_to(origin.address());
    let edge = EdgeUnderTest::start(&yaml).await;
    let address = edge.address("public");
    let mut client =
        Client::tls(address, "localhost", certificates.client_config(&["http/1.1"])).await.unwrap();
    assert_eq!(client.protocol(), Some(b"http/1.1".as_slice()));
    let echo = client.get("/one").send().await.expect(200);
    assert_eq!(echo.echoed("x-forwarded-proto"), ["https"]);
    let client = H2Client::tls(address, "localhost", certificates.client_config(&["h2", "http/1.1"])).await;
    let echo = client.get("/two?a=b").send().await.expect(200);
    assert_eq!(
        (echo.json()["target"].as_str(), echo.echoed("host")),
        (Some("/two?a=b"), vec!["localhost".into()])
    );
    let lines = edge.access_log(2).await;
    assert_eq!(
        (lines[0]["protocol"].as_str(), lines[1]["protocol"].as_str()),
        (Some("HTTP/1.1"), Some("HTTP/2"))
    );
}

#[tokio::test]
async fn the_certificate_is_the_one_for_the_name() {
    let (origin, certificates) = (Origin::start().await, Certificates::new());
    let leaves = [certificates.leaf(&["a.test"]), certificates.leaf(&["b.test", "*.c.test"])];
    let yaml = listener(&[&leaves[0], &leaves[1]]) + &crate::everything_to(origin.address());
    let edge = EdgeUnderTest::start(&yaml).await;
    let config = certificates.client_config(&["http/1.1"]);
    for name in ["a.test", "b.test", "x.c.test"] {
        let mut client = Client::tls(edge.address("public"), name, config.clone()).await.unwrap();
        client.get("/").host(name).send().await.expect(200);
    }
    assert!(Client::tls(edge.address("public"), "d.test", config).await.is_err());
}

#[tokio::test]
async fn old_versions_are_refused_where_1_3_is_asked_for() {
    let (origin, certificates) = (Origin::start().await, Certificates::new());
    let leaf = certificates.leaf(&["localhost"]);
    let yaml = listener(&[&leaf]).replace("tls: {", "tls: { min_version: \"1.3\",")
        + &crate::everything_to(origin.address());
    let edge = EdgeUnderTest::start(&yaml).await;
    let old = certificates.client_config_of(&["http/1.1"], &[&rustls::version::TLS12]);
    assert!(Client::tls(edge.address("public"), "localhost", old).await.is_err());
    let new = certificates.client_config_of(&["http/1.1"], &[&rustls::version::TLS13]);
    let mut client = Client::tls(edge.address("public"), "localhost", new).await.unwrap();
    client.get("/").send().await.expect(200);
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_connections_and_open_ones_stay() {
    let (origin, certificates) = (Origin::start().await, Certificates::new());
    let leaf = certificates.leaf(&["old.test"]);
    let edge = EdgeUnderTest::start(&(listener(&[&leaf]) + &crate::everything_to(origin.address()))).await;
    let config = certificates.client_config(&["http/1.1"]);
    let mut open = Client::tls(edge.address("public"), "old.test", config.clone()).await.unwrap();
    open.get("/").send().await.expect(200);
    certificates.replace(&leaf, &["new.test"]);
    edge.reload().await.unwrap();
    open.get("/").send().await.expect(200);
    let mut client = Client::tls(edge.address("public"), "new.test", config.clone()).await.unwrap();
    client.get("/").send().await.expect(200);
    // Half a renewal is refused, and the certificate in use stays.
    std::fs::write(&leaf.key, "no key").unwrap();
    assert!(edge.reload().await.is_err());
    Client::tls(edge.address("public"), "new.test", config).await.unwrap().get("/").send().await.expect(200);
}

#[tokio::test]
async fn a_watched_certificate_is_renewed_by_itself() {
    let (origin, certificates) = (Origin::start().await, Certificates::new());
    let leaf = certificates.leaf(&["old.test"]);
    let process = "process: { access_log: \"off\" }\n";
    let yaml = process.to_owned() + &listener(&[&leaf]) + &crate::everything_to(origin.address());
    let edge = EdgeUnderTest::start(&yaml).await;
    let config = certificates.client_config(&["http/1.1"]);
    certificates.replace(&leaf, &["new.test"]);
    until("the new certificate", || async {
        Client::tls(edge.address("public"), "new.test", config.clone()).await.ok().map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn a_plain_listener_sends_everybody_to_tls() {
    let (origin, certificates) = (Origin::start().await, Certificates::new());
    let yaml = listener(&[&certificates.leaf(&["localhost"])])
        + "  plain: { address: \"127.0.0.1:0\", redirect_to: public }\n"
        + &crate::everything_to(origin.address()).replace("\"/{**rest}\"", "\"localhost/{**rest}\"");
    let edge = EdgeUnderTest::start(&yaml).await;
    let mut client = Client::plain(edge.address("plain")).await;
    let moved = client.get("/a?b=c").send().await.expect(308);
    let location = moved.header("location").unwrap();
    assert!(location.starts_with("https://localhost") && location.ends_with("/a?b=c"), "{location}");
    // Not for a host that is not ours: that would be an open redirect.
    let mut client = Client::plain(edge.address("plain")).await;
    let stranger = client.get("/").host("evil.test").send().await;
    assert_eq!(stranger.header("location"), None);
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_plain_listener_speaks_http2_only_when_asked() {
    let origin = Origin::start().await;
    let everything = crate::everything_to(origin.address());
    let listener = "listeners:\n  public: { address: \"127.0.0.1:0\", h2c: true }\n";
    let edge = EdgeUnderTest::start(&(listener.to_owned() + &everything)).await;
    let client = edge.h2_client().await;
    let (one, two) = tokio::join!(client.get("/1").send(), client.request("PUT", "/2").body("x").send());
    assert_eq!(
        (one.expect(200).json()["target"].as_str(), two.expect(200).json()["body"].as_str()),
        (Some("/1"), Some("x"))
    );
    edge.get("/3").await.expect(200);

    let edge = EdgeUnderTest::start(&everything).await;
    let refused = match H2Client::plain(edge.address("public")).await {
        Ok(client) => client.get("/").try_send().await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "HTTP/2 was spoken although `h2c` is off");
}

#[tokio::test]
async fn an_origin_over_tls_is_checked_against_its_authority_and_name() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    let tls = certificates.server_config(&["service.test"], &["http/1.1"]);
    let origin = Origin::builder().tls(tls).start().await;
    let config = |ca: &Certificates, name: &str| {
        crate::everything_to(origin.address())
            .replace("] }", &format!("], tls: {{ ca: \"{}\", server_name: {name} }} }}", ca.ca().display()))
    };
    let edge = EdgeUnderTest::start(&config(&certificates, "service.test")).await;
    edge.get("/").await.expect(200);
    for (ca, name) in [(&certificates, "other.test"), (&strangers, "service.test")] {
        let edge = EdgeUnderTest::start(&config(ca, name)).await;
        edge.get("/").await.problem(502, "bad-gateway");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn an_origin_may_speak_http2() {
    let builder = Origin::builder().on("/no", Answer::status(404)).on("/big", Answer::download(500_000));
    let origin = H2Origin::from_builder(builder).await;
    let yaml = crate::everything_to(origin.address()).replace("] }", "], protocol: h2 }");
    let edge = EdgeUnderTest::start(&yaml).await;
    let echo = edge.client().await.request("POST", "/x").body("abc").send().await.expect(200).json();
    assert_eq!((echo["version"].as_str(), echo["body"].as_str()), (Some("HTTP/2"), Some("abc")));
    edge.get("/no").await.expect(404);
    assert_eq!(edge.get("/big").await.expect(200).body.bytes, 500_000);
}
