//! Another configuration under load: one swap, no failed request, and on any error the running plan stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sallyport_testkit::wait::until;
use sallyport_testkit::{Answer, EdgeUnderTest, Feed, Origin, Tokens};

fn respond(text: &str) -> String {
    format!("routes:\n  - match: /\n    public: true\n    respond: {{ body: \"{text}\" }}\n")
}

#[tokio::test]
async fn the_next_request_sees_the_new_plan_on_an_open_connection() {
    let edge = EdgeUnderTest::start(&respond("one")).await;
    let mut client = edge.client().await;
    assert_eq!(client.get("/").send().await.expect(200).text(), "one");
    edge.rewrite(&respond("two"));
    let generation = edge.reload().await.unwrap();
    assert_eq!(client.get("/").send().await.expect(200).text(), "two");
    assert_eq!(edge.metric("sallyport_plan_generation", &[]).await, generation as f64);
}

#[tokio::test]
async fn a_bad_file_leaves_the_running_plan_and_says_where_and_what() {
    let edge = EdgeUnderTest::start(&respond("one")).await;
    for (bad, word) in [
        ("routes:\n  - match: /\n    public: true\n    upstream: nobody\n", "nobody"),
        ("routes: [\n", "routes.yaml"),
        ("routes:\n  - match: /\n    publick: true\n    respond: {}\n", "publick"),
    ] {
        edge.rewrite(bad);
        let error = edge.reload().await.unwrap_err();
        assert!(error.contains(word), "{word} is not in:\n{error}");
        assert_eq!(edge.get("/").await.expect(200).text(), "one");
    }
    let failed = edge.metric("sallyport_reloads_total", &[]).await;
    assert!(failed >= 3.0, "{failed}");
}

