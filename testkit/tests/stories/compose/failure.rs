//! Each way in which a service can fail, against each thing that can become of it.

use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin, Response, Signal};
use serde_json::{Value, json};

stories!(
    every_failure_and_what_becomes_of_it,
    a_required_branch_behind_a_failed_one_names_both,
    a_status_of_a_service_goes_on_only_if_it_is_named,
    a_refusal_takes_what_its_status_needs_along,
    too_much_of_everything_together,
    the_answers_own_time_is_over,
);

/// How a service fails, the rest of the branch's settings, and the word for it.
fn failures(never: &Signal) -> Vec<(Answer, &'static str, Value)> {
    let reason = |reason: &str| json!({ "name": "a", "reason": reason });
    let status = |reason: &str, status: u16| json!({ "name": "a", "reason": reason, "status": status });
    vec![
        (Answer::echo().held(never), ", timeout: 50ms", reason("timeout")),
        (Answer::close(), "", reason("broken")),
        (Answer::cut(100, "{\"a\":"), "", reason("broken")),
        (
            Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\""),
            "",
            reason("broken"),
        ),
        (
            Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n1\r\n"),
            "",
            reason("broken"),
        ),
        (Answer::raw("nonsense\r\n\r\n"), "", reason("broken")),
        (Answer::status(500), "", status("status", 500)),
        (Answer::status(404), "", status("status", 404)),
        (Answer::status(302).header("Location", "http://10.0.0.7:9/x"), "", status("redirect", 302)),
        (Answer::status(304), "", status("redirect", 304)),
        (Answer::json("{\"a\":"), "", reason("invalid-body")),
        (Answer::json("{} {}"), "", reason("invalid-body")),
        (Answer::json(b"\"\xff\"".to_vec()), "", reason("invalid-body")),
        (Answer::json(format!("{}{}", "[".repeat(129), "]".repeat(129))), "", reason("invalid-body")),
        (Answer::fixed(200, "<a/>").header("Content-Type", "application/xml"), "", reason("content-type")),
        (Answer::fixed(200, "{}"), "", reason("content-type")),
        (Answer::json("{}").header("Content-Encoding", "gzip"), "", reason("content-coding")),
        (Answer::json("[1, 2, 3, 4]"), ", bytes: 10B", reason("too-large")),
        (Answer::cut(1 << 40, "["), "", reason("too-large")),
        (Answer::json("{}"), ", flatten: $.data", reason("missing-value")),
        (Answer::json("7"), ", pick: [a]", reason("shape")),
    ]
}

/// One route for each thing that can become of a failure.
fn routes(rest: &str) -> String {
    let mut routes = String::new();
    for (path, on_error) in [
        ("fail", ""),
        ("null", ", on_error: \"null\""),
        ("omit", ", on_error: omit"),
        ("value", ", on_error: { value: { items: [], n: 1.5 } }"),
        ("stale", ", on_error: stale, cache: { ttl: 1h }"),
    ] {
        routes += &format!(
            "  - match: GET /{path}\n    public: true\n    aggregate:\n      \
             a: {{ call: GET up/a{rest}{on_error} }}\n      b: {{ call: GET up/b }}\n"
        );
    }
    routes
}

