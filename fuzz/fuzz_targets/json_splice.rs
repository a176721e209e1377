//! Answers of branches: checking one agrees with serde_json, and whatever is cut from checked ones or put together of them
//! is JSON again, byte for byte what it was made of.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sallyport_aggregator::json::{Checked, Limits, Merge, Part, Shape, ShapeRules, scan};
use sallyport_condition::{FieldPath, Step, slice};
use serde::de::IgnoredAny;

const LIMITS: Limits = Limits { depth_max: 64, bytes_max: 4096 };
/// Of what is put together of answers: a template adds levels.
const MERGED: Limits = Limits { depth_max: 200, bytes_max: 1 << 20 };
const BRANCHES: [&str; 3] = ["a", "b", "odd \"name\""];

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let paths = |all: &[&str]| all.iter().map(|path| FieldPath::of_names(path.split('.'))).collect();
    let rules = [
        ShapeRules { pick: paths(&["a", "b.c"]), ..ShapeRules::default() },
        ShapeRules { drop: paths(&["a.b", "c"]), ..ShapeRules::default() },
        ShapeRules {
            flatten: Some(FieldPath::of_names(["a"]).then(Step::Index(0))),
            rename: vec![(FieldPath::of_names(["a"]), "b".into()), (FieldPath::of_names(["b", "a"]), "\"".into())],
            ..ShapeRules::default()
        },
    ];
    rules.iter().map(|rules| Shape::new(rules).expect("rules that can apply")).collect()
});

// A record separator, which stands in no JSON text, parts the answers; the first is also a template.
fuzz_target!(|bytes: &[u8]| {
    let mut results: Vec<Option<Checked>> = bytes.splitn(3, |byte| *byte == 0x1e).map(check).collect();
    results.resize(BRANCHES.len(), None);
    let mut merges = vec![Merge::slots(&BRANCHES), Merge::list(&BRANCHES), Merge::root(&BRANCHES)];
    merges.extend(results[0].as_ref().and_then(|template| Merge::template(template, &BRANCHES).ok()));
    for merge in &merges {
        let Ok(rope) = merge.apply(&results) else { continue };
        let text = rope.to_vec();
        assert_eq!(text.len(), rope.bytes());
        assert_eq!(scan(&text, &MERGED).map(|(_, span)| span), Ok(0..text.len()));
    }
    let slots = merges[0].apply(&results).expect("slots take anything").into_checked();
    for (name, result) in BRANCHES.iter().zip(&results) {
        let found = slots.whole().find(&FieldPath::of_names([*name])).map(Part::to_checked);
        assert_eq!(&found, result);
    }
});

/// One answer: refused or taken like by serde_json, then taken apart in every way.
fn check(text: &[u8]) -> Option<Checked> {
    let is_json = std::str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok();
    let checked = match Checked::new(Bytes::copy_from_slice(text), &LIMITS) {
        Ok(checked) => checked,
        Err(error) => {
            use sallyport_aggregator::json::Reason;
            assert!(!is_json || matches!(error.reason, Reason::TooDeep | Reason::TooLong), "{error}");
            return None;
        }
    };
    assert!(is_json);
    let whole = checked.whole();
    for part in whole.members().map(|member| member.value).chain(whole.elements()) {
        assert_eq!(scan(part.bytes(), &LIMITS), Ok((part.kind(), 0..part.bytes().len())));
    }
    let path = FieldPath::of_names(["a", "b"]);
    // It refuses a lone surrogate in a name.
    if let Ok(found) = slice(text, &path) {
        assert_eq!(whole.find(&path).map(Part::bytes), found.map(str::as_bytes));
    }
    for shaped in SHAPES.iter().filter_map(|shape| shape.apply(&checked).ok()) {
        assert_eq!(scan(shaped.bytes(), &LIMITS), Ok((shaped.kind(), 0..shaped.bytes().len())));
    }
    Some(checked)
}
