//! Every file in `examples` is good, and does what its comments say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sallyport_testkit::Certificates;
use serde_json::Value;
use tempfile::TempDir;

use crate::{command, ran};

/// A copy of the examples, with the certificates that they name.
fn copy() -> TempDir {
    let copy = TempDir::new().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for folder in ["", "include", "include/teams"] {
        let to = copy.path().join(folder);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(from.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_file() {
                fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
            }
        }
    }
    fs::create_dir(copy.path().join("tls")).unwrap();
    let certificates = Certificates::new();
    for name in ["api.example.com", "app.example.com"] {
        let leaf = certificates.leaf(&[name]);
        fs::copy(leaf.cert, copy.path().join(format!("tls/{name}.crt"))).unwrap();
        fs::copy(leaf.key, copy.path().join(format!("tls/{name}.key"))).unwrap();
    }
    copy
}

/// The examples that a start could begin with, relative to the copy. The custom filter has a program and tests of its own.
fn examples(copy: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(copy).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name()));
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect();
    files.push(PathBuf::from("include/routes.yaml"));
    files.sort();
    files
}

/// With a value for every `${NAME}` in an example.
fn with_secrets(folder: &Path) -> Command {
    let mut command = command(folder);
    for example in examples(folder) {
        let text = fs::read_to_string(folder.join(example)).unwrap();
        for name in text.split("${").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)) {
            command.env(name, format!("{name}-0123456789abcdef"));
        }
    }
    command
}

#[test]
fn every_example_is_good_and_free_of_warnings() {
    let copy = copy();
    let examples = examples(copy.path());
    assert!(examples.len() >= 12, "{examples:?}");
    for example in examples {
        let ran = ran(with_secrets(copy.path()).args(["check", "--format", "json"]).arg(&example)).expect(0);
        assert_eq!(ran.json()["findings"], Value::Array(Vec::new()), "{}", example.display());
    }
}

/// Example, request (with headers), and the route and action it leads to.
const LEADS_TO: &[(&str, &[&str], &str, &str)] = &[
    ("minimal", &["GET", "/hello"], "/{**path}", "upstream app"),
    ("tls", &["GET", "https://api.example.com/v1/batches"], "api.example.com/{**path}", "upstream api"),
    ("canary", &["GET", "/v1/batches/7"], "batches", "split: stable 95, next 5"),
    ("canary", &["GET", "/v1/batches/7", "-H", "X-Version: next"], "batches-next", "upstream next"),
    ("canary", &["GET", "/v1/search?engine=v2"], "search-next", "upstream next"),
    ("canary", &["GET", "/v1/search?engine=v2", "-H", "X-No-Experiments: 1"], "search", "upstream stable"),
    ("rewrite", &["GET", "/shopping/cart"], "", ""),
    ("rewrite", &["GET", "/users/7/orders/9"], "GET /users/{user}/orders/{order}", "upstream legacy"),
    (
        "aggregate",
        &["GET", "http://api.example.com/v1/classes/4b/start?state=open"],
        "GET api.example.com/v1/classes/{class}/start",
        "aggregate",
    ),
    (
        "view",
        &["GET", "http://api.example.com/v1/batches?status=open"],
        "GET api.example.com/v1/batches",
        "view batches",
    ),
    ("uploads", &["PUT", "/v1/files/essays.zip"], "PUT /v1/files/{**path}", "upstream files"),
    ("uploads", &["DELETE", "/v1/files/essays.zip"], "/v1/{**path}", "upstream files"),
    ("versions", &["GET", "/v0/batches"], "/v0/{**path}", "respond 410"),
    ("versions", &["GET", "/v1/batches"], "/v1/{**path}", "upstream v1"),
    (
        "behind-a-load-balancer",
        &["GET", "https://api.example.com/healthz"],
        "api.example.com/{**path}",
        "upstream app",
    ),
    (
        "include/routes",
        &["GET", "https://api.example.com/v1/batches/7"],
        "GET api.example.com/v1/batches/{id}",
        "upstream batches",
    ),
];

#[test]
fn requests_go_where_the_comments_say() {
    let copy = copy();
    for (example, request, route, action) in LEADS_TO {
        let file = format!("{example}.yaml");
        let mut command = with_secrets(copy.path());
        command.args(["explain", "--format", "json", "-c", &file]).args(*request);
        let ran = ran(&mut command).expect(i32::from(route.is_empty()));
        let explanation = ran.json();
        let said =
            (explanation["route"].as_str().unwrap_or(""), explanation["action"].as_str().unwrap_or(""));
        assert_eq!(said, (*route, *action), "{file} {request:?}");
    }
}

/// The examples together show every filter, so that each can be copied from somewhere.
#[test]
fn every_filter_is_in_an_example() {
    let copy = copy();
    let mut texts = String::new();
    for example in examples(copy.path()).iter().chain([&PathBuf::from("include/teams/files.yaml")]) {
        texts += &fs::read_to_string(copy.path().join(example)).unwrap();
    }
    let registry = sallyport::filters::Registry::standard();
    let missing: BTreeSet<&str> =
        registry.kinds().map(|kind| kind.name).filter(|name| !texts.contains(&format!("- {name}"))).collect();
    // Both come with every route by themselves.
    assert_eq!(missing, BTreeSet::from(["body_limit", "request_id"]));
}
