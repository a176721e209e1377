//! Every way to fail, and what each `on_error` makes of it.

use super::*;

/// A way to fail.
struct Way {
    reason: &'static str,
    /// The upstream and path that fail so.
    call: &'static str,
    does: Does,
    /// Further settings of the branch.
    with: &'static str,
    /// The status where the branch is required.
    status: u16,
    /// Whether an older result may stand in.
    stale: bool,
}

fn ways() -> Vec<Way> {
    let way = |reason, does| Way { reason, call: "up/f", does, with: "", status: 502, stale: true };
    let page = Does::typed(200, "text/html; charset=iso-8859-1", "<p>");
    let found = Does::typed(302, "text/plain", "").with("location: http://10.0.0.9/");
    let problem = r#"{"title":"Gone away","detail":"No 7","instance":"http://10.0.0.9/"}"#;
    vec![
        Way { with: "timeout: 30ms, ", status: 504, ..way("timeout", Does::Hangs) },
        Way { call: "closed/f", ..way("connect", Does::json("1")) },
        way("broken", Does::BreaksOff),
        way("broken", Does::Answer(99, String::new(), Vec::new())),
        way("status", Does::typed(500, "text/plain", "stack trace")),
        way("status", Does::typed(503, "text/plain", "")),
        Way { stale: false, ..way("status", Does::typed(403, "text/plain", "")) },
        Way { stale: false, ..way("status", Does::typed(404, "application/problem+json", problem)) },
        way("redirect", found),
        way("invalid-body", Does::json("{\"a\":1")),
        way("invalid-body", Does::typed(200, "text/plain", "\u{0}").with("x: y").bytes(b"\xff")),
        way("content-type", page),
        way("content-type", Does::Answer(200, String::new(), b"{}".to_vec())),
        way("content-coding", Does::json("1").with("content-encoding: gzip")),
        Way { with: "bytes: 64B, ", ..way("too-large", Does::json(&format!("[{}]", "1,".repeat(99) + "1"))) },
        Way { with: "flatten: $.data, ", stale: false, ..way("missing-value", Does::json("{\"a\":1}")) },
        Way { with: "pick: [a], ", ..way("shape", Does::json("7")) },
    ]
}

impl Does {
    fn bytes(self, bytes: &[u8]) -> Does {
        match self {
            Does::Answer(status, fields, _) => Does::Answer(status, fields, bytes.to_vec()),
            other => other,
        }
    }
}

/// What a branch that worked once has given: a form that all the settings of the table take.
const GOOD: &str = r#"{"data":{"a":"old"},"a":"old"}"#;

async fn fails(composer: &Composer, way: &Way, on_error: &str) -> (Got, Origin) {
    let origin = Origin::new().await;
    origin.on("/f", way.does.clone());
    origin.on("/b", Does::json("\"b\""));
    let Way { call, with, .. } = way;
    let setup = Setup::of(
        composer.clone(),
        &origin,
        &format!(
            "    aggregate:\n      f: {{ {with}{on_error}call: GET {call} }}\n      b: {{ call: GET up/b }}\n"
        ),
    );
    (setup.ask().await, origin)
}

#[tokio::test]
async fn a_required_branch_fails_the_request_and_says_why() {
    let composer = composer();
    for way in ways() {
        let (got, origin) = fails(&composer, &way, "").await;
        assert_eq!(got.status, way.status, "{}: {}", way.reason, got.text);
        assert_eq!(got.reasons(), [("f".to_owned(), way.reason.to_owned())], "{}", got.text);
        assert_eq!(got.header("content-type"), "application/problem+json");
        assert_eq!(got.header("cache-control"), "no-store");
        let document = got.json();
        assert_eq!(document["instance"], "urn:sallyport:request:01JD");
        assert_eq!(document["status"], way.status);
        assert!(got.header("server-timing").contains(&format!("desc=\"{}\"", way.reason)));
        let internal =
            [origin.address.to_string(), "127.0.0.1".into(), "10.0.0.9".into(), "stack trace".into()];
        for internal in internal {
            assert!(!got.text.contains(&internal), "{internal} in {}", got.text);
        }
    }
}

