//! Texts: what each field reads, and that no value is ever more than a value where it is put.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::json::{DEPTH_CEILING, Limits};

const PARAMS: [&str; 2] = ["id", "rest"];
const BRANCHES: [&str; 3] = ["profile", "own", "files"];
const SCOPE: Scope<'static> = Scope { params: &PARAMS, branches: &BRANCHES, own: Some(1), item: true };

fn checked(json: &str) -> Checked {
    let limits = Limits { depth_max: DEPTH_CEILING, bytes_max: usize::MAX };
    Checked::new(Bytes::copy_from_slice(json.as_bytes()), &limits).unwrap()
}

fn compile(text: &str) -> Result<Text, String> {
    let mut report = Report::default();
    Text::compile(&Located::nowhere(text.to_owned()), &SCOPE, &mut report).ok_or_else(|| report.to_string())
}

fn text(text: &str) -> Text {
    compile(text).unwrap()
}

/// What is known in most tests, for a look at one text.
fn with_known<T>(look: impl Fn(&Known<'_>) -> T) -> T {
    let params = [("id".into(), "b 1".into()), ("rest".into(), "a/../b".into())];
    let claims = json!({"sub": "u/1", "level": 3, "admin": true, "org": {"id": null}, "roles": ["a"], "https://x/y": "odd"});
    let results = [
        Some(checked(
            r#"{"id": 1e+2, "name": "\u00e9\"", "half": "\ud800", "list": [{"x": false}], "none": null, "empty": ""}"#,
        )),
        None,
    ];
    let item = checked(r#"{"file": "f1", "n": 1.50}"#);
    look(&Known {
        params: &params,
        query: "q=a+b%26&q=second&empty=&bad=%ff&%71x=1&plain&odd=%zz%4",
        claims: Some(&claims),
        results: &results,
        item: Some(item.whole()),
    })
}

fn plain(source: &str) -> Result<String, FieldFault> {
    with_known(|known| {
        let mut out = String::new();
        text(source).plain(known, &mut out).map(|()| out).map_err(|error| error.fault)
    })
}

fn path(source: &str) -> Result<String, FieldFault> {
    with_known(|known| {
        let mut out = String::new();
        text(source).path(known, &mut out).map(|()| out).map_err(|error| error.fault)
    })
}

fn json(source: &str) -> Result<String, FieldFault> {
    with_known(|known| {
        let value = text(source).json(known).map_err(|error| error.fault)?;
        Ok(String::from_utf8(value.bytes().to_vec()).unwrap())
    })
}

#[test]
fn every_origin_is_read() {
    for (source, value) in [
        ("", ""),
        ("a {{b}}", "a {b}"),
        ("{id}", "b 1"),
        ("x-{id}-{rest}", "x-b 1-a/../b"),
        ("{query.q}", "a b&"),
        ("{query.empty}", ""),
        ("{query.qx}", "1"),
        ("{query.plain}", ""),
        ("{query.odd}", "%zz%4"),
        ("{claims.sub}", "u/1"),
        ("{claims.level}", "3"),
        ("{claims.admin}", "true"),
        ("{claims.$['https://x/y']}", "odd"),
        ("{claims.$.roles[0]}", "a"),
        ("{profile.$.id}", "1e+2"),
        ("{profile.$.name}", "é\""),
        ("{profile.$.list[0].x}", "false"),
        ("{item.$.file}:{item.$.n}", "f1:1.50"),
    ] {
        assert_eq!(plain(source).as_deref(), Ok(value), "{source}");
    }
}

#[test]
fn what_has_no_value_says_so() {
    for (source, fault) in [
        ("{query.none}", FieldFault::Missing),
        ("{query.bad}", FieldFault::NoText),
        ("{claims.none}", FieldFault::Missing),
        ("{claims.sub.deeper}", FieldFault::Missing),
        ("{claims.org}", FieldFault::NoScalar),
        ("{claims.org.id}", FieldFault::NoScalar),
        ("{claims.roles}", FieldFault::NoScalar),
        ("{profile.$}", FieldFault::NoScalar),
        ("{profile.$.none}", FieldFault::NoScalar),
        ("{profile.$.list}", FieldFault::NoScalar),
        ("{profile.$.nothing}", FieldFault::Missing),
        ("{profile.$.half}", FieldFault::NoText),
        ("{files.$}", FieldFault::Missing),
        ("{item}", FieldFault::NoScalar),
        ("{item.$.zzz}", FieldFault::Missing),
    ] {
        assert_eq!(plain(source), Err(fault), "{source}");
        assert_eq!(path(&format!("/v1/{source}")), Err(fault), "{source}");
    }
    let known = Known { params: &[], query: "", claims: None, results: &[], item: None };
    for source in ["{id}", "{query.q}", "{claims.sub}", "{item}", "{profile.$}"] {
        let error = text(source).json(&known).unwrap_err();
        assert_eq!(error.fault, FieldFault::Missing);
        assert_eq!(error.to_string(), format!("`{source}` has no value"));
    }
}

/// RFC 3986, section 3.3 and 5.2.4: dot segments would lead elsewhere, `/` would make two of one.
#[test]
fn a_value_stays_in_its_segment() {
    assert_eq!(path("/v1/{id}/x").as_deref(), Ok("/v1/b%201/x"));
    assert_eq!(path("/v1/{rest}").as_deref(), Ok("/v1/a%2F..%2Fb"));
    assert_eq!(path("/v1/{claims.sub}.json").as_deref(), Ok("/v1/u%2F1.json"));
    assert_eq!(path("/v1/{query.empty}"), Err(FieldFault::NoSegment));
    assert_eq!(path("/v1/{profile.$.empty}x"), Err(FieldFault::NoSegment));
    let claims = json!({"a": ".", "b": "..", "c": "...", "d": "%2e%2e", "e": "..;x"});
    let known = Known { params: &[], query: "", claims: Some(&claims), results: &[], item: None };
    let path = |source: &str| {
        let mut out = String::new();
        text(source).path(&known, &mut out).map(|()| out).ok()
    };
    for source in ["/{claims.a}", "/{claims.b}", "/.{claims.a}", "/{claims.a}{claims.a}", "/%2e{claims.a}/x"]
    {
        assert_eq!(path(source), None, "{source}");
    }
    assert_eq!(path("/{claims.c}").as_deref(), Some("/..."));
    assert_eq!(path("/{claims.d}").as_deref(), Some("/%252e%252e"));
    assert_eq!(path("/{claims.e}").as_deref(), Some("/..%3Bx"));
}

#[test]
fn json_keeps_what_is_json() {
    for (source, value) in [
        ("{profile.$.id}", "1e+2"),
        ("{profile.$.name}", r#""\u00e9\"""#),
        ("{profile.$.half}", r#""\ud800""#),
        ("{profile.$.list}", r#"[{"x": false}]"#),
        ("{profile.$.none}", "null"),
        ("{claims.org}", r#"{"id":null}"#),
        ("{claims.level}", "3"),
        ("{query.q}", "\"a b&\""),
        ("{id}", "\"b 1\""),
        ("{item}", r#"{"file": "f1", "n": 1.50}"#),
        ("n = {claims.level}\n", r#""n = 3\n""#),
        ("{{id}}", "\"{id}\""),
    ] {
        assert_eq!(json(source).as_deref(), Ok(value), "{source}");
    }
    assert_eq!(json("all of {profile.$.list}"), Err(FieldFault::NoScalar));
}

#[test]
fn braces_are_matched_outside_of_quotes() {
    let field = text("{profile.$['a}b']}");
    assert_eq!(field.lone().map(Field::written), Some("profile.$['a}b']"));
    assert_eq!(field.lone().and_then(Field::branch), Some(0));
    for refused in [
        "{",
        "}",
        "{id",
        "id}",
        "{{id}",
        "{profile.$['a}",
        "{}",
        "{ id }",
        "{own.$}",
        "{profile}",
        "{query.}",
    ] {
        assert!(compile(refused).is_err(), "{refused}");
    }
}

/// A parameter that is called `item` is one, unless there is an item.
#[test]
fn an_item_comes_before_a_parameter_of_the_name() {
    let read = |item| {
        let scope = Scope { params: &["item"], branches: &[], own: None, item };
        let text =
            Text::compile(&Located::nowhere("{item}".to_owned()), &scope, &mut Report::default()).unwrap();
        text.lone().unwrap().origin().clone()
    };
    assert_eq!(read(false), Origin::Parameter("item".into()));
    assert_eq!(read(true), Origin::Item(FieldPath::default()));
}

/// The segments of a path as a server sees them, decoded.
fn segments(path: &str) -> Vec<Vec<u8>> {
    let decode = |segment: &str| {
        let (mut out, mut rest) = (Vec::new(), segment.as_bytes());
        while let [first, after @ ..] = rest {
            rest = after;
            if *first == b'%' {
                let digits = std::str::from_utf8(&after[..2]).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &after[2..];
            } else {
                out.push(*first);
            }
        }
        out
    };
    path.split('/').map(decode).collect()
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[./%?#&=\\\\;+ \u{0}a]{0,8}", r"(\.|%2e|%2F|/){0,6}"]
}

proptest! {
    #[test]
    fn no_value_changes_the_structure_of_a_path(a in value(), b in value()) {
        let claims = json!({"a": a, "b": b});
        let known = Known { params: &[], query: "", claims: Some(&claims), results: &[], item: None };
        let mut out = String::new();
        match text("/v1/{claims.a}/.x{claims.b}{claims.a}/y").path(&known, &mut out) {
            Err(error) => {
                prop_assert_eq!(error.fault, FieldFault::NoSegment);
                prop_assert!([&a, &b].iter().any(|value| matches!(value.as_str(), "" | "." | "..")));
            }
            Ok(()) => {
                prop_assert!(out.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%/".contains(&byte)));
                let expected = ["", "v1", &a, &format!(".x{b}{a}"), "y"].map(|segment| segment.as_bytes().to_vec());
                prop_assert_eq!(segments(&out), expected);
                prop_assert!(out.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }
    }

    #[test]
    fn a_value_comes_out_of_a_query_as_it_went_in(a in ".{0,20}", b in value()) {
        let claims = json!({"a": a, "b": b});
        let known = Known { params: &[], query: "", claims: Some(&claims), results: &[], item: None };
        let mut out = "one=".to_owned();
        text("{claims.a}").query(&known, &mut out).unwrap();
        out.push_str("&two=");
        text("{claims.b}").query(&known, &mut out).unwrap();
        let read: Vec<_> = parameters(&out).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        prop_assert_eq!(read, [("one".to_owned(), a.clone()), ("two".to_owned(), b)]);
        prop_assert_eq!(parameter(&out, "one").unwrap(), a);
    }

    #[test]
    fn a_text_of_json_is_one_string(a in ".{0,20}") {
        let claims = json!({"a": a});
        let known = Known { params: &[], query: "", claims: Some(&claims), results: &[], item: None };
        for (source, expected) in [("{claims.a}", a.clone()), ("<{claims.a}>", format!("<{a}>"))] {
            let found = text(source).json(&known).unwrap();
            prop_assert_eq!(serde_json::from_slice::<String>(found.bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn any_text_is_refused_or_shows_itself(source in r#"([{}]|id|query\.|claims\.|profile|item|\.\$|\.a|\['x'\]|.){0,8}"#) {
        if let Ok(text) = compile(&source) {
            prop_assert_eq!(text.to_string(), source);
        }
    }

    #[test]
    fn any_query_is_read(query in "[a-c=&%+0-9f\u{e9}]{0,24}", name in "[a-c]{0,2}") {
        let _ = parameter(&query, &name);
        prop_assert!(parameters(&query).count() <= query.split('&').count());
    }
}
