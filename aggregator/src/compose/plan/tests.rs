//! Compiled plans, filled in: targets, bodies, conditions. What is refused is in `tests/golden`.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::compose::text::{FieldFault, Known};
use crate::json::{DEPTH_CEILING, Limits};

const HEAD: &str = "version: 1\nlisteners: { public: { address: 127.0.0.1:8080 } }\n\
    upstreams: { users: { targets: [127.0.0.1:9101] } }\n\
    routes:\n- name: r\n  match: POST /v1/{id}\n  aggregate:\n";

fn compile(branches: &str) -> Composition {
    let text = format!("{HEAD}{branches}");
    let (loaded, mut report) = sallyport_config::load_text("t", &text, Path::new(""), &|_| None).unwrap();
    let upstreams = sallyport_upstreams::load(&loaded, None, &mut report);
    let compositions = Compositions::compile(&loaded.config, &upstreams, &mut report);
    let mut compositions = compositions.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(compositions.find("r").map(|found| &*found.name), Some("r"));
    assert!(compositions.find("q").is_none() && !compositions.is_empty());
    compositions.by_route.clear();
    Arc::into_inner(compositions.all.remove(0)).unwrap()
}

fn call(composition: &Composition, branch: &str) -> usize {
    composition.branches.iter().position(|known| &*known.name == branch).unwrap()
}

fn checked(json: &str) -> Checked {
    let limits = Limits { depth_max: DEPTH_CEILING, bytes_max: usize::MAX };
    Checked::new(bytes::Bytes::copy_from_slice(json.as_bytes()), &limits).unwrap()
}

fn source(composition: &Composition) -> &Call {
    match &composition.branches[0].source {
        Source::Call(call) => call,
        Source::View(view) => panic!("{view}"),
    }
}

fn target(written: &str, query: &str, claims: &Value) -> Result<String, (String, FieldFault)> {
    let composition = compile(&format!("    a: {{ call: \"{written}\" }}\n"));
    let params = [("id".into(), "a/b".into())];
    let known = Known { params: &params, query, claims: Some(claims), results: &[], item: None };
    source(&composition).target(&known).map_err(|error| (error.field.to_string(), error.fault))
}

#[test]
fn a_target_is_path_and_query() {
    let none = json!({});
    let ok = |written: &str, query: &str| target(written, query, &none).unwrap();
    assert_eq!(ok("GET users/", ""), "/");
    assert_eq!(ok("GET users/v1/{id}/x%20y/", ""), "/v1/a%2Fb/x%20y/");
    assert_eq!(ok("GET   users/v1?flag&a=1/2?&b=", ""), "/v1?flag&a=1/2?&b=");
    assert_eq!(ok("GET users/v1?", ""), "/v1");
    assert_eq!(ok("GET users/v1?q={query.q}&id={id}", "q=%26%3D+"), "/v1?q=%26%3D%20&id=a%2Fb");
    assert_eq!(ok("GET users/v1?q={query.q}", "q="), "/v1?q=");
}

/// A filter that is left out makes the answer larger: what the client chose may go, who it is may not.
#[test]
fn a_parameter_without_a_value_is_left_out_unless_it_is_a_claim() {
    let claims = json!({"sub": "u1", "org": null});
    let target = |written: &str| target(written, "b=2", &claims);
    assert_eq!(target("GET users/v1?a={query.a}&b={query.b}").as_deref(), Ok("/v1?b=2"));
    assert_eq!(target("GET users/v1?b={query.b}&a={query.a}&c=3").as_deref(), Ok("/v1?b=2&c=3"));
    assert_eq!(target("GET users/v1?a={query.a}").as_deref(), Ok("/v1"));
    let missing = |field: &str, fault| Err((field.to_owned(), fault));
    assert_eq!(target("GET users/v1?a=x{query.a}"), missing("query.a", FieldFault::Missing));
    assert_eq!(target("GET users/v1/{query.a}"), missing("query.a", FieldFault::Missing));
    assert_eq!(target("GET users/v1?owner={claims.subject}"), missing("claims.subject", FieldFault::Missing));
    assert_eq!(target("GET users/v1?org={claims.org}"), missing("claims.org", FieldFault::NoScalar));
}

