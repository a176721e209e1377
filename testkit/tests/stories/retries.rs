//! Another try: when there is one, how many there are, and when there must be none.

use sallyport_testkit::{Answer, EdgeUnderTest, Origin};

fn config(targets: &[&Origin], retry: &str) -> String {
    let targets: Vec<String> = targets.iter().map(|origin| format!("\"{}\"", origin.address())).collect();
    format!(
        r#"
upstreams:
  origin: {{ targets: [{}], ejection: {{ failures: 0 }} }}
routes:
  - match: "/{{**rest}}"
    public: true
    retry: {{ {retry} }}
    upstream: origin
"#,
        targets.join(", ")
    )
}

fn count(origin: &Origin, target: &str) -> usize {
    origin.requests().iter().filter(|request| request.target == target).count()
}

#[tokio::test]
async fn a_status_of_the_list_is_tried_again_as_often_as_allowed() {
    let failing = |times: usize| std::iter::repeat_n(Answer::status(503), times).chain([Answer::status(200)]);
    let origin = Origin::builder()
        .on_in_turn("/once", failing(1))
        .on_in_turn("/twice", failing(2))
        .on_in_turn("/thrice", failing(3))
        .on_in_turn("/other", [Answer::status(502), Answer::status(200)])
        .start()
        .await;
    let edge = EdgeUnderTest::start(&config(&[&origin], "attempts: 2, on: [\"503\"]")).await;
    for (number, (target, status, retries)) in
        [("/once", 200, 1), ("/twice", 200, 2), ("/thrice", 503, 2), ("/other", 502, 0)]
            .into_iter()
            .enumerate()
    {
        edge.get(target).await.expect(status);
        let line = &edge.access_log(number + 1).await[number];
        assert_eq!(line["retries"].as_u64().unwrap_or(0), retries, "{target}: {line}");
        assert_eq!(line["status"], status, "{target}: {line}");
        assert_eq!(count(&origin, target) as u64, 1 + retries, "{target}");
    }
    edge.wait_for_metric("sallyport_upstream_retries_total", &[("upstream", "origin")], 5.0).await;
}

// RFC 9110, section 9.2.2: a request is repeated only where twice is the same as once.
#[tokio::test]
async fn what_may_do_something_twice_is_not_repeated() {
    let answers = [Answer::status(503), Answer::status(200)];
    let mut builder = Origin::builder();
    for path in ["/post", "/patch", "/put", "/delete"] {
        builder = builder.on_in_turn(path, answers.clone());
    }
    let origin = builder.start().await;
    let edge = EdgeUnderTest::start(&config(&[&origin], "attempts: 2, on: [\"503\", reset, connect]")).await;
    for (method, target, status, tries) in [
        ("POST", "/post", 503, 1),
        ("PATCH", "/patch", 503, 1),
        ("PUT", "/put", 200, 2),
        ("DELETE", "/delete", 200, 2),
    ] {
        edge.client().await.request(method, target).body("some data").send().await.expect(status);
        assert_eq!(count(&origin, target), tries, "{method}");
    }
    let bodies: Vec<String> = origin.requests().iter().map(|request| request.body.text()).collect();
    assert!(bodies.iter().all(|body| body == "some data"), "a repeated body is the same: {bodies:?}");
}

// Each try has the whole body: it is counted once, against the limit and for the log.
#[tokio::test]
async fn a_body_that_is_sent_again_is_not_counted_again() {
    let origin = Origin::builder()
        .on_in_turn("/", [Answer::close(), Answer::status(503), Answer::echo()])
        .start()
        .await;
    let yaml = config(&[&origin], "attempts: 2, on: [\"503\", reset]") + "    body_limit: 10B\n";
    let edge = EdgeUnderTest::start(&yaml).await;
    let echo = edge.client().await.request("PUT", "/").body("0123456789").send().await.expect(200);
    assert_eq!(echo.json()["body"], "0123456789");
    let line = &edge.access_log(1).await[0];
    assert_eq!((&line["received_bytes"], &line["retries"]), (&10.into(), &2.into()), "{line}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again_where_that_is_safe() {
    let answers = [Answer::close(), Answer::status(200)];
    let origin =
        Origin::builder().on_in_turn("/get", answers.clone()).on_in_turn("/post", answers).start().await;
    let edge = EdgeUnderTest::start(&config(&[&origin], "attempts: 1, on: [reset]")).await;
    edge.get("/get").await.expect(200);
    edge.client().await.request("POST", "/post").body("x").send().await.problem(502, "bad-gateway");
    assert_eq!((count(&origin, "/get"), count(&origin, "/post")), (2, 1));
}

#[tokio::test]
async fn a_dead_target_is_gone_round_even_for_a_post() {
    let (dead, alive) = (Origin::start().await, Origin::start().await);
    let edge = EdgeUnderTest::start(&config(&[&dead, &alive], "attempts: 1, on: [connect]")).await;
    let without = EdgeUnderTest::start(&config(&[&dead, &alive], "attempts: 1, on: [\"503\"]")).await;
    dead.kill();
    dead.wait_until_idle().await;
    for method in ["GET", "POST"] {
        // Two in a row, so that one of them is the dead target's turn.
        for _ in 0..2 {
            edge.client().await.request(method, "/").body("x").send().await.expect(200);
        }
    }
    let log = edge.access_log(4).await;
    assert!(log.iter().any(|line| line["retries"] == 1), "the dead target was never chosen: {log:?}");
    assert_eq!(alive.requests().len(), 4);
    // Nothing was sent to it, but the route does not say so.
    let mut statuses = [without.get("/").await.status, without.get("/").await.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}
