use http::HeaderValue;
use proptest::prelude::*;
use sallyport_identity::Identity;
use serde_json::json;

use super::*;
use crate::exchange::RouteFacts;
use crate::probe::Made;
use crate::probe::tests::{probe, refused};

fn alice(claims: serde_json::Value) -> Made {
    let mut made = Made::new("GET", "/v1/batches/a%20b");
    made.facts.identity =
        Some(Arc::new(Identity { issuer: "main".into(), subject: "alice".into(), claims: claims.into() }));
    made.facts.route = Some(Arc::new(RouteFacts { name: "batch".into(), params: vec!["id".into()] }));
    made.facts.params.push((12, 17));
    made
}

/// The value that a request header gets.
fn made_value(value: &str, mut made: Made) -> Option<HeaderValue> {
    let probe = probe(&format!("- headers: {{ request: {{ set: {{ X-A: \"{value}\" }} }} }}"));
    assert!(probe.request(&mut made).is_none());
    probe.upstream(&mut made).unwrap().headers.get("x-a").cloned()
}

#[test]
fn headers_are_removed_then_set_then_added() {
    let probe = probe(
        "
- headers:
    request: { remove: [X-Old, Cookie], set: { X-Old: new, X-B: b }, add: { X-B: c, Via: edge } }
    response: { remove: [X-Internal], set: { X-C: '1' }, add: { Link: '</a>' } }
",
    );
    let mut made = Made::new("GET", "/").header("X-Old", "old").header("Cookie", "c").header("X-B", "x");
    assert!(probe.request(&mut made).is_none());
    let head = probe.upstream(&mut made).unwrap();
    let all = |name: &str| head.headers.get_all(name).iter().cloned().collect::<Vec<_>>();
    assert_eq!(all("x-old"), ["new"]);
    assert_eq!(all("x-b"), ["b", "c"]);
    assert_eq!(all("via"), ["edge"]);
    assert!(all("cookie").is_empty());
    assert_eq!(made.request.headers["x-old"], "old", "filters behind still see what the client sent");
    let upstream = [("X-Internal", "i"), ("X-C", "0"), ("Link", "</b>")];
    let head = probe.response_to(&mut made, 200, &upstream).unwrap();
    assert!(!head.headers.contains_key("x-internal"));
    assert_eq!(head.headers["x-c"], "1");
    assert_eq!(head.headers.get_all("link").iter().collect::<Vec<_>>(), ["</b>", "</a>"]);
}

#[test]
fn placeholders_take_their_values_from_the_exchange() {
    let claims = json!({"tenant": {"id": 7}, "roles": ["a", "b", 3], "on": true});
    for (value, expected) in [
        ("{client}", "192.0.2.1"),
        ("{request_id}", "probe"),
        ("id={request_id};{route}", "id=probe;batch"),
        ("{jwt.sub}", "alice"),
        ("{jwt.tenant.id}", "7"),
        ("{jwt.roles}", "a,b,3"),
        ("{jwt.on}", "true"),
        ("{param.id}", "a%20b"),
        ("{{{client}}}", "{192.0.2.1}"),
        ("{{}}", "{}"),
    ] {
        assert_eq!(made_value(value, alice(claims.clone())).unwrap(), expected, "{value}");
    }
}

#[test]
fn without_a_value_the_header_is_left_out_and_what_was_there_is_gone() {
    for value in ["{jwt.sub}", "{route}", "{param.id}", "a {jwt.x} b"] {
        assert_eq!(made_value(value, Made::new("GET", "/").header("X-A", "forged")), None, "{value}");
    }
    let claims = json!({"object": {"a": 1}, "null": null, "commas": ["a,b", "c"], "nested": [["a"]]});
    for value in ["{jwt.object}", "{jwt.null}", "{jwt.commas}", "{jwt.nested}", "{param.other}"] {
        assert_eq!(made_value(value, alice(claims.clone())), None, "{value}");
    }
}

/// RFC 9110, section 5.5: a claim with a line break must not become a second header.
#[test]
fn a_claim_cannot_split_the_head() {
    for claim in ["a\r\nX-Admin: 1", "a\nb", "a\0b", "a\u{7f}"] {
        assert_eq!(made_value("{jwt.name}", alice(json!({"name": claim}))), None, "{claim:?}");
    }
}

#[test]
fn what_is_set_for_upstreams_is_managed_unless_clients_own_it() {
    let probe = probe(
        "- headers: { request: { set: { X-User: '{jwt.sub}', Authorization: Basic }, add: { X-B: b, Accept: a } }, \
         response: { set: { X-C: c } } }",
    );
    let managed: Vec<_> = probe.chain().managed_headers().collect();
    assert_eq!(managed, ["x-user", "x-b"]);
}

#[test]
fn bad_settings_are_refused_where_they_stand() {
    let set = |header: &str, column: u32, message: &str| {
        let yaml = format!("- headers: {{ request: {{ set: {{ {header} }} }} }}");
        refused(&yaml, &format!("probe.yaml:1:{column}"), message);
    };
    for name in ["Content-Length", "transfer-encoding", "Connection", "Host", "TE", "Upgrade"] {
        set(&format!("{name}: a"), 32, "belongs to the connection");
    }
    set("'a b': c", 32, "not a header name");
    set("X-A: \"a\\nb\"", 37, "not a header value");
    set("X-A: '{cleint}'", 37, "did you mean `{client}`?");
    set("X-A: '{header.x}'", 37, "unknown placeholder");
    set("X-A: '{jwt.}'", 37, "unknown placeholder");
    set("X-A: 'a{b'", 37, "a lone `{`");
    set("X-A: 'a}b'", 37, "a lone `}`");
    set("X-A: a, x-a: b", 40, "case makes no difference");
    refused("- headers: { response: { remove: [Trailer] } }", "probe.yaml:1:35", "belongs to the connection");
    refused(
        "- headers: { response: { add: { Keep-Alive: a } } }",
        "probe.yaml:1:33",
        "belongs to the connection",
    );
    refused("- headers: { requests: {} }", "probe.yaml:1:14", "requests");
}

proptest! {
    /// Whatever a claim says, the upstream gets at most one header, of one line.
    #[test]
    fn no_claim_makes_a_second_line(claim in any::<String>()) {
        if let Some(value) = made_value("v {jwt.name}", alice(json!({"name": claim}))) {
            prop_assert!(value.as_bytes().iter().all(|byte| *byte >= 0x20 && *byte != 0x7f || *byte == b'\t'));
        }
    }
}
