//! Origins that fail, misbehave, come back; several of them; and what the client is told.

use sallyport_testkit::wait::until;
use sallyport_testkit::{Answer, EdgeUnderTest, Origin, Signal};

fn targets(origins: &[&Origin], settings: &str, route: &str) -> String {
    let targets: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address())).collect();
    format!(
        r#"
upstreams:
  origin: {{ targets: [{}]{settings} }}
routes:
  - match: "/{{**rest}}"
    public: true
    upstream: origin
{route}"#,
        targets.join(", ")
    )
}

#[tokio::test]
async fn what_an_origin_breaks_is_502_without_a_word_about_it() {
    let origin = Origin::builder()
        .on("/close", Answer::close())
        .on("/garbage", Answer::raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"))
        .on("/half", Answer::raw("HTTP/1.1 200 OK\r\nContent-Le"))
        .on(
            "/two-lengths",
            Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        )
        .start()
        .await;
    let edge = EdgeUnderTest::start(&targets(&[&origin], "", "")).await;
    let port = origin.address().port().to_string();
    for path in ["/close", "/garbage", "/half", "/two-lengths"] {
        let response = edge.get(path).await;
        assert!(
            !response.text().contains(&port) && !response.text().contains("127.0.0.1"),
            "{}",
            response.text()
        );
        response.problem(502, "bad-gateway");
    }
    let line = &edge.access_log(1).await[0];
    assert_eq!(line["upstream"], "origin");
    assert_eq!(line["target"], origin.address().to_string());
    assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
}

#[tokio::test]
async fn nobody_there_is_502_until_the_origin_is_back() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&targets(&[&origin], ", ejection: { failures: 0 }", "")).await;
    edge.get("/").await.expect(200);
    origin.kill();
    origin.wait_until_idle().await;
    edge.get("/").await.problem(502, "bad-gateway");
    origin.restart().await;
    edge.get("/").await.expect(200);
}

