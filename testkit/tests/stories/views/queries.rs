//! What clients can ask of a page: filters, ranges, order, the way through all pages, counts, groups and members.

use sallyport_kafka::EmbeddedBroker;
use sallyport_testkit::{ComposedEdge, Mode};
use serde_json::{Value, json};

use super::{ask, broker, document, folded, keys, keys_of, send, things};

stories!(
    rows_are_filtered_and_ordered,
    a_walk_by_cursors_meets_each_row_once,
    rows_that_come_and_go_do_not_disturb_a_walk,
    counts_groups_and_members,
    head_is_get_without_a_body,
);

const VIEW: &str = r#"
    key: key
    fold:
      - { on: { type: t }, set: { kind: $.kind, n: $.n, at: $.at, text: $.text } }
      - { on: { type: gone }, delete: true }
    indexes: ["kind, at", n, at]
    query: { max_page: 100, page: 4 }
"#;

/// Ten things: kinds in turn, times in pairs.
async fn ten(mode: Mode) -> (EmbeddedBroker, ComposedEdge) {
    let broker = broker("things", 3);
    let composed = ComposedEdge::start(mode, "", &things(&broker, VIEW)).await;
    let mut places = Vec::new();
    for number in 0..10 {
        let kind = ["essay", "quiz", "a&b=c d"][number % 3];
        let at = (number < 8).then(|| format!("2026-01-0{}", 1 + number / 2));
        let data = json!({"kind": kind, "n": 10 - number, "at": at, "text": format!("text {number}")});
        places.push(send(&broker, "things", "t", &format!("k{number}"), &data).await);
    }
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    folded(&composed, "/things", &places).await;
    (broker, composed)
}

async fn rows_are_filtered_and_ordered(mode: Mode) {
    let (_broker, composed) = ten(mode).await;
    for (query, wanted) in [
        ("", "k0 k1 k2 k3"),
        ("order=-key&limit=2", "k9 k8"),
        ("limit=100", "k0 k1 k2 k3 k4 k5 k6 k7 k8 k9"),
        ("kind=essay", "k0 k3 k6 k9"),
        ("kind=a%26b%3Dc+d", "k2 k5 k8"),
        ("kind=essay&kind=quiz&limit=100", "k0 k1 k3 k4 k6 k7 k9"),
        ("kind=none", ""),
        ("n[gte]=9", "k0 k1"),
        ("n[gt]=2&n[lt]=5&order=n", "k7 k6"),
        ("n%5Blte%5D=2&order=-n", "k8 k9"),
        ("at=2026-01-02", "k2 k3"),
        ("at=null", "k8 k9"),
        ("at[lt]=2026-01-02&order=-at", "k1 k0"),
        ("kind=essay&order=at", "k9 k0 k3 k6"),
        ("kind=essay&order=-at", "k6 k3 k0 k9"),
        ("kind=essay&at[gte]=2026-01-02", "k3 k6"),
        ("n=10&n=1&n=3&order=-n", "k0 k7 k9"),
    ] {
        assert_eq!(keys(&composed, "root", &format!("/things?{query}")).await, wanted, "{query}");
    }
}

async fn a_walk_by_cursors_meets_each_row_once(mode: Mode) {
    let (_broker, composed) = ten(mode).await;
    for query in [
        "",
        "order=-key",
        "order=at",
        "order=-at",
        "order=n",
        "kind=essay&kind=quiz&order=-at",
        "at[gt]=0&order=at",
    ] {
        let whole = keys(&composed, "root", &format!("/things?{query}&limit=100")).await;
        for limit in [1, 3, 7] {
            assert_eq!(
                walk(&composed, &format!("{query}&limit={limit}")).await.join(" "),
                whole,
                "{query} {limit}"
            );
        }
    }
}

/// The keys of all pages.
async fn walk(composed: &ComposedEdge, query: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = document(composed, "root", &format!("/things?{query}{cursor}")).await;
        let keys = keys_of(&page);
        found.extend(keys.split_whitespace().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { return found };
        assert!(found.len() <= 100, "a walk without end: {found:?}");
        cursor = format!("&cursor={next}");
    }
}

async fn rows_that_come_and_go_do_not_disturb_a_walk(mode: Mode) {
    let (broker, composed) = ten(mode).await;
    let first = document(&composed, "root", "/things?order=at&limit=4").await;
    assert_eq!(keys_of(&first), "k8 k9 k0 k1");
    // The row that the page ended with goes, one comes before it, one behind it.
    let places = [
        send(&broker, "things", "gone", "k1", &json!({})).await,
        send(&broker, "things", "t", "k0a", &json!({"at": "2026-01-01"})).await,
        send(&broker, "things", "t", "k1a", &json!({"at": "2026-01-01"})).await,
    ];
    folded(&composed, "/things", &[&places[0], &places[1], &places[2]]).await;
    let next = first["next"].as_str().expect("more");
    let rest = keys(&composed, "root", &format!("/things?order=at&limit=100&cursor={next}")).await;
    assert_eq!(rest, "k1a k2 k3 k4 k5 k6 k7");
}

async fn counts_groups_and_members(mode: Mode) {
    let (_broker, composed) = ten(mode).await;
    let page =
        document(&composed, "root", "/things?kind=essay&limit=1&count=true&group=at&fields=n,key").await;
    let (items, groups) = (&page["items"], page["groups"].as_array().expect("groups"));
    assert_eq!(*items, json!([{"key": "k0", "n": 10}]));
    assert_eq!(page["count"], 4);
    assert_eq!(groups.len(), 4, "{groups:?}");
    assert!(groups.contains(&json!({"value": null, "n": 1})), "{groups:?}");
    assert!(groups.contains(&json!({"value": "2026-01-02", "n": 1})), "{groups:?}");
    let page = document(&composed, "root", "/things?limit=0&count=true&n[gt]=100").await;
    assert_eq!(page, json!({"items": [], "count": 0}));
    let page = document(&composed, "root", "/things?fields=text&n=10").await;
    assert_eq!(page, json!({"items": [{"text": "text 0"}]}));
    assert_eq!(document(&composed, "root", "/things/k3?fields=kind").await, json!({"kind": "essay"}));
}

/// RFC 9110, section 9.3.2.
async fn head_is_get_without_a_body(mode: Mode) {
    let (_broker, composed) = ten(mode).await;
    for target in ["/things?order=n", "/things/k3", "/things/none", "/things?limit=x"] {
        let get = ask(&composed, None, target, &[]).await;
        let mut client = composed.edge.client().await;
        let head = client.request("HEAD", target).send().await;
        assert_eq!((head.status, head.text()), (get.status, String::new()), "{target}");
        for name in ["Content-Type", "Content-Length", "ETag", "Cache-Control", "View-Offsets"] {
            // The id of a request stands in problem documents, always as long.
            assert_eq!(head.header(name), get.header(name), "{name} of {target}");
        }
        // Nothing that would be taken for the next answer follows.
        assert_eq!(client.get("/things/k1").send().await.expect(200).json()["key"], Value::from("k1"));
    }
}
