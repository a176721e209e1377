//! Results that are kept: for how long, and for whom. Time is told by what services say of it (`max-age=0` is stale at once),
//! so no story waits.

use sallyport_testkit::wait::until;
use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin, Response, Signal};
use serde_json::json;

use super::{get_with, start, targets};

stories!(
    what_is_fresh_is_not_asked_for_again,
    what_is_stale_is_given_while_one_fetches_it_anew,
    what_is_stale_stands_in_for_a_failure,
    the_last_good_result_stands_in_and_the_answer_is_incomplete,
    each_client_gets_its_own,
    who_lacks_a_claim_gets_nothing_kept,
    a_service_says_that_it_may_not_be_kept,
    a_changed_branch_does_not_use_what_another_kept,
);

fn kept(body: &str, cache_control: &str) -> Answer {
    Answer::json(body.to_owned()).header("Cache-Control", cache_control)
}

/// The note on the branch `a` in `Server-Timing`.
fn note(answer: &Response) -> Option<String> {
    let timing = answer.header("server-timing")?;
    let of_branch = timing.split(", ").find(|metric| metric.starts_with("a;"))?;
    of_branch.split_once("desc=\"").map(|(_, note)| note.trim_end_matches('"').to_owned())
}

const FRESH: &str = r#"
  - match: GET /fresh/{id}
    public: true
    aggregate:
      a: { call: "GET up/a/{id}", headers: [Accept-Language], cache: { ttl: 1h, vary: [query.page] } }
"#;