#[tokio::test]
async fn a_body_cut_short_by_the_origin_is_cut_short_for_the_client() {
    let origin = Origin::builder().on("/cut", Answer::cut(100, "only this")).start().await;
    let edge = EdgeUnderTest::start(&targets(&[&origin], "", "")).await;
    let mut client = edge.client().await;
    client.send("GET /cut HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(client.try_response_to("GET").await.is_err(), "a short body passed for a whole one");
}

#[tokio::test]
async fn an_early_refusal_of_the_origin_reaches_the_client() {
    let origin = Origin::builder().on("/up", Answer::status(413).early()).start().await;
    let edge = EdgeUnderTest::start(&targets(&[&origin], "", "    body_limit: 100MiB\n")).await;
    let mut client = edge.client().await;
    client.send("PUT /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nstart").await;
    client.response_to("PUT").await.expect(413);
}

#[tokio::test]
async fn targets_take_turns_by_weight() {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let yaml = targets(&[&first, &second], "", "").replace(
        &format!("\"{}\"", second.address()),
        &format!("{{ address: \"{}\", weight: 3 }}", second.address()),
    );
    let edge = EdgeUnderTest::start(&yaml).await;
    let mut client = edge.client().await;
    for _ in 0..40 {
        client.get("/").send().await.expect(200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (10, 30));
}

#[tokio::test]
async fn least_requests_goes_round_a_busy_target() {
    let (busy_goes_on, free_goes_on) = (Signal::new(), Signal::new());
    let busy = Origin::builder().on("/held", Answer::status(200).held(&busy_goes_on)).start().await;
    let free = Origin::builder().on("/held", Answer::status(200).held(&free_goes_on)).start().await;
    let edge = EdgeUnderTest::start(&targets(&[&busy, &free], ", balance: least_requests", "")).await;
    // Four requests at a time, each sent when the one before has arrived, fill both alike.
    let mut held = Vec::new();
    for number in 1..=4 {
        let mut client = edge.client().await;
        client.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        held.push(client);
        let arrived = || async { (busy.requests().len() + free.requests().len() == number).then_some(()) };
        until("an arrival", arrived).await;
    }
    assert_eq!((busy.requests().len(), free.requests().len()), (2, 2));
    free_goes_on.give();
    edge.wait_for_metric("sallyport_requests_in_flight", &[], 2.0).await;
    let mut client = edge.client().await;
    for _ in 0..20 {
        client.get("/").send().await.expect(200);
    }
    assert_eq!((busy.requests().len(), free.requests().len()), (2, 22));
    busy_goes_on.give();
}

#[tokio::test]
async fn a_failed_try_is_repeated_where_the_route_says_so() {
    let origin = Origin::builder()
        .on_in_turn("/flaky", [Answer::status(503), Answer::status(200)])
        .on_in_turn("/post", [Answer::status(503), Answer::status(200)])
        .start()
        .await;
    let edge = EdgeUnderTest::start(&targets(
        &[&origin],
        "",
        "    retry: { attempts: 1, on: [connect, \"503\"] }\n",
    ))
    .await;
    // The budget of a fifth needs some traffic to come from.
    for _ in 0..10 {
        edge.get("/").await.expect(200);
    }
    edge.get("/flaky").await.expect(200);
    assert_eq!(edge.access_log(11).await[10]["retries"], 1);
    // RFC 9110, section 9.2.2: not a method that may do something twice.
    edge.client().await.request("POST", "/post").body("x").send().await.expect(503);
    assert_eq!(origin.requests().iter().filter(|request| request.target == "/post").count(), 1);
}

#[tokio::test]
async fn another_target_takes_over_where_one_does_not_answer() {
    let (gone, there) = (Origin::start().await, Origin::start().await);
    let edge =
        EdgeUnderTest::start(&targets(&[&gone, &there], "", "    retry: { attempts: 1, on: [connect] }\n"))
            .await;
    gone.kill();
    gone.wait_until_idle().await;
    let mut client = edge.client().await;
    for _ in 0..10 {
        client.request("POST", "/").body("x").send().await.expect(200);
    }
    assert_eq!(there.requests().len(), 10);
}

#[tokio::test]
async fn a_target_that_keeps_failing_is_left_out() {
    let bad = Origin::builder().on("/", Answer::status(503)).start().await;
    let good = Origin::start().await;
    let edge =
        EdgeUnderTest::start(&targets(&[&bad, &good], ", ejection: { failures: 3, for: 1h }", "")).await;
    let mut client = edge.client().await;
    let mut failures = 0;
    for _ in 0..30 {
        failures += usize::from(client.get("/").send().await.status == 503);
    }
    assert_eq!((failures, bad.requests().len(), good.requests().len()), (3, 3, 27));
}

#[tokio::test]
async fn a_target_that_fails_its_health_check_is_left_out_until_it_is_well() {
    let sick = Origin::builder().on_in_turn("/healthz", [Answer::status(500)]).start().await;
    let well = Origin::builder().name("well").start().await;
    let health = ", health: { path: /healthz, interval: 20ms, unhealthy_after: 1, healthy_after: 1 }";
    let edge = EdgeUnderTest::start(&targets(&[&sick, &well], health, "")).await;
    sick.wait_for(2).await;
    let answered = |origin: &Origin| origin.requests().iter().filter(|r| r.target == "/x").count();
    let mut client = edge.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/x").send().await.expect(200).json()["origin"], "well");
    }
    assert_eq!((answered(&sick), answered(&well)), (0, 10));
}

#[tokio::test]
async fn exchanges_with_one_target_have_a_limit() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/held", Answer::status(200).held(&signal)).start().await;
    let edge = EdgeUnderTest::start(&targets(&[&origin], ", in_flight: 1", "")).await;
    let mut held = edge.client().await;
    held.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    origin.wait_for(1).await;
    edge.get("/").await.problem(503, "unavailable");
    signal.give();
    held.response().await.expect(200);
    edge.wait_for_metric("sallyport_requests_in_flight", &[], 0.0).await;
    edge.get("/").await.expect(200);
}

#[tokio::test]
async fn the_host_header_is_the_clients_or_the_targets_or_a_name() {
    let origin = Origin::start().await;
    let address = origin.address().to_string();
    for (setting, host) in
        [("", "localhost"), (", host: target", &*address), (", host: service.test", "service.test")]
    {
        let edge = EdgeUnderTest::start(&targets(&[&origin], setting, "")).await;
        assert_eq!(edge.get("/").await.expect(200).echoed("host"), [host], "{setting}");
    }
}

#[tokio::test]
async fn connections_to_an_origin_are_used_again() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&targets(&[&origin], "", "")).await;
    for _ in 0..5 {
        edge.get("/").await.expect(200);
    }
    assert_eq!(origin.connections(), 1);
}
