//! Who waits for whom: `needs`, `when`, `each`, and results that others use.

use sallyport_testkit::{Answer, Mode, Origin, Signal};
use serde_json::json;

use super::{get_with, start, targets};

stories!(
    branches_start_together_and_those_that_need_others_behind_them,
    a_branch_that_is_left_out_takes_those_along_that_need_it,
    a_condition_sees_claims_parameters_and_results,
    items_are_asked_for_some_at_a_time_and_stay_in_order,
    a_list_that_is_too_long_fails_or_is_cut,
    an_item_that_fails_is_replaced_or_fails_all,
    what_is_no_list_has_no_items,
);

const NEEDS: &str = r#"
  - match: GET /needs
    public: true
    aggregate:
      last: { call: "GET up/last/{middle.$.id}" }
      middle: { call: GET up/middle, needs: [first] }
      first: { call: GET up/first }
      beside: { call: GET up/beside }
"#;

async fn branches_start_together_and_those_that_need_others_behind_them(mode: Mode) {
    let (first, middle, beside) = (Signal::new(), Signal::new(), Signal::new());
    let origin = Origin::builder()
        .on("/first", Answer::json("1").held(&first))
        .on("/middle", Answer::json("{\"id\":7}").held(&middle))
        .on("/beside", Answer::json("4").held(&beside))
        .on("/last/7", Answer::json("3"))
        .start()
        .await;
    let edge = start(mode, &origin, NEEDS).await;
    let (answer, _) = tokio::join!(edge.get("/needs"), async {
        let sorted = |mut targets: Vec<String>| {
            targets.sort();
            targets
        };
        origin.wait_for(2).await;
        assert_eq!(sorted(targets(&origin)), ["/beside", "/first"]);
        first.give();
        origin.wait_for(3).await;
        assert_eq!(targets(&origin)[2], "/middle");
        middle.give();
        origin.wait_for(4).await;
        assert_eq!(targets(&origin)[3], "/last/7");
        beside.give();
    });
    assert_eq!(answer.expect(200).text(), r#"{"last":3,"middle":{"id":7},"first":1,"beside":4}"#);
}

const LEFT_OUT: &str = r#"
  - match: GET /left-out
    public: true
    aggregate:
      a: { call: GET up/a, when: query.a == "yes" }
      b: { call: GET up/b, needs: [a] }
      c: { call: "GET up/c?b={b.$.target}" }
      d: { call: GET up/d }
"#;

async fn a_branch_that_is_left_out_takes_those_along_that_need_it(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, LEFT_OUT).await;
    let answer = edge.get("/left-out?a=no").await.expect(200);
    // Nothing has failed.
    assert_eq!(answer.header("x-aggregate-complete"), Some("true"));
    assert_eq!(answer.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["d"]);
    assert_eq!(targets(&origin), ["/d"]);
    let timing = answer.header("server-timing").unwrap().to_owned();
    assert!(timing.starts_with("d;dur="), "{timing}");
    edge.wait_for_metric("sallyport_aggregate_branches_total", &[("result", "left-out")], 3.0).await;
    let answer = edge.get("/left-out?a=yes").await.expect(200);
    assert_eq!(answer.json().as_object().unwrap().len(), 4);
    assert_eq!(origin.last().target, "/c?b=%2Fb");
}

const WHEN: &str = r#"
  - match: GET /when/{kind}
    filters: [{ jwt: { issuer: main } }]
    aggregate:
      profile: { call: GET up/profile }
      teacher: { call: GET up/teacher, needs: [profile], when: profile.role == "teacher" && claims.level > 1 }
      kind: { call: GET up/kind, when: params.kind == "a/b" && query.q == "x y" }
      unsure: { call: GET up/unsure, when: claims.missing == "x", on_error: "null" }
"#;

