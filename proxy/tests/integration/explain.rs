//! `explain`: the route, why the others lost, and what the edge answers where there is none.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Ran, sallyport};

const ROUTES: &str = r#"
version: 1
listeners: { public: { address: 127.0.0.1:8080 } }
chains:
  browser:
    - cors: { origins: ["https://app.example.com"] }
    - security_headers
upstreams:
  batches: { targets: ["127.0.0.1:3000"] }
routes:
  - { name: list, match: "GET|POST api.example.com/v1/batches", chains: [browser], public: true, upstream: batches }
  - { name: one, match: "GET api.example.com/v1/batches/{id}", chains: [browser], public: true, upstream: batches }
  - { name: newest, match: "GET api.example.com/v1/batches/newest", public: true, upstream: batches }
  - name: beta
    match: { host: api.example.com, path: "/v1/batches/{id}", methods: [GET], headers: { X-Beta: "1" } }
    public: true
    respond: { status: 204 }
  - { name: old, match: "GET api.example.com/v0/{**rest}", public: true, redirect: { to: "/v1/{rest}" } }
  - name: overview
    match: GET api.example.com/v1/overview/{id}
    public: true
    aggregate:
      profile: { call: "GET batches/users/{id}", timeout: 500ms, cache: { ttl: 30s }, pass_statuses: [404] }
      files:
        call: "GET batches/files/{item.$.id}"
        each: { in: profile.$.files, max: 20, concurrency: 4, beyond: cut }
        on_error: omit
        retry: {}
      tags: { call: GET batches/tags, when: query.tags == "yes", on_error: "null" }
    answer: { timeout: 5s }
  - { name: blobs, match: "GET api.example.com/blobs/{name}", public: true, upstream: batches, encoded_slashes: keep }
"#;

fn explain(arguments: &[&str]) -> Ran {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("routes.yaml"), ROUTES).unwrap();
    sallyport(folder.path(), &[&["explain"], arguments].concat())
}

fn json_of(code: i32, arguments: &[&str]) -> Value {
    explain(&[arguments, &["--format", "json"]].concat()).expect(code).json()
}

fn verdict<'a>(explanation: &'a Value, route: &str) -> &'a str {
    let mut looked = explanation["considered"].as_array().unwrap().iter();
    looked.find(|looked| looked["route"] == route).and_then(|looked| looked["verdict"].as_str()).unwrap_or("")
}

#[test]
fn the_chosen_route_and_why_the_others_lost() {
    let said = json_of(0, &["GET", "https://API.example.com:8443/v1/x/../batches/newest?limit=5"]);
    assert_eq!((&said["host"], &said["path"]), (&json!("api.example.com"), &json!("/v1/batches/newest")));
    assert_eq!((&said["route"], &said["action"]), (&json!("newest"), &json!("upstream batches")));
    assert_eq!(verdict(&said, "newest"), "chosen");
    assert_eq!(verdict(&said, "one"), "matches, but `newest` has a more specific path");
    assert!(verdict(&said, "beta").contains("header `x-beta` is not `1`"), "{said}");
    assert_eq!(verdict(&said, "list"), "the path does not match");
}

