//! What is told of one record, for several subjects. That it is what clients get is told by the hub's tests and the
//! stories: both ask the same functions.

use bytes::Bytes;
use proptest::prelude::*;
use sallyport_identity::Issuers;
use serde_json::json;

use super::*;

const ROUTES: &str = r#"
version: 1
listeners: { public: { address: 127.0.0.1:8080 } }
kafka:
  main: { brokers: ["127.0.0.1:9092"] }
  other: { brokers: ["127.0.0.1:9093"] }
ws_bridge:
  sources:
    - { kafka: main, topics: ["batch.*"], channel: "batch:{$.batch_id}", tags: { type: "{ce.type}" } }
    - kafka: main
      topics: [batch.events]
      channel: "user:{$.owner}"
      when: event.done
    - { kafka: other, topics: [batch.events], channel: "batch:{key}" }
  channels:
    batch:
      visible_to: claims.sub == event.owner || "admin" in claims.roles
      wildcard: true
    user:
      join: "user:{claims.sub}"
      subscribe_if: claims.sub == id
      visible_to: claims.sub == event.owner
routes: []
"#;

fn plan() -> Plan {
    plan_of(ROUTES)
}

fn plan_of(routes: &str) -> Plan {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("routes.yaml");
    std::fs::write(&path, routes).unwrap();
    let (loaded, mut report) =
        sallyport_config::load(&path, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    Plan::compile(&loaded.config, &Issuers::default(), &mut report).unwrap_or_else(|| panic!("{report}"))
}

fn record(value: &str) -> Record {
    Record {
        topic: "batch.events".into(),
        partition: 0,
        offset: 0,
        timestamp: 0,
        key: Some(Bytes::from_static(b"7")),
        headers: vec![("ce_type".into(), Bytes::from_static(b"batch.registered"))],
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

const REGISTERED: &str = r#"{"batch_id": 7, "owner": "alice", "done": false}"#;

fn query<'a>(record: &'a Record, claims: &'a Value) -> EventQuery<'a> {
    EventQuery {
        record,
        cluster: Some("main"),
        view: None,
        claims: Some(claims),
        refused: None,
        subscription: None,
        filter: None,
    }
}

#[test]
fn the_owner_sees_it_and_is_told_why() {
    let claims = json!({"sub": "alice"});
    let record = record(REGISTERED);
    let told = plan().explain_event(&query(&record, &claims)).unwrap();
    assert_eq!(
        (told.sees, told.because.as_str(), told.user.as_str()),
        (true, "it comes on `batch:7`", "alice")
    );
    let batch = &told.sources[0];
    let event = batch.event.as_ref().unwrap();
    assert_eq!(
        (event.channel.as_str(), event.key.as_deref(), event.data.get()),
        ("batch:7", Some("7"), REGISTERED)
    );
    assert_eq!(event.tags, [("type".to_owned(), "batch.registered".to_owned())]);
    let visible = &batch.delivery.as_ref().unwrap().visible_to;
    // `claims.roles` is not there: an error, which the other alternative makes good.
    assert_eq!(
        serde_json::to_value(visible).unwrap(),
        json!({
            "condition": "claims.sub == event.owner || \"admin\" in claims.roles", "holds": true,
            "reads": [
                {"field": "claims.roles"}, {"field": "claims.sub", "value": "alice"},
                {"field": "event.owner", "value": "alice"},
            ],
        })
    );
    assert_eq!(told.sources[1].because, "`when` does not hold");
    assert_eq!(told.sources[1].when.as_ref().unwrap().reads[0].value, Some(json!(false)));
    assert_eq!(
        (told.sources[2].takes, told.sources[2].because.as_str()),
        (false, "it reads the cluster `other`")
    );
}

#[test]
fn a_change_of_a_view_is_explained_like_a_record() {
    let views = "views:\n  batches: { kafka: main, topic: t, key: key, fold: [{ on: { type: a } }], visible_to: \"true\" }\nws_bridge:";
    let of_view = "  sources:\n    - { view: batches, channel: \"user:{$.owner}\", data: $.row, tags: { type: \"{ce.type}\" } }\n    - { view: batches, channel: \"batch:{key}\" }\n";
    let routes = ROUTES.replace("ws_bridge:", views).replace("  sources:\n", of_view);
    let plan = plan_of(&routes);
    let record =
        change("batches", "t", br#"{"key": "7", "row": {"owner": "alice"}, "owner": "alice"}"#).unwrap();
    let claims = json!({"sub": "alice"});
    let asked = EventQuery { cluster: None, view: Some("batches"), ..query(&record, &claims) };
    let told = plan.explain_event(&asked).unwrap();
    // What is no member of a change does not become one.
    assert_eq!(told.sources[0].because, "the record becomes no event: the record has no `$.owner`");
    assert!(!told.sources[1].sees && told.sources[1].takes);
    assert_eq!(told.sources[1].event.as_ref().unwrap().data.get(), r#"{"key":"7","row":{"owner": "alice"}}"#);
    assert_eq!(told.sources[2].because, "it reads topics");
    let shown = serde_json::to_value(&told.sources[1]).unwrap();
    assert_eq!((&shown["view"], shown.get("cluster"), shown.get("topics")), (&json!("batches"), None, None));
    let asked = EventQuery { view: Some("others"), ..asked };
    let told = plan.explain_event(&asked).unwrap();
    assert_eq!(told.because, "no source takes the changes of the view `others`");
    assert_eq!(told.sources[0].because, "it takes the changes of the view `batches`");
    let told = plan.explain_event(&EventQuery { view: None, ..asked }).unwrap();
    assert_eq!(told.sources[1].because, "it takes the changes of the view `batches`");
    assert!(
        change("batches", "t", b"{}")
            .unwrap_err()
            .starts_with("it is no change of a view: missing field `key`")
    );
    assert_eq!(change("batches", "t", b"{\"key\":1}").unwrap_err(), "the change has a key that is no text");
}

#[test]
fn a_stranger_does_not_and_an_error_means_no() {
    let claims = json!({"sub": "bob"});
    let record = record(REGISTERED);
    let told = plan().explain_event(&query(&record, &claims)).unwrap();
    assert!(!told.sees);
    let visible = &told.sources[0].delivery.as_ref().unwrap().visible_to;
    assert_eq!(visible.error.as_deref(), Some("`claims.roles` is missing"));
    assert_eq!(
        told.because,
        "source 1: `visible_to` of `batch` cannot be decided, which means no: `claims.roles` is missing; source 2: \
         `when` does not hold"
    );
    let claims = json!({"sub": "bob", "roles": ["reader"]});
    let told = plan().explain_event(&query(&record, &claims)).unwrap();
    assert_eq!(told.sources[0].because, "`visible_to` of `batch` does not hold");
}

/// One row: what is asked, and the answer of the first source.
#[test]
fn every_obstacle_is_named() {
    let (alice, filter) =
        (json!({"sub": "alice"}), json!({"key": "type", "cmp": "eq", "val": "batch.deleted"}));
    let registered = record(REGISTERED);
    let base = || query(&registered, &alice);
    let rows: [(EventQuery<'_>, &str); 8] = [
        (EventQuery { subscription: Some("batch:*"), ..base() }, "it comes on `batch:7`"),
        (EventQuery { subscription: Some("batch:7*"), ..base() }, "it comes on `batch:7`"),
        (
            EventQuery { subscription: Some("batch:8"), ..base() },
            "it comes on `batch:7`, which a subscription to `batch:8` does not cover",
        ),
        (
            EventQuery { subscription: Some("*"), ..base() },
            "it comes on `batch:7`, which a subscription to `*` does not cover",
        ),
        (EventQuery { filter: Some(&filter), ..base() }, "the client's own filter over tags leaves it out"),
        (EventQuery { refused: Some("the token has expired".to_owned()), ..base() }, "the token has expired"),
        (
            EventQuery { claims: None, ..base() },
            "nobody gets a connection without an identity (`anonymous` is not set)",
        ),
        (EventQuery { cluster: Some("other"), ..base() }, "it reads the cluster `main`"),
    ];
    let plan = plan();
    for (query, because) in rows {
        let told = plan.explain_event(&query).unwrap();
        assert_eq!(told.sources[0].because, because);
        assert_eq!(told.sources[0].sees, because == "it comes on `batch:7`");
    }
    let malformed = json!({"cmp": "like"});
    assert!(plan.explain_event(&EventQuery { filter: Some(&malformed), ..base() }).is_err());
}

#[test]
fn subscribing_is_a_question_of_its_own() {
    let finished = record(r#"{"batch_id": 7, "owner": "alice", "done": true}"#);
    let plan = plan();
    let alice = json!({"sub": "alice"});
    let told = plan.explain_event(&query(&finished, &alice)).unwrap();
    assert_eq!(told.because, "it comes on `batch:7`, and it comes on `user:alice`");
    let delivery = told.sources[1].delivery.as_ref().unwrap();
    assert!(delivery.joined && delivery.subscribe_if.as_ref().unwrap().holds);
    let bob = json!({"sub": "bob"});
    let told = plan.explain_event(&query(&finished, &bob)).unwrap();
    assert_eq!(told.sources[1].because, "`subscribe_if` of `user` does not hold");
    let fields = &told.sources[1].delivery.as_ref().unwrap().subscribe_if.as_ref().unwrap().reads;
    let read: Vec<_> = fields.iter().map(|read| (read.field.as_str(), read.value.clone())).collect();
    assert_eq!(read, [("claims.sub", Some(json!("bob"))), ("id", Some(json!("alice")))]);
    // A pattern needs a family that allows it, whoever asks.
    let told =
        plan.explain_event(&EventQuery { subscription: Some("user:*"), ..query(&finished, &alice) }).unwrap();
    assert!(
        told.sources[1].because.ends_with("(the family `user` has no `wildcard`)"),
        "{}",
        told.sources[1].because
    );
}

#[test]
fn records_that_become_no_event() {
    let alice = json!({"sub": "alice"});
    let plan = plan();
    let poison = record(r#"{"owner": "alice", "done": true}"#);
    let told = plan.explain_event(&query(&poison, &alice)).unwrap();
    assert!(
        told.sources[0].because.starts_with("the record becomes no event: "),
        "{}",
        told.sources[0].because
    );
    assert!(told.sources[0].event.is_none() && told.sources[1].sees);
    let tombstone = Record { value: None, ..record("") };
    let told = plan.explain_event(&query(&tombstone, &alice)).unwrap();
    assert!(told.because.contains("the record has no value"), "{}", told.because);
    let elsewhere = Record { topic: "orders".into(), ..record(REGISTERED) };
    let told = plan.explain_event(&query(&elsewhere, &alice)).unwrap();
    assert_eq!(told.because, "no source reads the topic `orders` of the cluster `main`");
}

proptest! {
    // Each case compiles the configuration anew.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The verdict is that of the function which decides for clients, whatever a record and a token hold.
    #[test]
    fn the_verdict_is_the_hubs(owner in "[ab]", sub in "[ab]", role in "(admin|reader)", has_roles: bool) {
        let mut claims = json!({"sub": sub});
        if has_roles {
            claims["roles"] = json!([role]);
        }
        let record = record(&json!({"batch_id": 1, "owner": owner, "done": false}).to_string());
        let plan = plan();
        let told = plan.explain_event(&query(&record, &claims)).unwrap();
        let family = &plan.families["batch"];
        let Outcome::Event(event) = plan.sources[0].mapping.outcome(&record).unwrap() else { panic!("no event") };
        let (text, read) = family.subject(&claims);
        let seen = sees(family, &ClassKey { claims: text, filter: None }, &read, &Stored::new(event, 9, 9));
        prop_assert_eq!(told.sees, seen);
        prop_assert_eq!(seen, sub == owner || (has_roles && role == "admin"));
    }
}
