//! How results become one document, whichever comes first.

use sallyport_testkit::{Answer, Mode, Origin, Signal};
use serde_json::json;

use super::start;

stories!(
    members_of_all_results_in_one_object,
    two_results_with_a_name_in_common_are_an_error,
    items_of_all_results_in_one_list,
    a_template_leaves_out_what_was_left_out,
);

const ROOT: &str = r#"
  - match: GET /root
    public: true
    aggregate:
      first: { call: GET up/first }
      second: { call: GET up/second }
      gone: { call: GET up/gone, on_error: omit }
      none: { call: GET up/none }
    answer: { merge: root }
"#;

async fn members_of_all_results_in_one_object(mode: Mode) {
    let later = Signal::new();
    let origin = Origin::builder()
        .on("/first", Answer::json(r#"{"b":1.0, "a":{}}"#).held(&later))
        .on("/second", Answer::json(r#"{"c":[ ]}"#))
        .on("/gone", Answer::status(500))
        .on("/none", Answer::json("{}"))
        .start()
        .await;
    let edge = start(mode, &origin, ROOT).await;
    let asked = edge.get("/root");
    let (answer, _) = tokio::join!(asked, async {
        origin.wait_for(4).await;
        later.give();
    });
    assert_eq!(answer.expect(200).text(), r#"{"b":1.0, "a":{},"c":[ ]}"#);
}

async fn two_results_with_a_name_in_common_are_an_error(mode: Mode) {
    let (first, second) = (Signal::new(), Signal::new());
    for held in [&first, &second] {
        let of = |path: &str, signal: &Signal| {
            let answer = Answer::json(format!("{{\"id\":1,\"{path}\":2}}"));
            if std::ptr::eq(signal, held) { answer.held(signal) } else { answer }
        };
        let origin = Origin::builder()
            .on("/first", of("first", &first))
            .on("/second", of("second", &second))
            .on("/gone", Answer::json("{}"))
            .on("/none", Answer::json("{}"))
            .start()
            .await;
        let edge = start(mode, &origin, ROOT).await;
        let (answer, _) = tokio::join!(edge.get("/root"), async {
            origin.wait_for(4).await;
            held.give();
        });
        let problem = answer.problem(502, "bad-gateway");
        assert!(problem["detail"].as_str().unwrap().contains("`id`"), "{problem}");
        let named =
            json!([{ "name": "first", "reason": "collision" }, { "name": "second", "reason": "collision" }]);
        assert_eq!(problem["branches"], named);
    }
    // What is no object has no members.
    let origin = Origin::builder()
        .on("/first", Answer::json("[1]"))
        .on("/second", Answer::json("{}"))
        .on("/none", Answer::json("{}"))
        .start()
        .await;
    let edge = start(mode, &origin, ROOT).await;
    let problem = edge.get("/root").await.problem(502, "bad-gateway");
    assert_eq!(problem["branches"], json!([{ "name": "first", "reason": "no-object" }]));
}

const LIST: &str = r#"
  - match: GET /list
    public: true
    aggregate:
      first: { call: GET up/first }
      one: { call: GET up/one }
      none: { call: GET up/none }
      gone: { call: GET up/gone, on_error: omit }
      last: { call: GET up/last }
    answer: { merge: list }
"#;

async fn items_of_all_results_in_one_list(mode: Mode) {
    let origin = Origin::builder()
        .on("/first", Answer::json("[ 1.0 , {\"a\": 2} ]"))
        .on("/one", Answer::json("{\"b\":3}"))
        .on("/none", Answer::json("[]"))
        .on("/gone", Answer::status(500))
        .on("/last", Answer::json("[[4]]"))
        .start()
        .await;
    let edge = start(mode, &origin, LIST).await;
    assert_eq!(edge.get("/list").await.expect(200).text(), r#"[1.0 , {"a": 2},{"b":3},[4]]"#);
}

const TEMPLATE: &str = r#"
  - match: GET /template
    public: true
    aggregate:
      user: { call: GET up/user }
      gone: { call: GET up/gone, on_error: omit }
      off: { call: GET up/off, when: has(query.off) }
    answer:
      template:
        name: "{user.$.name}"
        "null": null
        gone: "{gone}"
        missing: "{user.$.missing}"
        list: ["{gone}", "{user.$.id}", "{off}", 1.5]
        nested: { off: "{off}", text: "{{user}}", all: "{user}" }
"#;

async fn a_template_leaves_out_what_was_left_out(mode: Mode) {
    let user = r#"{"name":"A\"da","id":1.0}"#;
    let origin =
        Origin::builder().on("/user", Answer::json(user)).on("/gone", Answer::status(500)).start().await;
    let edge = start(mode, &origin, TEMPLATE).await;
    let answer = edge.get("/template").await.expect(200);
    assert_eq!(
        answer.text(),
        format!(
            r#"{{"name":"A\"da","null":null,"list":[1.0,1.5],"nested":{{"text":"{{user}}","all":{user}}}}}"#
        )
    );
    assert_eq!(answer.header("x-aggregate-complete"), Some("false"));
}
