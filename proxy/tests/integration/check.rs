//! `check`: exit codes and the form for scripts. What it finds is in the golden files.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::sallyport;

const GOOD: &str = "version: 1\nlisteners: { public: { address: 127.0.0.1:8080 } }\n\
                    routes: [{ match: /, public: true, respond: {} }]\n";

#[test]
fn a_good_file_is_code_0_and_counted() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("routes.yaml"), GOOD).unwrap();
    // Without a name it is `routes.yaml`.
    let ran = sallyport(folder.path(), &["check"]).expect(0);
    assert_eq!(ran.stdout, "routes.yaml: 1 route, 0 upstreams, 0 chains; 0 warnings\n");
    assert_eq!(ran.stderr, "");
    let ran = sallyport(folder.path(), &["check", "--format", "json"]).expect(0);
    assert_eq!(ran.json(), json!({ "ok": true, "findings": [] }));
}

#[test]
fn a_bad_file_is_code_1_and_every_finding_has_its_place() {
    let folder = TempDir::new().unwrap();
    let bad = GOOD.replace("public: true, ", "filters: [{ jtw: {} }], ");
    fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    let ran = sallyport(folder.path(), &["check", "--format", "json", "bad.yaml"]).expect(1);
    let finding = json!({
        "severity": "error", "message": "unknown filter `jtw`", "hint": "did you mean `jwt`?",
        "file": "bad.yaml", "line": 3, "column": 34,
    });
    assert_eq!(ran.json(), json!({ "ok": false, "findings": [finding] }));
}

#[test]
fn only_strict_takes_a_warning_for_an_error() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("routes.yaml"), GOOD).unwrap();
    let ran = sallyport(folder.path(), &["check", "--strict", "--format", "json"]).expect(1);
    let found = ran.json();
    assert_eq!(found["ok"], false);
    assert_eq!(found["findings"][0]["severity"], "warning");
    sallyport(folder.path(), &["check", "--format", "json"]).expect(0);
}

#[test]
fn a_file_that_is_not_there_is_a_finding_like_any_other() {
    let folder = TempDir::new().unwrap();
    let ran = sallyport(folder.path(), &["check", "none.yaml"]).expect(1);
    assert!(ran.stderr.contains("none.yaml") && ran.stderr.contains("no such file"), "{}", ran.stderr);
    fs::write(folder.path().join("latin1.yaml"), b"version: 1 # \xe4\n").unwrap();
    let ran = sallyport(folder.path(), &["check", "latin1.yaml"]).expect(1);
    assert!(ran.stderr.contains("UTF-8"), "{}", ran.stderr);
}

#[test]
fn a_command_that_cannot_be_understood_is_code_2() {
    let folder = TempDir::new().unwrap();
    for arguments in [&["chekc"][..], &["check", "--fromat", "json"], &["explain", "GET"], &["token"], &[]] {
        let ran = sallyport(folder.path(), arguments).expect(2);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("Usage"), "{arguments:?}: {}", ran.stderr);
    }
}
