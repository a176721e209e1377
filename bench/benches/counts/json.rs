//! Composed answers: checking the bytes of a service's answer, cutting it, and putting answers together.

use std::hint::black_box;

use bytes::Bytes;
use sallyport_aggregator::json::{Checked, Limits, Merge, Shape, ShapeRules};
use sallyport_condition::FieldPath;

use crate::case::{Case, again};

const LIMITS: Limits = Limits { depth_max: 64, bytes_max: 1 << 20 };
const BRANCHES: [&str; 3] = ["profile", "orders", "messages"];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        again("json: check 10 KB", |_| {
            let text = Bytes::from(orders(40));
            move || assert!(black_box(Checked::new(black_box(text.clone()), &LIMITS)).is_ok())
        }),
        again("json: find the last field of 10 KB", |_| {
            let (answer, path) = (checked(orders(40)), FieldPath::of_names(["next"]));
            move || assert!(black_box(black_box(&answer).whole().find(&path)).is_some())
        }),
        again("json: pick two fields of 40 orders", |_| {
            let rules = ShapeRules {
                pick: vec![
                    FieldPath::of_names(["orders", "id"]),
                    FieldPath::of_names(["orders", "customer"]),
                ],
                ..ShapeRules::default()
            };
            let (answer, shape) = (checked(orders(40)), Shape::new(&rules).unwrap());
            move || assert!(black_box(shape.apply(black_box(&answer))).is_ok())
        }),
        again("json: splice 3 answers into slots", |_| spliced(Merge::slots(&BRANCHES))),
        again("json: splice 3 answers into one object", |_| spliced(Merge::root(&BRANCHES))),
        again("json: splice 3 answers into a template", |_| {
            let template = r#"{"page":{"who":"{profile}","list":["{orders}","{messages}"]},"version":1}"#;
            spliced(Merge::template(&checked(template.to_owned()), &BRANCHES).unwrap())
        }),
    ]
}

fn spliced(merge: Merge) -> impl FnMut() {
    let answer = |branch: &&str| {
        Some(checked(orders(10).replace("orders", branch).replace("next", &format!("{branch} next"))))
    };
    let answers: Vec<Option<Checked>> = BRANCHES.iter().map(answer).collect();
    move || assert!(black_box(merge.apply(black_box(&answers))).is_ok())
}

fn checked(text: String) -> Checked {
    Checked::new(Bytes::from(text), &LIMITS).unwrap()
}

/// What an API of a shop would answer.
fn orders(count: usize) -> String {
    let order = |at: usize| {
        format!(
            concat!(
                r#"{{"id":"ord_{at:08}","status":"shipped","total":{total}.25,"currency":"EUR","#,
                r#""customer":{{"id":{at},"name":"Jörg Müller","email":"joerg{at}@example.com","vip":false}},"#,
                r#""items":[{{"sku":"A-{at}","quantity":3,"note":"as a gift, \"thanks\""}}]}}"#,
            ),
            at = at,
            total = at * 7,
        )
    };
    let orders: Vec<String> = (0..count).map(order).collect();
    format!(r#"{{"orders":[{}],"next":null}}"#, orders.join(","))
}