async fn what_is_fresh_is_not_asked_for_again(mode: Mode) {
    let origin = Origin::builder().on_in_turn("/a/1", ["1", "2", "3", "4"].map(Answer::json)).start().await;
    let edge = start(mode, &origin, FRESH).await;
    let mut client = edge.edge.client().await;
    for (target, host, language, text, wanted) in [
        ("/fresh/1", "a.test", "de", r#"{"a":1}"#, None),
        ("/fresh/1", "a.test", "de", r#"{"a":1}"#, Some("cache")),
        ("/fresh/1?other=1", "a.test", "de", r#"{"a":1}"#, Some("cache")),
        ("/fresh/1?page=2", "a.test", "de", r#"{"a":2}"#, None),
        ("/fresh/1", "a.test", "fr", r#"{"a":3}"#, None),
        ("/fresh/1", "b.test", "de", r#"{"a":4}"#, None),
        ("/fresh/1", "a.test", "de", r#"{"a":1}"#, Some("cache")),
    ] {
        let answer =
            client.get(target).host(host).header("Accept-Language", language).send().await.expect(200);
        assert_eq!(
            (answer.text().as_str(), note(&answer).as_deref()),
            (text, wanted),
            "{target} {host} {language}"
        );
        assert_eq!(answer.header("x-aggregate-complete"), Some("true"));
    }
    client.get("/fresh/2").send().await.expect(200);
    assert_eq!(targets(&origin), ["/a/1", "/a/1", "/a/1", "/a/1", "/a/2"]);
    edge.wait_for_metric("sallyport_aggregate_cache_total", &[("result", "hit")], 3.0).await;
    edge.wait_for_metric("sallyport_aggregate_cache_total", &[("result", "miss")], 5.0).await;
    assert!(edge.metric("sallyport_aggregate_cache_bytes", &[]).await > 0.0);
}

const STALE: &str = r#"
  - match: GET /stale
    public: true
    aggregate:
      a: { call: GET up/a, timeout: 1h, cache: { ttl: 1h, stale_while_revalidate: 1h } }
    answer: { timeout: 1h }
"#;

/// RFC 5861, section 3.
async fn what_is_stale_is_given_while_one_fetches_it_anew(mode: Mode) {
    let signal = Signal::new();
    let second = kept("2", "max-age=100").held(&signal);
    let origin = Origin::builder().on_in_turn("/a", [kept("1", "max-age=0"), second, Answer::json("3")]);
    let origin = origin.start().await;
    let edge = start(mode, &origin, STALE).await;
    assert_eq!(edge.get("/stale").await.expect(200).text(), r#"{"a":1}"#);
    for _ in 0..4 {
        let answer = edge.get("/stale").await.expect(200);
        assert_eq!((answer.text().as_str(), note(&answer).as_deref()), (r#"{"a":1}"#, Some("cache")));
        origin.wait_for(2).await;
    }
    assert_eq!(origin.requests().len(), 2, "one fetches it anew");
    signal.give();
    until("the new one", || async { (edge.get("/stale").await.text() == r#"{"a":2}"#).then_some(()) }).await;
    assert_eq!(origin.requests().len(), 2);
}

const ERROR: &str = r#"
  - match: GET /error
    public: true
    aggregate:
      a: { call: GET up/a, cache: { ttl: 1h, stale_if_error: 1h } }
"#;

/// RFC 5861, section 4.
async fn what_is_stale_stands_in_for_a_failure(mode: Mode) {
    let answers = [
        kept("1", "max-age=0"),
        Answer::status(500),
        Answer::cut(9, "1"),
        Answer::json("{"),
        Answer::status(404),
        Answer::status(500),
    ];
    let origin = Origin::builder().on_in_turn("/a", answers).start().await;
    let edge = start(mode, &origin, ERROR).await;
    assert_eq!(edge.get("/error").await.expect(200).text(), r#"{"a":1}"#);
    for _ in 0..3 {
        let answer = edge.get("/error").await.expect(200);
        assert_eq!((answer.text().as_str(), note(&answer).as_deref()), (r#"{"a":1}"#, Some("stale")));
    }
    // What the service has taken back stands in for nothing.
    edge.get("/error").await.problem(502, "bad-gateway");
    edge.get("/error").await.problem(502, "bad-gateway");
}

const LAST: &str = r#"
  - match: GET /last
    public: true
    aggregate:
      a: { call: GET up/a, on_error: stale, cache: { ttl: 1h } }
"#;

async fn the_last_good_result_stands_in_and_the_answer_is_incomplete(mode: Mode) {
    let answers = [kept("1", "max-age=0"), Answer::status(500), Answer::status(403), Answer::status(500)];
    let origin = Origin::builder().on_in_turn("/a", answers).start().await;
    let edge = start(mode, &origin, LAST).await;
    edge.get("/last").await.expect(200);
    for text in [r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":null}"#] {
        let answer = edge.get("/last").await.expect(200);
        assert_eq!((answer.text().as_str(), answer.header("x-aggregate-complete")), (text, Some("false")));
        assert_eq!(note(&answer).as_deref(), Some("status"));
    }
}

const OWN: &str = r#"
  - match: GET /own
    filters: [{ jwt: { issuer: main, forward: { X-User-Id: sub } } }]
    aggregate:
      a: { call: GET up/a, cache: { ttl: 1h, stale_if_error: 1h, vary: [claims.sub] } }
  - match: GET /org
    filters: [{ jwt: { issuer: main } }]
    aggregate:
      a: { call: GET up/a, cache: { ttl: 1h, vary: [claims.org.id] } }
  - match: GET /optional
    public: true
    filters: [{ jwt: { issuer: main, optional: true, forward: { X-User-Id: sub } } }]
    aggregate:
      a: { call: GET up/a, cache: { ttl: 1h } }
  - match: GET /optional/vary
    public: true
    filters: [{ jwt: { issuer: main, optional: true } }]
    aggregate:
      a: { call: GET up/a, cache: { ttl: 1h, vary: [claims.sub] } }
"#;

async fn owners(mode: Mode) -> (Origin, ComposedEdge) {
    let numbers = (1..99).map(|number| Answer::json(number.to_string()));
    let origin = Origin::builder().on_in_turn("/a", numbers).start().await;
    let edge = start(mode, &origin, OWN).await;
    (origin, edge)
}

/// CVE-2026-2836: what is kept for one is given to nobody else.
async fn each_client_gets_its_own(mode: Mode) {
    let (origin, edge) = owners(mode).await;
    for (user, text) in [("ada", "1"), ("bob", "2"), ("ada", "1"), ("bob", "2"), ("Ada", "3"), ("ada/", "4")]
    {
        assert_eq!(edge.get_as(user, "/own").await.expect(200).text(), format!("{{\"a\":{text}}}"), "{user}");
    }
    // Another route has another cache, also for the same URL.
    let org = |user: &str, id: serde_json::Value| {
        edge.tokens.token().claim("sub", user).claim("org", json!({ "id": id })).sign()
    };
    for (token, text) in [
        (org("ada", json!(7)), "5"),
        (org("bob", json!(7)), "5"),
        (org("bob", json!("7")), "6"),
        (org("bob", json!(8)), "7"),
    ] {
        assert_eq!(get_with(&edge, &token, "/org", &[]).await.text(), format!("{{\"a\":{text}}}"));
    }
    // Without `vary` all that says who the client is tells answers apart.
    for text in ["8", "8"] {
        assert_eq!(edge.get("/optional").await.text(), format!("{{\"a\":{text}}}"));
    }
    for (user, text) in [("ada", "9"), ("bob", "10")] {
        assert_eq!(edge.get_as(user, "/optional").await.text(), format!("{{\"a\":{text}}}"));
    }
    assert_eq!(edge.get("/optional").await.text(), "{\"a\":8}");
    assert_eq!(origin.requests().len(), 10);
}

async fn who_lacks_a_claim_gets_nothing_kept(mode: Mode) {
    let (origin, edge) = owners(mode).await;
    let token =
        |user: &str, org: serde_json::Value| edge.tokens.token().claim("sub", user).claim("org", org).sign();
    let mut number = 0;
    for org in [json!(null), json!({}), json!({ "id": null }), json!("7")] {
        for user in ["ada", "bob", "ada"] {
            number += 1;
            let answer = get_with(&edge, &token(user, org.clone()), "/org", &[]).await.expect(200);
            assert_eq!(answer.text(), format!("{{\"a\":{number}}}"), "{user} {org}");
        }
    }
    for _ in 0..2 {
        number += 1;
        assert_eq!(edge.get("/optional/vary").await.expect(200).text(), format!("{{\"a\":{number}}}"));
    }
    assert_eq!(origin.requests().len(), number);
    assert_eq!(edge.metric("sallyport_aggregate_cache_bytes", &[]).await, 0.0);
}

const OBEYED: &str = r#"
  - match: GET /own/{what}
    public: true
    aggregate:
      a: { call: "GET up/{what}", cache: { ttl: 1h } }
  - match: GET /shared/{what}
    public: true
    aggregate:
      a: { call: "GET up/{what}", cache: { ttl: 1h, shared: true } }
"#;

/// RFC 9111, section 5.2.2.
async fn a_service_says_that_it_may_not_be_kept(mode: Mode) {
    let mut origin = Origin::builder();
    let rows = [
        ("no-store", [2, 2]),
        ("No-Cache", [2, 2]),
        ("private", [1, 2]),
        ("max-age=0", [2, 2]),
        ("max-age=x", [2, 2]),
        ("max-age=60, s-maxage=0", [1, 2]),
        ("public, max-age=60", [1, 1]),
    ];
    for (index, (value, _)) in rows.iter().enumerate() {
        origin = origin.on(&format!("/{index}"), kept("1", value));
    }
    let origin = origin
        .on("/vary", Answer::json("1").header("Vary", "*"))
        .on("/aged", kept("1", "max-age=60").header("Age", "60"))
        .start()
        .await;
    let edge = start(mode, &origin, OBEYED).await;
    let asked = async |target: String| {
        let before = origin.requests().len();
        for _ in 0..2 {
            edge.get(&target).await.expect(200);
        }
        origin.requests().len() - before
    };
    for (index, (value, times)) in rows.into_iter().enumerate() {
        let seen = [asked(format!("/own/{index}")).await, asked(format!("/shared/{index}")).await];
        assert_eq!(seen, times, "{value}");
    }
    assert_eq!((asked("/own/vary".to_owned()).await, asked("/own/aged".to_owned()).await), (2, 2));
}

async fn a_changed_branch_does_not_use_what_another_kept(mode: Mode) {
    let answers = [r#"{"n":1,"secret":1}"#, r#"{"n":2,"secret":2}"#].map(Answer::json);
    let origin = Origin::builder().on_in_turn("/a/1", answers).start().await;
    let edge = start(mode, &origin, FRESH).await;
    assert_eq!(edge.get("/fresh/1").await.text(), r#"{"a":{"n":1,"secret":1}}"#);
    let with_another = format!(
        "{FRESH}  - match: GET /another\n    public: true\n    aggregate: {{ b: {{ call: GET up/b }} }}\n"
    );
    edge.reload("", &super::routes(&origin, &with_another)).await.unwrap();
    assert_eq!(edge.get("/fresh/1").await.text(), r#"{"a":{"n":1,"secret":1}}"#, "it is the same branch");
    let picked = FRESH.replace("cache:", "pick: [n], cache:");
    edge.reload("", &super::routes(&origin, &picked)).await.unwrap();
    assert_eq!(edge.get("/fresh/1").await.text(), r#"{"a":{"n":2}}"#);
}
