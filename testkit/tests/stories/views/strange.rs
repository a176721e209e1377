//! Whatever is asked for, a view answers with rows or with what is wrong with the question: never with a fault of its own.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sallyport_testkit::{Client, Mode};

use super::{broker, folded, register, start};

stories!(no_query_is_a_fault_of_the_view);

/// Queries that each connection asks, one behind the other.
const QUERIES: usize = 400;

/// A name, more or less as the view knows it.
fn name() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "owner", "status", "checked", "title", "id", "key", "own%65r", "", "rows.doc", "1",
    ]);
    let operation =
        prop::sample::select(vec!["", "[eq]", "[gt]", "[lte]", "%5Blt%5D", "[", "]", "[like]", "[][]"]);
    let word =
        prop::sample::select(vec!["order", "limit", "cursor", "count", "group", "fields", "min_offset"]);
    prop_oneof![
        4 => (field, operation).prop_map(|(field, operation)| format!("{field}{operation}")),
        4 => word.prop_map(str::to_owned),
        1 => text(),
    ]
}

fn value() -> impl Strategy<Value = String> {
    let sensible = prop::sample::select(vec![
        "ann",
        "registered",
        "true",
        "false",
        "null",
        "5",
        "-0",
        "1e999",
        "9223372036854775808",
        "%225%22",
        "%22",
        "-title",
        "-key",
        "key",
        "0",
        "1",
        "200",
        "owner",
        "id,title",
        "title,,id",
        "0@0",
        "batches/0@0",
        "batches/0@9223372036854775807",
        "batches/-1@1",
        "'%20OR%201=1--",
        "%00",
        "%ff",
        "+",
        "AWvxs_",
        "AQ",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
    ]);
    prop_oneof![6 => sensible.prop_map(str::to_owned), 1 => text(), 1 => any::<i64>().prop_map(|n| n.to_string())]
}

/// What can stand in a request's target, escaped where it has to be.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        2 => "[a-zA-Z0-9._~!$'()*,;:@/?-]{0,8}",
        1 => any::<u8>().prop_map(|byte| format!("%{byte:02x}")),
        1 => prop::sample::select(vec!["%", "%%", "%4", "%zz", "=", "&", "[", "]", "\"", "\u{e9}"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn query() -> impl Strategy<Value = String> {
    let parameter = (name(), value()).prop_map(|(name, value)| format!("{name}={value}"));
    prop_oneof![
        8 => prop::collection::vec(parameter, 0..6).prop_map(|parameters| parameters.join("&")),
        1 => text(),
        1 => (name(), value(), 0usize..200).prop_map(|(name, value, times)| vec![format!("{name}={value}"); times].join("&")),
    ]
}

async fn no_query_is_a_fault_of_the_view(mode: Mode) {
    let broker = broker("batches", 1);
    // What is not there yet is not waited for, so 504 is an answer that a query may get.
    let composed = start(mode, &broker, "    query: { wait: 1ms }\n").await;
    let mut last = String::new();
    for (id, owner) in
        [("b1", "ann"), ("b2", "bob"), ("b3", "ann"), ("'", "5"), ("\u{0}", "null"), ("b4", "true")]
    {
        last = register(&broker, id, owner, "t").await;
    }
    folded(&composed, "/batches", &[&last]).await;
    let admin =
        composed.tokens.token().claim("sub", "root").claim("roles", serde_json::json!(["admin"])).sign();
    let tokens = [admin, composed.token("ann")];
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<u16, usize>::new();
    for number in 0..QUERIES {
        let query = query().new_tree(&mut runner).expect("a query").current();
        let path = if number % 5 == 0 { "/batches/b1" } else { "/batches" };
        let target = format!("{path}?{query}");
        let mut client: Client = composed.edge.client().await;
        let answer = client.get(&target).bearer(&tokens[number % 2]).send().await;
        *seen.entry(answer.status).or_default() += 1;
        match answer.status {
            200 => drop(answer.json()),
            // What is no target at all gets no further than the reader of requests.
            400 if answer.text().is_empty() => {
                let odd = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'"');
                assert!(target.bytes().any(odd), "{target} is refused without a word");
            }
            400 | 414 | 431 => {
                let problem = answer.json();
                assert!(problem["detail"].is_string(), "{target}: {problem}");
            }
            504 => {
                assert!(target.contains("min_offset") || target.contains('%'), "{target}: {}", answer.text());
                answer.problem(504, "view-behind");
            }
            status => panic!("{status} for {target}: {}", answer.text()),
        }
    }
    assert!(seen.get(&200).is_some_and(|count| *count > QUERIES / 20), "too few can be meant: {seen:?}");
    assert!(seen.get(&400).is_some_and(|count| *count > QUERIES / 20), "too few cannot be meant: {seen:?}");
}