#[tokio::test]
async fn an_optional_branch_leaves_a_document_that_says_it_is_not_complete() {
    let composer = composer();
    for (on_error, document) in [
        ("on_error: null, ", r#"{"f":null,"b":"b"}"#),
        ("on_error: omit, ", r#"{"b":"b"}"#),
        ("on_error: { value: { a: [1.0, x] } }, ", r#"{"f":{"a":[1.0,"x"]},"b":"b"}"#),
    ] {
        for way in ways() {
            let (got, _) = fails(&composer, &way, on_error).await;
            assert_eq!((got.status, &*got.text), (200, document), "{} with {on_error}", way.reason);
            assert_eq!(got.header("x-aggregate-complete"), "false");
            assert_eq!(got.header("cache-control"), "no-store");
            assert!(got.header("server-timing").contains(&format!("desc=\"{}\"", way.reason)));
        }
    }
}

#[tokio::test]
async fn the_last_good_result_stands_in_unless_the_service_has_spoken() {
    for way in ways().into_iter().filter(|way| way.call == "up/f") {
        let origin = Origin::new().await;
        // Nothing of it is fresh, so each request asks anew.
        let good = Does::json(GOOD).with("cache-control: max-age=0");
        let with = way.with.replace("timeout: 30ms, ", "timeout: 1s, ");
        origin.on("/f", good);
        origin.on("/b", Does::json("\"b\""));
        let setup = Setup::new(
            &origin,
            &format!(
                "    aggregate:\n      f: {{ {with}on_error: stale, cache: {{ ttl: 1h, vary: [claims.sub] }}, call: GET up/f }}\n      b: {{ call: GET up/b }}\n"
            ),
        );
        let before = setup.ask().await;
        assert_eq!((before.status, before.header("x-aggregate-complete")), (200, "true"), "{}", before.text);
        origin.on("/f", way.does.clone());
        let after = setup.ask().await;
        assert_eq!(after.header("x-aggregate-complete"), "false");
        let shown = if way.stale { before.json()["f"].clone() } else { Value::Null };
        assert_eq!(after.json()["f"], shown, "{}", way.reason);
        let stranger = setup.ask_as(&asked_by("u8")).await;
        assert_eq!(stranger.json()["f"], Value::Null, "what is kept is of another");
    }
}

#[tokio::test]
async fn without_a_result_that_was_kept_there_is_null() {
    let (got, _) = fails(
        &composer(),
        &Way { with: "cache: { ttl: 1h, vary: [claims.sub] }, ", ..ways().remove(4) },
        "on_error: stale, ",
    )
    .await;
    assert_eq!(got.text, r#"{"f":null,"b":"b"}"#);
}

#[tokio::test]
async fn a_status_is_passed_on_with_what_the_service_says() {
    let origin = Origin::new().await;
    let problem =
        r#"{"type":"x","title":"Gone away","detail":"No 7","instance":"http://10.0.0.9/","extra":1}"#;
    origin.on("/f", Does::typed(404, "application/problem+json", problem));
    let setup =
        Setup::new(&origin, "    aggregate:\n      f: { call: GET up/f, pass_statuses: [404, 429] }\n");
    let got = setup.ask().await;
    assert_eq!(got.status, 404);
    assert_eq!(
        got.json(),
        json!({
            "type": "about:blank", "title": "Gone away", "status": 404, "detail": "No 7",
            "instance": "urn:sallyport:request:01JD",
            "branches": [{ "name": "f", "reason": "status", "status": 404, "title": "Gone away", "detail": "No 7" }],
        })
    );
    origin.on("/f", Does::typed(429, "text/plain", "").with("retry-after: 7"));
    let got = setup.ask().await;
    assert_eq!((got.status, got.header("retry-after")), (429, "7"));
    assert_eq!(got.json()["title"], "Too Many Requests");
    origin.on("/f", Does::typed(410, "text/plain", ""));
    assert_eq!(setup.ask().await.status, 502, "only what is listed");
}

#[tokio::test]
async fn who_needs_what_failed_has_failed_for_the_same_reason() {
    let origin = Origin::new().await;
    origin.on("/f", Does::Hangs);
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      f: { call: GET up/f, timeout: 30ms, on_error: null }\n      \
         g: { call: GET up/g, needs: [f], on_error: null }\n      h: { call: 'GET up/h/{g.$.id}' }\n",
    );
    let got = setup.ask().await;
    assert_eq!(got.status, 504, "{}", got.text);
    let reasons = [("f", "timeout"), ("g", "needs"), ("h", "needs")];
    assert_eq!(got.reasons(), reasons.map(|(name, reason)| (name.to_owned(), reason.to_owned())));
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test]
async fn a_condition_that_cannot_be_decided_fails_the_branch() {
    let origin = Origin::new().await;
    origin.on("/a", Does::json("{}"));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: GET up/a }\n      b: { call: GET up/b, needs: [a], when: a.role == 'x', on_error: null }\n",
    );
    let got = setup.ask().await;
    assert_eq!(got.text, r#"{"a":{},"b":null}"#);
    assert!(got.header("server-timing").ends_with(";desc=\"condition\""), "{got:?}");
}

#[tokio::test]
async fn members_that_two_results_have_are_no_answer() {
    let origin = Origin::new().await;
    origin.on("/a", Does::json(r#"{"id":1}"#));
    origin.on("/b", Does::json(r#"{"\u0069d":2}"#));
    origin.on("/c", Does::json("[]"));
    let branch = |name: &str, path: &str| format!("      {name}: {{ call: GET up/{path} }}\n");
    let root = "    answer: { merge: root }\n";
    let setup =
        Setup::new(&origin, &format!("    aggregate:\n{}{}{root}", branch("a", "a"), branch("b", "b")));
    let got = setup.ask().await;
    assert_eq!(got.status, 502);
    assert_eq!(
        got.reasons(),
        [("a", "collision"), ("b", "collision")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    let setup =
        Setup::new(&origin, &format!("    aggregate:\n{}{}{root}", branch("a", "a"), branch("c", "c")));
    assert_eq!(setup.ask().await.reasons(), [("c".to_owned(), "no-object".to_owned())]);
}

#[tokio::test]
async fn what_each_runs_over_has_to_be_a_list_of_the_right_length() {
    for (list, reason, document) in [
        ("{\"x\":[1,2,3]}", "too-many-items", Value::Null),
        ("{\"x\":7}", "not-a-list", Value::Null),
        ("{}", "missing-value", Value::Null),
        ("{\"x\":null}", "", json!([])),
        ("{\"x\":[]}", "", json!([])),
        ("{\"x\":[1,2]}", "", json!(["one", "two"])),
    ] {
        let origin = Origin::new().await;
        origin.on("/list", Does::json(list));
        origin.on("/i/1", Does::json("\"one\""));
        origin.on("/i/2", Does::json("\"two\""));
        let setup = Setup::new(
            &origin,
            "    aggregate:\n      list: { call: GET up/list }\n      \
             i: { call: 'GET up/i/{item}', on_error: null, each: { in: list.$.x, max: 2 } }\n",
        );
        let got = setup.ask().await;
        assert_eq!(got.json()["i"], document, "{list}");
        assert_eq!(got.header("x-aggregate-complete"), if reason.is_empty() { "true" } else { "false" });
        assert!(got.header("server-timing").contains(reason));
    }
}

#[tokio::test]
async fn an_item_that_fails_is_replaced_left_out_or_fails_the_branch() {
    for (on_error, document) in [
        ("on_error: null, ", json!(["one", null, "three"])),
        ("on_error: omit, ", json!(["one", "three"])),
        ("on_error: { value: none }, ", json!(["one", "none", "three"])),
        ("", Value::Null),
    ] {
        let origin = Origin::new().await;
        origin.on("/list", Does::json("[1,2,3]"));
        origin.on("/i/1", Does::json("\"one\""));
        origin.on("/i/2", Does::typed(500, "text/plain", ""));
        origin.on("/i/3", Does::json("\"three\""));
        let setup = Setup::new(
            &origin,
            &format!(
                "    aggregate:\n      list: {{ call: GET up/list }}\n      \
                 i: {{ {on_error}call: 'GET up/i/{{item}}', each: {{ in: list.$, max: 5 }} }}\n"
            ),
        );
        let got = setup.ask().await;
        if document.is_null() {
            assert_eq!((got.status, got.reasons()), (502, vec![("i".to_owned(), "status".to_owned())]));
        } else {
            assert_eq!(got.json()["i"], document);
            assert_eq!(got.header("x-aggregate-complete"), "false");
            assert!(got.header("server-timing").contains("desc=\"status\""));
        }
    }
}
