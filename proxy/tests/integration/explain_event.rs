//! `explain-event`: exactly what people read, the exit codes, and what is believed of a token.

use std::fs;
use std::process::Stdio;

use sallyport_testkit::Tokens;
use serde_json::json;
use tempfile::TempDir;

use crate::{Ran, command, sallyport};

const ROUTES: &str = r#"
version: 1
listeners: { public: { address: 127.0.0.1:8080 } }
issuers:
  main:
    issuer: https://id.example.com/
    audiences: [platform]
    algorithms: [ES256]
    jwks: { file: jwks.json }
kafka: { main: { brokers: ["127.0.0.1:9092"] } }
ws_bridge:
  issuers: [main]
  sources:
    - topics: [essay.batch.events]
      channel: "batch:{$.batch_id}"
      tags: { type: "{ce.type}" }
    - topics: [essay.batch.events]
      when: ce.type == "batch.checked"
      channel: "user:{$.owner}"
  channels:
    batch:
      visible_to: claims.sub == event.owner || "admin" in claims.roles
      wildcard: true
    user:
      join: "user:{claims.sub}"
      subscribe_if: claims.sub == id
      visible_to: claims.sub == event.owner
routes:
  - { match: GET /connection/websocket, public: true, sidecar: ws-bridge }
"#;

const VALUE: &str = r#"{"batch_id": 7, "owner": "alice"}"#;

struct World {
    folder: TempDir,
    tokens: Tokens,
}

impl World {
    fn new() -> World {
        let folder = TempDir::new().unwrap();
        let tokens = Tokens::new("https://id.example.com/", "platform");
        tokens.write_jwks(&folder.path().join("jwks.json"));
        fs::write(folder.path().join("routes.yaml"), ROUTES).unwrap();
        World { folder, tokens }
    }

    /// Asks about a batch of alice.
    fn explain(&self, arguments: &[&str]) -> Ran {
        let record = [
            "explain-event",
            "--topic",
            "essay.batch.events",
            "--key",
            "7",
            "--header",
            "ce_type=batch.checked",
        ];
        sallyport(self.folder.path(), &[&record, arguments].concat())
    }
}

