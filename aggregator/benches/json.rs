//! What JSON costs as bytes: checking it, finding a field, picking fields and putting answers together.
//!
//! `cargo bench -p sallyport-aggregator --bench json`. Each figure is the best of several rounds: megabytes a second for
//! what looks at every byte, microseconds for what should not.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use sallyport_aggregator::json::{Checked, Limits, Merge, Shape, ShapeRules, scan};
use sallyport_condition::FieldPath;
use serde::de::IgnoredAny;

const ROUNDS: usize = 25;
const CALLS: usize = 20;
const LIMITS: Limits = Limits { depth_max: 64, bytes_max: 1 << 24 };
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn main() {
    println!("{:<16}{:>9}{:>10}{:>12}{:>10}{:>10}", "MB/s", "bytes", "scan", "IgnoredAny", "find", "pick");
    let orders = orders(400);
    let spread = serde_json::from_str::<serde_json::Value>(&orders)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_default();
    let text = "Lorem ipsum dolor sit amet, consetetur sadipscing elitr. ".repeat(40);
    for (name, json) in [
        ("orders", orders),
        ("orders, spread", spread),
        ("long texts", list((0..60).map(|_| format!("\"{text}\"")))),
        ("long, not ASCII", list((0..60).map(|_| format!("\"{}\"", text.replace('o', "ö"))))),
        ("numbers", list((0..20_000).map(|at| format!("{}.{}", at * 37, at % 1000)))),
    ] {
        checking(name, json);
    }
    println!("\n{:<16}{:>9}{:>10}{:>12}{:>10}", "8 answers, µs", "bytes", "slots", "root", "list");
    for count in [3, 90, 740] {
        merging(count);
    }
}

fn checking(name: &str, json: String) {
    let bytes = Bytes::from(json);
    let speed = |work: &dyn Fn()| bytes.len() as f64 / seconds(work) / 1e6;
    let Ok(checked) = Checked::new(bytes.clone(), &LIMITS) else { return println!("{name} is not JSON") };
    let last = FieldPath::of_names(["next"]);
    let has_next = checked.whole().find(&last).is_some();
    let rules = ShapeRules {
        pick: vec![FieldPath::of_names(["orders", "id"]), FieldPath::of_names(["orders", "customer"])],
        ..ShapeRules::default()
    };
    let Ok(shape) = Shape::new(&rules) else { return println!("the rules contradict each other") };
    let ours = speed(&|| drop(black_box(scan(black_box(&bytes), &LIMITS))));
    let theirs = speed(&|| drop(black_box(serde_json::from_slice::<IgnoredAny>(black_box(&bytes)))));
    let find = speed(&|| assert_eq!(black_box(&checked).whole().find(&last).is_some(), has_next));
    let pick = speed(&|| drop(black_box(shape.apply(black_box(&checked)))));
    if has_next {
        println!("{name:<16}{:>9}{ours:>10.0}{theirs:>12.0}{find:>10.0}{pick:>10.0}", bytes.len());
    } else {
        println!("{name:<16}{:>9}{ours:>10.0}{theirs:>12.0}{:>10}{:>10}", bytes.len(), "-", "-");
    }
}

fn merging(count: usize) {
    let answer = |name: &&str| {
        let named = orders(count).replace("orders", name).replace("next", &format!("{name} next"));
        Checked::new(Bytes::from(named), &LIMITS).ok()
    };
    let results: Vec<Option<Checked>> = NAMES.iter().map(answer).collect();
    let bytes: usize = results.iter().flatten().map(|result| result.bytes().len()).sum();
    let micros = |merge: Merge| seconds(&|| drop(black_box(merge.apply(black_box(&results))))) * 1e6;
    let (slots, root, list) = (Merge::slots(&NAMES), Merge::root(&NAMES), Merge::list(&NAMES));
    println!("{:<16}{bytes:>9}{:>10.2}{:>12.2}{:>10.2}", "", micros(slots), micros(root), micros(list));
}

/// Of the best round, a call.
fn seconds(work: &dyn Fn()) -> f64 {
    let round = |_| {
        let started = Instant::now();
        (0..CALLS).for_each(|_| work());
        started.elapsed().as_secs_f64() / CALLS as f64
    };
    (0..ROUNDS).map(round).fold(f64::MAX, f64::min)
}

fn list(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(","))
}

/// What an API of a shop would answer.
fn orders(count: usize) -> String {
    let order = |at: usize| {
        format!(
            concat!(
                r#"{{"id":"ord_{at:08}","status":"shipped","total":{total}.25,"currency":"EUR","#,
                r#""customer":{{"id":{at},"name":"Jörg Müller","email":"joerg{at}@example.com","vip":false}},"#,
                r#""items":[{{"sku":"A-{at}","quantity":3,"price":12.50,"note":null}},"#,
                r#"{{"sku":"B-{at}","quantity":1,"price":3.99,"note":"as a gift, \"thanks\""}}],"#,
                r#""created_at":"2024-05-01T12:34:56.789Z"}}"#
            ),
            at = at,
            total = at * 7,
        )
    };
    format!(r#"{{"orders":{},"next":null}}"#, list((0..count).map(order)))
}