async fn every_failure_and_what_becomes_of_it(mode: Mode) {
    let never = Signal::new();
    let mut failures: Vec<_> =
        failures(&never).into_iter().map(|(answer, rest, said)| (Some(answer), rest, said)).collect();
    failures.push((None, "", json!({ "name": "a", "reason": "connect" })));
    for (answer, rest, reason) in failures {
        let refused = answer.is_none();
        let origin =
            Origin::builder().on("/b", Answer::json("2")).on("/a", answer.unwrap_or_else(Answer::echo));
        let origin = origin.start().await;
        let gone = Origin::start().await;
        gone.kill();
        let routes = routes(rest);
        let routes = if refused { routes.replace("GET up/a", "GET gone/a") } else { routes };
        let yaml = format!(
            "upstreams:\n  up: {{ targets: [\"{}\"] }}\n  gone: {{ targets: [\"{}\"] }}\nroutes:\n{routes}",
            origin.address(),
            gone.address()
        );
        let edge = ComposedEdge::start(mode, "", &yaml).await;
        let late = reason["reason"] == "timeout";
        let (status, slug) = if late { (504, "gateway-timeout") } else { (502, "bad-gateway") };
        let failed = edge.get("/fail").await;
        tells_nothing_internal(&failed);
        let timing = failed.header("server-timing").unwrap_or_default().to_owned();
        let word = reason["reason"].as_str().unwrap();
        assert!(timing.contains(&format!("desc=\"{word}\"")), "{reason}: {timing}");
        assert_eq!(failed.header("cache-control"), Some("no-store"));
        assert_eq!(failed.header("x-aggregate-complete"), None);
        let id = failed.header("x-request-id").unwrap().to_owned();
        let detail = if late { "the branch `a` did not end in time" } else { "the branch `a` failed" };
        assert_eq!(
            failed.problem(status, slug),
            json!({
                "type": format!("urn:sallyport:problem:{slug}"),
                "title": if late { "Gateway timeout" } else { "Bad gateway" },
                "status": status,
                "detail": detail,
                "instance": format!("urn:sallyport:request:{id}"),
                "branches": [reason],
            })
        );
        for (path, text) in [
            ("/null", r#"{"a":null,"b":2}"#),
            ("/omit", r#"{"b":2}"#),
            ("/value", r#"{"a":{"items":[],"n":1.5},"b":2}"#),
            ("/stale", r#"{"a":null,"b":2}"#),
        ] {
            let answer = edge.get(path).await.expect(200);
            assert_eq!(answer.text(), text, "{path} {reason}");
            assert_eq!(answer.header("x-aggregate-complete"), Some("false"), "{path} {reason}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path} {reason}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
        edge.wait_for_metric("sallyport_aggregate_branches_total", &[("branch", "a"), ("result", word)], 5.0)
            .await;
        edge.wait_for_metric("sallyport_aggregate_answers_total", &[("result", "incomplete")], 4.0).await;
        edge.wait_for_metric("sallyport_aggregate_in_flight", &[], 0.0).await;
    }
}

const CHAINED: &str = r#"
  - match: GET /chained
    public: true
    aggregate:
      a: { call: GET up/a, timeout: 50ms, on_error: omit }
      b: { call: "GET up/b?x={a.$.x}", on_error: omit }
      c: { call: GET up/c, needs: [b] }
      other: { call: GET up/other, on_error: "null" }
"#;

async fn a_required_branch_behind_a_failed_one_names_both(mode: Mode) {
    let never = Signal::new();
    let origin = Origin::builder()
        .on("/a", Answer::echo().held(&never))
        .on("/other", Answer::status(503))
        .start()
        .await;
    let edge = super::start(mode, &origin, CHAINED).await;
    let problem = edge.get("/chained").await.problem(504, "gateway-timeout");
    assert_eq!(problem["detail"], "the branch `c` did not end in time");
    assert_eq!(
        problem["branches"],
        json!([
            { "name": "a", "reason": "timeout" },
            { "name": "b", "reason": "needs" },
            { "name": "c", "reason": "needs" },
            { "name": "other", "reason": "status", "status": 503 },
        ])
    );
}

const PASSED: &str = r#"
  - match: GET /passed
    public: true
    aggregate:
      a: { call: GET up/a, pass_statuses: [404, 409] }
"#;

async fn a_status_of_a_service_goes_on_only_if_it_is_named(mode: Mode) {
    let document = r#"{"type":"https://svc.internal:8443/p","title":"No such batch","status":404,"detail":"batch 7","instance":"/internal/7","trace":"at 10.0.0.7"}"#;
    let origin = Origin::builder()
        .on_in_turn(
            "/a",
            [
                Answer::fixed(404, document)
                    .header("Content-Type", "application/problem+json")
                    .header("X-Internal", "1"),
                Answer::fixed(409, "<html>10.0.0.7:80</html>").header("Content-Type", "text/html"),
                Answer::fixed(410, document).header("Content-Type", "application/problem+json"),
            ],
        )
        .start()
        .await;
    let edge = super::start(mode, &origin, PASSED).await;
    let passed = edge.get("/passed").await.expect(404);
    tells_nothing_internal(&passed);
    assert_eq!(passed.header("content-type"), Some("application/problem+json"));
    assert_eq!(passed.header("x-internal"), None);
    let id = passed.header("x-request-id").unwrap().to_owned();
    assert_eq!(
        passed.json(),
        json!({
            "type": "about:blank",
            "title": "No such batch",
            "status": 404,
            "detail": "batch 7",
            "instance": format!("urn:sallyport:request:{id}"),
            "branches": [{ "name": "a", "reason": "status", "status": 404, "title": "No such batch", "detail": "batch 7" }],
        })
    );
    let conflict = edge.get("/passed").await.expect(409);
    tells_nothing_internal(&conflict);
    assert_eq!(
        (&conflict.json()["title"], &conflict.json()["type"]),
        (&json!("Conflict"), &json!("about:blank"))
    );
    let problem = edge.get("/passed").await.problem(502, "bad-gateway");
    assert_eq!(
        problem["branches"],
        json!([{ "name": "a", "reason": "status", "status": 410, "title": "No such batch", "detail": "batch 7" }])
    );
}

const LIMITED: &str = r#"
  - match: GET /limited
    public: true
    aggregate:
      a: { call: GET up/a, pass_statuses: [401, 429] }
"#;

/// RFC 9110, sections 10.2.3 and 11.6.1.
async fn a_refusal_takes_what_its_status_needs_along(mode: Mode) {
    let origin = Origin::builder()
        .on_in_turn(
            "/a",
            [
                Answer::status(429).header("Retry-After", "7").header("Set-Cookie", "a=b"),
                Answer::status(401).header("WWW-Authenticate", "Bearer realm=\"svc\""),
            ],
        )
        .start()
        .await;
    let edge = super::start(mode, &origin, LIMITED).await;
    let limited = edge.get("/limited").await.expect(429);
    assert_eq!((limited.header("retry-after"), limited.header("set-cookie")), (Some("7"), None));
    let unknown = edge.get("/limited").await.expect(401);
    assert_eq!(unknown.header("www-authenticate"), Some("Bearer realm=\"svc\""));
}

const TOGETHER: &str = r#"
  - match: GET /together
    public: true
    aggregate:
      a: { call: GET up/a, on_error: "null" }
      b: { call: GET up/a?again, on_error: "null" }
    answer: { bytes: 1000B }
"#;

async fn too_much_of_everything_together(mode: Mode) {
    let origin = Origin::builder().on("/a", Answer::json(format!("\"{}\"", "x".repeat(600)))).start().await;
    let edge = super::start(mode, &origin, TOGETHER).await;
    let problem = edge.get("/together").await.problem(502, "bad-gateway");
    assert_eq!(problem["detail"], "the results together are larger than this answer may be");
}

const ANSWER: &str = r#"
  - match: GET /late
    public: true
    aggregate:
      a: { call: GET up/a, timeout: 1h }
      b: { call: GET up/b }
    answer: { timeout: 50ms }
  - match: GET /omitted
    public: true
    aggregate:
      a: { call: GET up/a, timeout: 1h, on_error: omit }
      b: { call: GET up/b }
    answer: { timeout: 50ms }
"#;

async fn the_answers_own_time_is_over(mode: Mode) {
    let never = Signal::new();
    let origin =
        Origin::builder().on("/a", Answer::echo().held(&never)).on("/b", Answer::json("2")).start().await;
    let edge = super::start(mode, &origin, ANSWER).await;
    let problem = edge.get("/late").await.problem(504, "gateway-timeout");
    assert_eq!(problem["branches"], json!([{ "name": "a", "reason": "timeout" }]));
    assert_eq!(edge.get("/omitted").await.expect(200).text(), r#"{"b":2}"#);
    edge.wait_for_metric("sallyport_aggregate_in_flight", &[], 0.0).await;
}

/// No address, no port, no URL, no word of a library.
fn tells_nothing_internal(response: &Response) {
    let mut said = response.text();
    for (name, value) in &response.head.fields {
        said += &format!("\n{name}: {value}");
    }
    for internal in ["127.0.0.1", "10.0.0.7", "http://", "https://", "sock", "/tmp", "refused", "From-Origin"]
    {
        assert!(!said.to_ascii_lowercase().contains(&internal.to_ascii_lowercase()), "{internal}: {said}");
    }
}