#[test]
fn people_read_why_somebody_sees_an_event() {
    let said = World::new().explain(&["--value", VALUE, "--claims", r#"{"sub": "alice"}"#]).expect(0);
    let expected = r#"seen        yes: it comes on `batch:7`, and it comes on `user:alice`
subject     alice, by the claims given
topic       essay.batch.events

source 1    essay.batch.events: it comes on `batch:7`
event       channel `batch:7`, key `7`
tags        type = batch.checked
data        {"batch_id": 7, "owner": "alice"}
subscribe   to `batch:7`
            everybody may
visible_to  claims.sub == event.owner || "admin" in claims.roles: yes
              claims.roles is missing
              claims.sub = "alice"
              event.owner = "alice"
replay      5m, at most 256 events and 256KiB of a channel

source 2    essay.batch.events: it comes on `user:alice`
when        ce.type == "batch.checked": yes
              ce.type = "batch.checked"
event       channel `user:alice`, key `7`
data        {"batch_id": 7, "owner": "alice"}
subscribe   to `user:alice`, which the server does by itself
            claims.sub == id: yes
              claims.sub = "alice"
              id = "alice"
visible_to  claims.sub == event.owner: yes
              claims.sub = "alice"
              event.owner = "alice"
replay      5m, at most 256 events and 256KiB of a channel
"#;
    assert_eq!(said.stdout, expected);
}

#[test]
fn people_read_why_somebody_does_not() {
    let world = World::new();
    let arguments = ["--value", VALUE, "--claims", r#"{"sub": "bob"}"#, "--channel", "batch:*"];
    let filter = ["--filter", r#"{"key": "type", "cmp": "eq", "val": "other"}"#];
    let said = world.explain(&[&arguments[..], &filter].concat()).expect(1);
    let expected = r#"seen        no: source 1: `visible_to` of `batch` cannot be decided, which means no: `claims.roles` is missing; source 2: it comes on `user:alice`, which a subscription to `batch:*` does not cover
subject     bob, by the claims given
topic       essay.batch.events

source 1    essay.batch.events: `visible_to` of `batch` cannot be decided, which means no: `claims.roles` is missing
event       channel `batch:7`, key `7`
tags        type = batch.checked
data        {"batch_id": 7, "owner": "alice"}
subscribe   to `batch:*`
            everybody may
visible_to  claims.sub == event.owner || "admin" in claims.roles: no, because `claims.roles` is missing
              claims.roles is missing
              claims.sub = "bob"
              event.owner = "alice"
filter      does not pass
replay      5m, at most 256 events and 256KiB of a channel
"#;
    assert!(said.stdout.starts_with(expected), "{}", said.stdout);
    let said = world.explain(&["--value", "not JSON", "--claims", "{}"]).expect(1).stdout;
    assert!(said.contains("the record becomes no event"), "{said}");
}

#[test]
fn a_token_is_believed_as_the_bridge_would() {
    let world = World::new();
    let explain = |token: &str| world.explain(&["--value", VALUE, "--token", token, "--format", "json"]);
    let said = explain(&world.tokens.token().sign()).expect(0).json();
    assert_eq!(said["subject"]["source"], "by a token of the issuer `main`, verified");
    assert_eq!((&said["user"], &said["subject"]["claims"]["sub"]), (&json!("alice"), &json!("alice")));

    let expired = world.tokens.token().expires_in(-3600).sign();
    let said = explain(&expired).expect(1).json();
    assert_eq!(said["subject"]["source"], "by a token that is refused");
    assert_eq!((&said["sees"], &said["sources"][0]["sees"]), (&json!(false), &json!(false)));
    // Its claims are looked at all the same, so that one sees what a fresh one would do.
    assert_eq!(said["sources"][0]["delivery"]["visible_to"]["holds"], true);

    let stranger = Tokens::new("https://id.example.com/", "platform").token().sign();
    explain(&stranger).expect(1);
    explain("no.token").expect(2);
}

#[test]
fn values_come_from_files_and_standard_input() {
    let world = World::new();
    fs::write(world.folder.path().join("value.json"), VALUE).unwrap();
    fs::write(world.folder.path().join("claims.json"), r#"{"sub": "alice"}"#).unwrap();
    world.explain(&["--value", "@value.json", "--claims", "@claims.json"]).expect(0);
    let mut piped = command(world.folder.path());
    piped.args([
        "explain-event",
        "--topic",
        "essay.batch.events",
        "--value",
        "-",
        "--claims",
        "@claims.json",
    ]);
    piped.stdin(Stdio::from(fs::File::open(world.folder.path().join("value.json")).unwrap()));
    crate::ran(&mut piped).expect(0);
}

#[test]
fn what_cannot_be_asked_is_code_2() {
    let world = World::new();
    for arguments in [
        &["--value", "@none.json"][..],
        &["--value", VALUE, "--claims", "[1]"],
        &["--value", VALUE, "--claims", "{"],
        &["--value", VALUE, "--claims", "{}", "--filter", r#"{"cmp": "like"}"#],
        &["--value", VALUE, "--header", "no equals sign"],
        &["--value", VALUE, "--config", "none.yaml"],
    ] {
        let ran = world.explain(arguments).expect(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{arguments:?}");
    }
    let without = ROUTES.split("kafka:").next().unwrap().to_owned() + "routes: []\n";
    fs::write(world.folder.path().join("without.yaml"), without).unwrap();
    let ran = world.explain(&["--value", VALUE, "--config", "without.yaml"]).expect(2);
    assert!(ran.stderr.contains("has no `ws_bridge`"), "{}", ran.stderr);
    // Nobody in particular gets no connection here.
    world.explain(&["--value", VALUE]).expect(1);
}

#[test]
fn a_change_of_a_view_is_explained_too() {
    let world = World::new();
    let views = "views:\n  batches: { topic: t, key: key, fold: [{ on: { type: a } }], visible_to: \"true\" }\nws_bridge:";
    let source = "  sources:\n    - { view: batches, channel: \"batch:{key}\" }\n";
    let routes = ROUTES.replace("ws_bridge:", views).replace("  sources:\n", source);
    let routes = routes.replace("event.owner || \"admin\"", "event.row.owner || \"admin\"");
    fs::write(world.folder.path().join("routes.yaml"), routes).unwrap();
    let change = r#"{"key": "b1", "row": {"owner": "alice"}}"#;
    let explain = |arguments: &[&str]| {
        sallyport(world.folder.path(), &[&["explain-event", "--value", change], arguments].concat())
    };
    let said = explain(&["--view", "batches", "--claims", r#"{"sub": "alice"}"#]).expect(0).stdout;
    let beginning = r#"seen        yes: it comes on `batch:b1`
subject     alice, by the claims given
view        batches

source 1    view batches: it comes on `batch:b1`
event       channel `batch:b1`, key `b1`
data        {"key":"b1","row":{"owner": "alice"}}
"#;
    assert!(said.starts_with(beginning), "{said}");
    let said = explain(&["--view", "batches", "--claims", r#"{"sub": "bob", "roles": []}"#]).expect(1).stdout;
    assert!(said.starts_with("seen        no: `visible_to` of `batch` does not hold\n"), "{said}");
    explain(&["--topic", "t", "--view", "batches", "--key", "k"]).expect(2);
    explain(&[]).expect(2);
}
