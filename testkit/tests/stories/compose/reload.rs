//! Another configuration, and an aggregator that comes and goes.

use sallyport_testkit::{Answer, ComposedEdge, EdgeUnderTest, Mode, Origin, Response, Signal};

use super::{routes, start, targets};

stories!(
    a_changed_composition_is_used_and_requests_under_way_keep_theirs,
    what_is_refused_changes_nothing,
    a_route_that_goes_is_gone_with_its_metrics,
    an_upstream_that_moves_is_called_where_it_is,
);

fn one(branches: &str) -> String {
    format!(
        "  - match: GET /one\n    public: true\n    aggregate:\n{branches}    answer: {{ timeout: 1h }}\n"
    )
}

async fn a_changed_composition_is_used_and_requests_under_way_keep_theirs(mode: Mode) {
    let signal = Signal::new();
    let origin = Origin::builder()
        .on("/a", Answer::json("1").held(&signal))
        .on("/b", Answer::json("2"))
        .on("/new", Answer::json("3"))
        .start()
        .await;
    let before = one("      a: { call: GET up/a, timeout: 1h }\n      b: { call: GET up/b, needs: [a] }\n");
    let edge = start(mode, &origin, &before).await;
    let change = async {
        origin.wait_for(1).await;
        edge.reload("", &routes(&origin, &one("      a: { call: GET up/new }\n"))).await.unwrap();
        assert_eq!(edge.get("/one").await.expect(200).text(), r#"{"a":3}"#);
        signal.give();
    };
    let (under_way, ()) = tokio::join!(edge.get("/one"), change);
    assert_eq!(under_way.expect(200).text(), r#"{"a":1,"b":2}"#);
    assert_eq!(targets(&origin), ["/a", "/new", "/b"]);
    assert_eq!(edge.get("/one").await.expect(200).text(), r#"{"a":3}"#);
}

async fn what_is_refused_changes_nothing(mode: Mode) {
    let origin = Origin::builder().on("/a", Answer::json("1")).start().await;
    let good = one("      a: { call: GET up/a }\n");
    let edge = start(mode, &origin, &good).await;
    for (bad, words) in [
        ("      a: { call: \"GET up/a/{b.$.x}\" }\n      b: { call: \"GET up/b/{a.$.x}\" }\n", "`a`"),
        ("      a: { call: GET upp/a }\n", "upp"),
        ("      a: { call: GET up/a, needs: [zzz] }\n", "zzz"),
        ("      a: { call: POST up/a, cache: { ttl: 1h } }\n", "cache"),
        ("      a: { call: \"GET up/{id}\" }\n", "id"),
    ] {
        let error = edge.reload("", &routes(&origin, &one(bad))).await.unwrap_err();
        let place = error.lines().find(|line| line.contains("routes.yaml:"));
        assert!(place.is_some() && error.contains(words), "{error}");
        let of_edge = edge.reload_edge("", &routes(&origin, &one(bad))).await.unwrap_err();
        assert!(of_edge.contains(words), "{of_edge}");
        assert_eq!(edge.get("/one").await.expect(200).text(), r#"{"a":1}"#);
        // Nor does an edge start with it.
        let started = EdgeUnderTest::builder().try_start(&routes(&origin, &one(bad))).await;
        assert!(started.is_err_and(|error| error.contains(words)));
    }
}

async fn a_route_that_goes_is_gone_with_its_metrics(mode: Mode) {
    let origin = Origin::start().await;
    let both = "  - { name: x, match: GET /x, public: true, aggregate: { a: { call: GET up/a } } }\n  \
                - { name: y, match: GET /y, public: true, aggregate: { a: { call: GET up/a } } }\n";
    let edge = start(mode, &origin, both).await;
    edge.get("/x").await.expect(200);
    edge.get("/y").await.expect(200);
    let of = |route: &'static str| {
        edge.metric("sallyport_aggregate_branches_total", [[("route", route)]].concat().leak())
    };
    assert_eq!((of("x").await, of("y").await), (1.0, 1.0));
    let second = both.split_once("  - { name: y").unwrap().1;
    edge.reload("", &routes(&origin, &format!("  - {{ name: y{second}"))).await.unwrap();
    edge.get("/x").await.problem(404, "not-found");
    edge.get("/y").await.expect(200);
    assert_eq!((of("x").await, of("y").await), (0.0, 2.0));
}

async fn an_upstream_that_moves_is_called_where_it_is(mode: Mode) {
    let (here, there) = (Origin::start().await, Origin::start().await);
    let route = one("      a: { call: GET up/a }\n");
    let edge = start(mode, &here, &route).await;
    edge.get("/one").await.expect(200);
    edge.reload("", &routes(&there, &route)).await.unwrap();
    edge.get("/one").await.expect(200);
    assert_eq!((here.requests().len(), there.requests().len()), (1, 1));
}

/// What a client is told while a part of the service is away: nothing of sockets, and that it may come again.
fn away(response: Response) {
    let text = response.text();
    assert!(!text.contains("sock") && !text.contains('/'), "{text}");
    response.problem(503, "unavailable");
}

#[tokio::test]
async fn an_aggregator_that_is_away_is_503_and_comes_back() {
    let origin = Origin::start().await;
    let route =
        one("      a: { call: GET up/a }\n") + "  - match: GET /plain\n    public: true\n    upstream: up\n";
    let mut edge = start(Mode::Separate, &origin, &route).await;
    let mut client = edge.edge.client().await;
    client.get("/one").send().await.expect(200);
    edge.stop_aggregator().await;
    for _ in 0..3 {
        away(edge.get("/one").await);
    }
    // Nobody else is concerned, nor is the connection of who asked.
    client.get("/plain").send().await.expect(200);
    away(client.get("/one").send().await);
    let line = edge.edge.access_log(6).await.remove(5);
    assert_eq!((&line["status"], &line["upstream"]), (&503.into(), &"aggregator".into()), "{line}");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("aggregator")), "{line}");
    edge.start_aggregator().await;
    edge.get("/one").await.expect(200);
}

#[tokio::test]
async fn an_aggregator_that_stops_ends_what_is_under_way() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/a", Answer::json("1").held(&signal)).start().await;
    let mut edge = start(Mode::Separate, &origin, &one("      a: { call: GET up/a, timeout: 1h }\n")).await;
    let mut client = edge.edge.client().await;
    client.send("GET /one HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    origin.wait_for(1).await;
    let (_, ()) = tokio::join!(edge.stop_aggregator(), async { signal.give() });
    assert_eq!(client.response().await.expect(200).text(), r#"{"a":1}"#);
}

/// Both load the same file, but not in the same moment.
#[tokio::test]
async fn a_route_that_the_aggregator_does_not_have_yet_is_503() {
    let origin = Origin::start().await;
    let edge = start(Mode::Separate, &origin, &one("      a: { call: GET up/a }\n")).await;
    let more = one("      a: { call: GET up/a }\n")
        + "  - { name: two, match: GET /two, public: true, aggregate: { a: { call: GET up/b } } }\n";
    edge.reload_edge("", &routes(&origin, &more)).await.unwrap();
    away(edge.get("/two").await);
    edge.get("/one").await.expect(200);
    assert_eq!(targets(&origin), ["/a"]);
    edge.reload("", &routes(&origin, &more)).await.unwrap();
    edge.get("/two").await.expect(200);
}

#[tokio::test]
async fn an_edge_begins_to_compose_with_the_first_route_that_asks_for_it() {
    let origin = Origin::builder().on("/a", Answer::json("1")).start().await;
    let plain = routes(&origin, "  - match: GET /one\n    public: true\n    upstream: up\n");
    let edge = ComposedEdge::start(Mode::Embedded, "", &plain).await;
    edge.get("/one").await.expect(200);
    let composed = routes(&origin, &one("      a: { call: GET up/a }\n"));
    for _ in 0..2 {
        edge.reload("", &composed).await.unwrap();
        assert_eq!(edge.get("/one").await.expect(200).text(), r#"{"a":1}"#);
        edge.reload("", &plain).await.unwrap();
        assert_eq!(edge.get("/one").await.expect(200).json()["target"], "/one");
    }
}
