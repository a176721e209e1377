//! `diff`: what changes, by the names of things, and never a secret.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Ran, command, ran, sallyport};

const OLD: &str = r#"
version: 1
listeners: { public: { address: 127.0.0.1:8080 } }
issuers:
  main: { issuer: https://id.example.com/, audiences: [platform], hmac_secret: "${LONG_SECRET}" }
chains:
  user:
    - jwt: { issuer: main }
    - api_key: { keys: [{ name: a, secret: "${LONG_SECRET}" }] }
upstreams:
  batches: { targets: ["127.0.0.1:3000"] }
  files: { targets: ["127.0.0.1:3001"] }
routes:
  - { match: GET /v1/batches, chains: [user], upstream: batches }
  - { match: GET /v1/files, chains: [user], upstream: files }
"#;

fn diff(new: &str, arguments: &[&str]) -> Ran {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("old.yaml"), OLD).unwrap();
    fs::write(folder.path().join("new.yaml"), new).unwrap();
    sallyport(folder.path(), &[&["diff", "old.yaml", "new.yaml"], arguments].concat())
}

#[test]
fn nothing_is_code_0_whatever_the_file_looks_like() {
    let reordered = OLD.replace("\n  batches: {", "\n  # the batch service\n\n  batches:   {");
    let ran = diff(&reordered, &[]).expect(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    assert_eq!(diff(OLD, &["--format", "json"]).expect(0).json(), json!([]));
}

#[test]
fn what_is_new_gone_and_changed() {
    let new = OLD
        .replace("  - { match: GET /v1/files, chains: [user], upstream: files }\n", "")
        .replace("127.0.0.1:3000", "127.0.0.1:4000")
        .replace("[user], upstream: batches }", "[user], upstream: batches, timeouts: { whole: 5s } }")
        + "  - { match: GET /v2, public: true, respond: {} }\n";
    let ran = diff(&new, &[]).expect(1);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "~ route GET /v1/batches: timeouts.whole: \"30s\" → \"5s\"",
            "- route GET /v1/files",
            "+ route GET /v2",
            "~ upstream batches: targets: [\"127.0.0.1:3000\"] → [\"127.0.0.1:4000\"]",
        ]
    );
    let json = diff(&new, &["--format", "json"]).expect(1).json();
    let expected = json!({ "thing": "route GET /v1/batches", "change": "changed", "path": "timeouts.whole",
        "old": "30s", "new": "5s" });
    assert_eq!(json[0], expected);
    assert_eq!(json[1], json!({ "thing": "route GET /v1/files", "change": "removed" }));
    assert_eq!(json[2], json!({ "thing": "route GET /v2", "change": "added" }));
}

#[test]
fn secrets_are_never_shown_however_they_change() {
    let folder = TempDir::new().unwrap();
    let elsewhere = OLD.replace("${LONG_SECRET}", "${OTHER_SECRET}");
    let in_file = OLD.replace("${LONG_SECRET}", "file:secret");
    for (name, text) in [("old.yaml", OLD), ("new.yaml", &elsewhere), ("file.yaml", &in_file)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let other = "fedcba9876543210fedcba9876543210";
    fs::write(folder.path().join("secret"), format!("{other}\n")).unwrap();
    for (old, new) in [("old.yaml", "new.yaml"), ("old.yaml", "file.yaml"), ("file.yaml", "new.yaml")] {
        for format in ["text", "json"] {
            let mut command = command(folder.path());
            let ran = ran(command.env("OTHER_SECRET", other).args(["diff", old, new, "--format", format]));
            let said = ran.stdout + &ran.stderr;
            assert!(!said.contains(crate::LONG_SECRET) && !said.contains(other), "{said}");
        }
    }
}

#[test]
fn a_file_with_errors_is_code_2_and_says_which() {
    let ran = diff(&OLD.replace("upstream: files", "upstream: flies"), &[]).expect(2);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("`new.yaml` has errors") && ran.stderr.contains("did you mean `files`?"));
}

/// An order that decides which filter runs first is a change; the order of routes with different paths is none.
#[test]
fn order_counts_where_it_means_something() {
    let routes: Vec<&str> = OLD.lines().filter(|line| line.starts_with("  - { match")).collect();
    let swapped = OLD.replace(&routes.join("\n"), &format!("{}\n{}", routes[1], routes[0]));
    assert_ne!(swapped, OLD);
    diff(&swapped, &[]).expect(0);
    let shared = OLD.replace("[user], upstream: files", "[], public: true, upstream: files");
    let json = diff(&shared, &["--format", "json"]).expect(1).json();
    let paths: Vec<&Value> = json.as_array().unwrap().iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, ["chains", "public"]);
}