#[test]
fn a_target_has_a_limit() {
    let claims = json!({"long": "x".repeat(TARGET_BYTES_MAX)});
    let too_long = Err(("claims.long".to_owned(), FieldFault::TooLong));
    assert_eq!(target("GET users/v1/{claims.long}", "", &claims), too_long);
    assert_eq!(target("GET users/v1?a={claims.long}", "", &claims), too_long);
    let claims = json!({"long": "x".repeat(TARGET_BYTES_MAX - 4)});
    assert_eq!(
        target("GET users/v1/{claims.long}", "", &claims).map(|target| target.len()),
        Ok(TARGET_BYTES_MAX)
    );
}

#[test]
fn a_body_is_json_with_values() {
    let composition = compile(
        "    a:\n      call: POST users/a\n      body: { who: '{claims.sub}', n: 1.50, t: [true, null, ~, 'x {id}', '{b.$}'], '{id}': '{{id}}', e: {}, l: [] }\n\
         \n    b: { call: GET users/b }\n",
    );
    assert_eq!(&*composition.branches[0].after, [1]);
    let Some(Body::Template(body)) = &source(&composition).body else { panic!("no template") };
    let claims = json!({"sub": {"a": 1}});
    let params = [("id".into(), "\"7\"".into())];
    let results = [None, Some(checked("{ \"k\" : 1e400 }"))];
    let known = Known { params: &params, query: "", claims: Some(&claims), results: &results, item: None };
    let rendered = body.render(&known, 1000).unwrap();
    assert_eq!(
        String::from_utf8(rendered.to_vec()).unwrap(),
        r#"{"who":{"a":1},"n":1.5,"t":[true,null,null,"x \"7\"",{ "k" : 1e400 }],"{id}":"{id}","e":{},"l":[]}"#
    );
    assert_eq!(body.render(&known, 20).unwrap_err().fault, FieldFault::TooLong);
    let nobody = Known { claims: None, ..known };
    assert_eq!(body.render(&nobody, 1000).unwrap_err().to_string(), "`{claims.sub}` has no value");
}

#[test]
fn the_body_of_the_client_may_go_along() {
    let composition = compile("    a: { call: POST users/a, body: request }\n");
    assert!(composition.wants_body() && composition.authenticated);
    assert!(!compile("    a: { call: POST users/a, body: [request] }\n").wants_body());
}