#[tokio::test]
async fn no_request_fails_while_plans_are_swapped() {
    let origin = Origin::start().await;
    let edge = Arc::new(EdgeUnderTest::start(&crate::everything_to(origin.address())).await);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (edge, stop) = (Arc::clone(&edge), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut client = edge.client().await;
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    client.get("/").send().await.expect(200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    for round in 0..20 {
        edge.rewrite(
            &(crate::everything_to(origin.address())
                + &format!("  - {{ match: \"/r{round}\", public: true, respond: {{}} }}\n")),
        );
        edge.reload().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    // Unchanged upstreams keep their connections.
    assert!(origin.connections() <= 8, "{} connections for 4 clients", origin.connections());
}

#[tokio::test]
async fn an_exchange_under_way_ends_by_the_plan_it_began_with() {
    let feed = Feed::new();
    let origin = Origin::builder().on("/stream", Answer::stream(&feed)).start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let mut client = edge.client().await;
    client.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.head().await;
    edge.rewrite(&respond("gone"));
    edge.reload().await.unwrap();
    feed.send("late");
    assert_eq!(client.some_bytes().await, b"4\r\nlate\r\n");
    feed.finish();
    assert_eq!(client.some_bytes().await, b"0\r\n\r\n");
}

#[tokio::test]
async fn limits_of_unchanged_chains_survive() {
    let yaml = |more: &str| {
        format!(
            r#"
chains:
  limited:
    - rate_limit: {{ name: one, rate: 1/h, burst: 1, key: client }}
routes:
  - match: /
    public: true
    chains: [limited]
    respond: {{ body: "x" }}
{more}"#
        )
    };
    let edge = EdgeUnderTest::start(&yaml("")).await;
    edge.get("/").await.expect(200);
    edge.rewrite(&yaml("  - { match: /new, public: true, respond: {} }\n"));
    edge.reload().await.unwrap();
    edge.get("/new").await.expect(200);
    edge.get("/").await.expect(429);
}

#[tokio::test]
async fn a_changed_file_is_loaded_by_itself_where_it_is_watched() {
    let process = "process: { access_log: \"off\", watch: true }\n";
    let edge = EdgeUnderTest::start(&(process.to_owned() + &respond("one"))).await;
    edge.rewrite(&(process.to_owned() + &respond("two")));
    until("the new plan", || async { (edge.get("/").await.text() == "two").then_some(()) }).await;
}

#[tokio::test]
async fn included_files_are_read_again() {
    let edge = EdgeUnderTest::builder()
        .file("team.yaml", "routes:\n  - { match: /team, public: true, respond: { body: one } }\n")
        .start("include: [team.yaml]\nroutes: []\n")
        .await;
    assert_eq!(edge.get("/team").await.expect(200).text(), "one");
    edge.write("team.yaml", "routes:\n  - { match: /team, public: true, respond: { body: two } }\n");
    edge.reload().await.unwrap();
    assert_eq!(edge.get("/team").await.expect(200).text(), "two");
}

#[tokio::test]
async fn a_stop_lets_exchanges_under_way_end_and_refuses_new_connections() {
    let feed = Feed::new();
    let origin = Origin::builder().on("/stream", Answer::stream(&feed)).start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let address = edge.address("public");
    let mut client = edge.client().await;
    client.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.head().await;
    let stopping = tokio::spawn(edge.stop());
    until("the closed front door", || async { tokio::net::TcpStream::connect(address).await.err() }).await;
    feed.send("last");
    assert_eq!(client.some_bytes().await, b"4\r\nlast\r\n");
    feed.finish();
    assert_eq!(client.some_bytes().await, b"0\r\n\r\n");
    stopping.await.unwrap();
}

// What a refused reload has read must not slip into force: new keys with old rules are nobody's configuration.
#[tokio::test]
async fn keys_change_with_their_configuration_and_not_before() {
    const ISSUER: &str = "https://id.test/";
    let (old, new) = (Tokens::new(ISSUER, "platform"), Tokens::new(ISSUER, "platform"));
    let origin = Origin::start().await;
    let good = format!(
        r#"
issuers:
  main: {{ issuer: "{ISSUER}", audiences: [platform], algorithms: [ES256], jwks: {{ file: jwks.json }} }}
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - {{ match: /, filters: [{{ jwt: {{ issuer: main }} }}], upstream: origin }}
"#,
        origin.address()
    );
    let edge = EdgeUnderTest::builder().file("jwks.json", old.jwks().to_string()).start(&good).await;
    let status = async |tokens: &Tokens| {
        edge.client().await.get("/").bearer(&tokens.token().sign()).send().await.status
    };
    edge.write("jwks.json", new.jwks().to_string());
    for bad in [
        good.replace("routes:", "routes: ["),
        good.replace("upstream: origin", "upstream: nobody"),
        good.clone() + "  - { match: /more, public: true, filters: [{ no_such: {} }], respond: {} }\n",
        good.clone() + "  - { match: /unguarded, respond: {} }\n",
        format!("listeners:\n  taken: {{ address: \"{}\" }}\n{good}", origin.address()),
    ] {
        edge.rewrite(&bad);
        edge.reload().await.unwrap_err();
        assert_eq!((status(&old).await, status(&new).await), (200, 401), "{bad}");
    }
    edge.rewrite(&good);
    edge.reload().await.unwrap();
    assert_eq!((status(&old).await, status(&new).await), (401, 200));
    // Nor does a key set that is none put the good one out of force.
    edge.write("jwks.json", "{ \"keys\": 7 }");
    let error = edge.reload().await.unwrap_err();
    assert!(error.contains("jwks.json"), "{error}");
    assert_eq!(status(&new).await, 200);
}

#[tokio::test]
async fn limits_of_a_route_survive_unless_they_change() {
    let yaml = |first: &str, burst: u32| {
        format!(
            r#"
routes:
{first}
  - match: /
    public: true
    filters: [{{ rate_limit: {{ name: one, rate: 1/h, burst: {burst}, key: client }} }}]
    respond: {{ body: "x" }}
"#
        )
    };
    let edge = EdgeUnderTest::start(&yaml("", 1)).await;
    edge.get("/").await.expect(200);
    edge.get("/").await.expect(429);
    // Another place in the file is no change.
    edge.rewrite(&yaml("  - { match: /new, public: true, respond: {} }", 1));
    edge.reload().await.unwrap();
    edge.get("/new").await.expect(200);
    edge.get("/").await.expect(429);
    // A refused reload is none either.
    edge.rewrite(&yaml("  - { match: /new, respond: {} }", 2));
    edge.reload().await.unwrap_err();
    edge.get("/").await.expect(429);
    edge.rewrite(&yaml("", 2));
    edge.reload().await.unwrap();
    for status in [200, 200, 429] {
        edge.get("/").await.expect(status);
    }
}