async fn a_condition_sees_claims_parameters_and_results(mode: Mode) {
    let origin = Origin::builder()
        .on("/profile", Answer::json(r#"{"role":"teacher"}"#))
        .on("/teacher", Answer::json("1"))
        .on("/kind", Answer::json("2"))
        .on("/unsure", Answer::json("3"))
        .start()
        .await;
    let routes = WHEN.replace("    aggregate:", "    encoded_slashes: keep\n    aggregate:");
    let edge = start(mode, &origin, &routes).await;
    let text = async |level: i64, target: &str| {
        let token = edge.tokens.token().claim("level", level).sign();
        get_with(&edge, &token, target, &[]).await.expect(200).text()
    };
    let profile = r#""profile":{"role":"teacher"}"#;
    assert_eq!(
        text(2, "/when/a%2Fb?q=x+y").await,
        format!(r#"{{{profile},"teacher":1,"kind":2,"unsure":null}}"#)
    );
    assert_eq!(text(1, "/when/a?q=x+y").await, format!(r#"{{{profile},"unsure":null}}"#));
    edge.wait_for_metric("sallyport_aggregate_branches_total", &[("result", "condition")], 2.0).await;
    assert!(!targets(&origin).contains(&"/unsure".to_owned()));
}

const EACH: &str = r#"
  - match: GET /each
    public: true
    aggregate:
      list: { call: GET up/list }
      items: { call: "GET up/item/{item.$.id}", each: { in: "list.$.items", max: 6, concurrency: 2 }, timeout: 1h }
    answer: { timeout: 1h }
"#;

async fn items_are_asked_for_some_at_a_time_and_stay_in_order(mode: Mode) {
    let list: Vec<_> = (1..=6).map(|id| json!({ "id": id })).collect();
    let signals: Vec<Signal> = (1..=6).map(|_| Signal::new()).collect();
    let mut origin = Origin::builder().on("/list", Answer::json(json!({ "items": list }).to_string()));
    for (signal, id) in signals.iter().zip(1..) {
        origin = origin.on(&format!("/item/{id}"), Answer::json(format!("{id}.0")).held(signal));
    }
    let origin = origin.start().await;
    let edge = start(mode, &origin, EACH).await;
    let (answer, _) = tokio::join!(edge.get("/each"), async {
        // The list and two items; each further one only when one of those that are under way has ended.
        for (ended, id) in [(0, 2), (1, 1), (2, 4), (3, 3)] {
            let seen = origin.wait_for(3 + ended).await;
            assert_eq!(seen.len(), 3 + ended);
            signals[id - 1].give();
        }
        origin.wait_for(7).await;
        signals.iter().for_each(Signal::give);
    });
    let text = answer.expect(200).json();
    assert_eq!(text["items"].to_string(), "[1.0,2.0,3.0,4.0,5.0,6.0]");
    let asked: Vec<_> = targets(&origin).split_off(1);
    let wanted: Vec<_> = (1..=6).map(|id| format!("/item/{id}")).collect();
    assert_eq!(asked.len(), 6);
    assert!(wanted.iter().all(|item| asked.contains(item)), "{asked:?}");
}

const LONG: &str = r#"
  - match: GET /fail
    public: true
    aggregate:
      list: { call: GET up/list }
      items: { call: "GET up/item/{item}", each: { in: list.$, max: 2 } }
  - match: GET /cut
    public: true
    aggregate:
      list: { call: GET up/list }
      items: { call: "GET up/item/{item}", each: { in: list.$, max: 2, beyond: cut }, pick: [target] }
"#;

async fn a_list_that_is_too_long_fails_or_is_cut(mode: Mode) {
    let origin = Origin::builder().on("/list", Answer::json("[1,2,3]")).start().await;
    let edge = start(mode, &origin, LONG).await;
    let problem = edge.get("/fail").await.problem(502, "bad-gateway");
    assert_eq!(problem["branches"], json!([{ "name": "items", "reason": "too-many-items" }]));
    assert_eq!(targets(&origin), ["/list"]);
    let cut = edge.get("/cut").await.expect(200);
    assert_eq!(cut.text(), r#"{"list":[1,2,3],"items":[{"target":"/item/1"},{"target":"/item/2"}]}"#);
    assert_eq!(cut.header("x-aggregate-complete"), Some("false"));
    assert!(cut.header("server-timing").unwrap().contains("desc=\"too-many-items\""));
}

const REPLACED: &str = r#"
  - match: GET /null
    public: true
    aggregate:
      list: { call: GET up/list }
      items: { call: "GET up/item/{item}", each: { in: list.$, max: 9 }, on_error: "null" }
  - match: GET /omit
    public: true
    aggregate:
      list: { call: GET up/list }
      items: { call: "GET up/item/{item}", each: { in: list.$, max: 9 }, on_error: omit }
  - match: GET /fail
    public: true
    aggregate:
      list: { call: GET up/list }
      items: { call: "GET up/item/{item}", each: { in: list.$, max: 9 }, pass_statuses: [404] }
"#;

async fn an_item_that_fails_is_replaced_or_fails_all(mode: Mode) {
    let origin = Origin::builder()
        .on("/list", Answer::json("[1,2,3]"))
        .on("/item/1", Answer::json("1"))
        .on("/item/2", Answer::status(404))
        .on("/item/3", Answer::json("3"))
        .start()
        .await;
    let edge = start(mode, &origin, REPLACED).await;
    for (path, text) in
        [("/null", r#"{"list":[1,2,3],"items":[1,null,3]}"#), ("/omit", r#"{"list":[1,2,3],"items":[1,3]}"#)]
    {
        let answer = edge.get(path).await.expect(200);
        assert_eq!((answer.text().as_str(), answer.header("x-aggregate-complete")), (text, Some("false")));
    }
    edge.get("/fail").await.expect(404);
}

async fn what_is_no_list_has_no_items(mode: Mode) {
    let origin = Origin::builder()
        .on_in_turn(
            "/list",
            [Answer::json("{}"), Answer::json("null"), Answer::json("[]"), Answer::json("\"ab\"")],
        )
        .start()
        .await;
    let edge = start(mode, &origin, REPLACED).await;
    let problem = edge.get("/fail").await.problem(502, "bad-gateway");
    assert_eq!(problem["branches"], json!([{ "name": "items", "reason": "not-a-list" }]));
    assert_eq!(edge.get("/fail").await.expect(200).text(), r#"{"list":null,"items":[]}"#);
    assert_eq!(edge.get("/fail").await.expect(200).text(), r#"{"list":[],"items":[]}"#);
    let omitted = edge.get("/omit").await.expect(200);
    assert_eq!(
        (omitted.text().as_str(), omitted.header("x-aggregate-complete")),
        (r#"{"list":"ab"}"#, Some("false"))
    );
    let null = edge.get("/null").await.expect(200);
    assert_eq!(null.text(), r#"{"list":"ab","items":null}"#);
}