#[test]
fn conditions_read_what_is_known() {
    let holds = |condition: &str, results: &[Option<Checked>], query: &str| {
        let composition = compile(&format!(
            "    a: {{ call: GET users/a }}\n    b: {{ call: GET users/b, needs: [a], when: '{condition}' }}\n"
        ));
        let params = [("id".into(), "7".into())];
        let claims = json!({"sub": "u1"});
        let known = Known { params: &params, query, claims: Some(&claims), results, item: None };
        let branch = &composition.branches[call(&composition, "b")];
        branch.when.as_ref().unwrap().holds(&known).map_err(|error| error.to_string())
    };
    let results = [Some(checked(r#"{"role": "teacher", "deep": [1, {"x": true}]}"#))];
    for (condition, expected) in [
        ("a.role == \"teacher\"", true),
        ("a.deep[1].x && a.deep[0] == 1", true),
        ("size(a) == 2", true),
        ("params.id == \"7\" && claims.sub == \"u1\"", true),
        ("query.q == \"one\"", true),
        ("has(query.none)", false),
        ("size(query) == 2 && query[\"n\"] == \"\"", true),
        ("size(params) == 1", true),
    ] {
        assert_eq!(holds(condition, &results, "q=one&n&q=two"), Ok(expected), "{condition}");
    }
    assert!(holds("a.role == \"teacher\"", &[None], "").is_err());
    assert!(holds("query.q == \"one\"", &results, "").is_err());
    let huge = [Some(checked(r#"{"role": 1e999}"#))];
    let error = holds("a.role == 1.0", &huge, "").unwrap_err();
    assert!(error.starts_with("`when` cannot read the result of `a`: "), "{error}");
}

/// Nobody is signed in: claims are there, but empty.
#[test]
fn without_an_identity_there_are_no_claims() {
    let composition =
        compile("    a: { call: GET users/a, when: '!has(claims.sub) && size(claims) == 0' }\n");
    let known = Known { params: &[], query: "", claims: None, results: &[], item: None };
    assert_eq!(composition.branches[0].when.as_ref().unwrap().holds(&known), Ok(true));
}

#[test]
fn settings_become_plans() {
    let composition = compile(
        "    a:\n      call: GET users/a\n      headers: [Accept-Language]\n      timeout: 300ms\n      bytes: 2KiB\n      \
         pass_statuses: [410, 404]\n      retry: { attempts: 2, on: [connect, '503'] }\n      flatten: $.data\n      \
         cache: { ttl: 1m, stale_if_error: 1h, vary: [claims.org.id, header.accept-language, query.p] }\n    \
         b:\n      call: GET users/{item}\n      each: { in: a.$.items, max: 10, beyond: cut }\n      on_error: { value: { a: [1] } }\n  \
         answer: { timeout: 3s, bytes: 4KiB, merge: list }\n",
    );
    let [a, b] = &*composition.branches else { panic!("{composition:?}") };
    assert_eq!(
        (a.timeout, a.bytes_max, &*a.pass_statuses),
        (Duration::from_millis(300), 2048, &[404, 410][..])
    );
    assert!(a.is_required() && a.shape.is_some() && a.after.is_empty());
    assert_eq!(
        a.retry.as_ref().map(|retry| (retry.attempts, retry.connect, retry.reset)),
        Some((2, true, false))
    );
    let cache = a.cache.as_ref().unwrap();
    assert_eq!((cache.ttl, cache.stale_if_error), (Duration::from_secs(60), Duration::from_secs(3600)));
    let vary = [
        Vary::Claim(FieldPath::of_names(["org", "id"])),
        Vary::Header(http::header::ACCEPT_LANGUAGE),
        Vary::Query("p".into()),
    ];
    assert_eq!(*cache.vary, vary);
    assert_eq!((&*b.after, b.needs.is_empty(), b.shape.is_none()), (&[0][..], true, true));
    assert_eq!(b.on_error, OnError::Value(checked(r#"{"a":[1]}"#)));
    let each = b.each.as_ref().unwrap();
    assert_eq!((each.of, each.max, each.concurrency, each.cut), (0, 10, 8, true));
    assert_eq!(each.path, FieldPath::of_names(["items"]));
    assert_eq!((composition.timeout, composition.bytes_max), (Duration::from_secs(3), 4096));
    assert_eq!(composition.branch("b").map(|found| &*found.name), Some("b"));
}

/// What `sallyport explain --json` gives: names that scripts rely on.
#[test]
fn an_explanation_is_data_too() {
    let composition = compile(
        "    a: { call: GET users/a, timeout: 1s }\n    b:\n      call: GET users/{item}\n      timeout: 500ms\n      \
         each: { in: a.$.items, max: 9, concurrency: 4 }\n      on_error: omit\n",
    );
    let explained = serde_json::to_value(composition.explain()).unwrap();
    assert_eq!(explained["route"], "r");
    assert_eq!(explained["branches"][1]["after"], json!(["a"]));
    assert_eq!(explained["branches"][1]["level"], 2);
    assert_eq!(
        explained["branches"][1]["each"],
        json!({"in": "a.$.items", "max": 9, "concurrency": 4, "beyond": "fail"})
    );
    assert_eq!(
        explained["worst"],
        json!({
            "ms": 2500,
            "cut_by_timeout": false,
            "path": [
                {"branch": "a", "rounds": 1, "timeout_ms": 1000},
                {"branch": "b", "rounds": 3, "timeout_ms": 500},
            ],
        })
    );
}