#[test]
fn parameters_and_filters_are_told() {
    let said = json_of(0, &["HEAD", "https://api.example.com/v1/batches/a%20b"]);
    assert_eq!(said["params"], json!([["id", "a%20b"]]));
    let filters: Vec<_> =
        said["filters"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(filters, ["request_id", "cors", "security_headers"]);
}

#[test]
fn headers_count() {
    let url = "https://api.example.com/v1/batches/7";
    let said = json_of(0, &["GET", url, "-H", "x-beta: 1"]);
    assert_eq!((&said["route"], &said["action"]), (&json!("beta"), &json!("respond 204")));
    assert!(verdict(&said, "one").contains("more conditions on headers"), "{said}");
    assert_eq!(json_of(0, &["GET", url, "-H", "X-Beta: 2"])["route"], "one");
    // With a path alone the host is the header's, as on the wire.
    assert_eq!(json_of(0, &["GET", "/v1/batches/7", "-H", "Host: api.example.com:443"])["route"], "one");
}

#[test]
fn what_the_edge_answers_where_no_route_takes_it() {
    for (method, url, status) in [
        ("GET", "https://api.example.com/v2", 404),
        ("DELETE", "https://api.example.com/v1/batches/7", 405),
        ("GET", "https://www.example.com/v1/batches", 421),
        ("GET", "/v1/batches", 421),
        ("GET", "https://api.example.com/%zz", 400),
        ("GET", "https://api.example.com/v1/batches/a%2Fb", 400),
    ] {
        let said = json_of(1, &[method, url]);
        assert_eq!((&said["refused"], &said["route"]), (&json!(status), &Value::Null), "{method} {url}");
        assert!(said["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{said}");
    }
    assert_eq!(json_of(0, &["GET", "https://api.example.com/blobs/a%2Fb"])["route"], "blobs");
}

/// Fetch standard, "CORS-preflight request": the edge answers it on the route that it asks about.
#[test]
fn a_preflight_is_explained_as_the_edge_treats_it() {
    let ask = |method: &str| format!("Access-Control-Request-Method: {method}");
    let url = "https://api.example.com/v1/batches";
    let origin = "Origin: https://app.example.com";
    let said = json_of(0, &["OPTIONS", url, "-H", origin, "-H", &ask("POST")]);
    assert_eq!((&said["route"], &said["preflight"]), (&json!("list"), &json!(true)));
    // Not without a page, not for a method that no route takes, not where nothing answers preflights.
    assert_eq!(json_of(1, &["OPTIONS", url, "-H", &ask("POST")])["refused"], 405);
    assert_eq!(json_of(1, &["OPTIONS", url, "-H", origin, "-H", &ask("DELETE")])["refused"], 405);
    let plain = "https://api.example.com/v1/batches/newest";
    let said = json_of(1, &["OPTIONS", plain, "-H", origin, "-H", &ask("GET")]);
    assert_eq!(said["refused"], 405);
}

#[test]
fn people_read_the_same() {
    let said = explain(&["GET", "https://api.example.com/v0/a/b"]).expect(0).stdout;
    for line in [
        "host     api.example.com",
        "route    old",
        "param    rest = a/b",
        "filters  1. request_id",
        "action   redirect 308 to /v1/{rest}",
        "looked   old: chosen",
    ] {
        assert!(said.lines().any(|other| other == line), "no line `{line}` in:\n{said}");
    }
    let said = explain(&["GET", "https://api.example.com/v2"]).expect(1).stdout;
    assert!(said.contains("route    none: the edge answers 404"), "{said}");
}

#[test]
fn what_is_no_request_is_code_2() {
    for arguments in [&["G ET", "/"][..], &["GET", "https://a b/"], &["GET", "/", "-H", "no colon"]] {
        let ran = explain(arguments).expect(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty());
    }
    let folder = TempDir::new().unwrap();
    sallyport(folder.path(), &["explain", "GET", "/", "-c", "none.yaml"]).expect(2);
}

#[test]
fn a_composed_answer_is_drawn() {
    let arguments = ["GET", "https://api.example.com/v1/overview/7"];
    let text = explain(&arguments).expect(0).stdout;
    let drawn = "action   aggregate
overview: at most 5s and 8MiB, for everybody
├─ at once
│  ├─ profile  GET batches/users/{id} · 500ms · required · passes on 404 · kept 30s
│  └─ tags     GET batches/tags · when query.tags == \"yes\" · 2s · else null
├─ then
│  └─ files    GET batches/files/{item.$.id} · after profile · for each of profile.$.files, at most 20, the rest cut, \
4 at a time · 2s each · 1 more on connect · else left out
└─ worst case 5s, cut by the answer's timeout: profile 500ms → files 5 × 2s
looked   overview: chosen
";
    assert!(text.contains(drawn), "{text}");
    let said = json_of(0, &arguments);
    assert_eq!((&said["route"], &said["action"]), (&json!("overview"), &json!("aggregate")));
    let composed = &said["composed"];
    assert_eq!((&composed["timeout_ms"], &composed["authenticated"]), (&json!(5000), &json!(false)));
    let files = &composed["branches"][1];
    assert_eq!(
        (&files["name"], &files["level"], &files["after"]),
        (&json!("files"), &json!(2), &json!(["profile"]))
    );
    assert_eq!(
        files["each"],
        json!({ "in": "profile.$.files", "max": 20, "concurrency": 4, "beyond": "cut" })
    );
    assert_eq!(
        (&composed["worst"]["ms"], &composed["worst"]["cut_by_timeout"]),
        (&json!(5000), &json!(true))
    );
    // Other routes have nothing of the kind.
    assert_eq!(json_of(0, &["GET", "https://api.example.com/v1/batches/newest"]).get("composed"), None);
}
