//! Compositions against services on loopback. Nothing here looks at the clock: a limit that has to pass is short, one that
//! must not is long.

mod origin;
mod bounds;
mod failures;
mod sharing;
mod http2;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use prometheus::Registry;
use sallyport_config::aggregator::AggregatorLimits;
use sallyport_upstreams::exchange::Connections;
use serde_json::{Value, json};

use super::plan::Compositions;
use super::{ComposeMetrics, Composer, Prepared};
use crate::asked::{Answer, Asked};
use origin::{Does, Origin};

/// A composer, and a composition to be made.
struct Setup {
    composer: Composer,
    prepared: Arc<Prepared>,
}

impl Setup {
    /// `rest` is the rest of the route: `aggregate:` and what else there is, each line with four blanks in front.
    fn new(origin: &Origin, rest: &str) -> Setup {
        Setup::with(origin, AggregatorLimits::default(), rest)
    }

    fn with(origin: &Origin, limits: AggregatorLimits, rest: &str) -> Setup {
        let metrics = ComposeMetrics::new(&Registry::new()).unwrap();
        Setup::of(Composer::new(&limits, metrics, connections(), None), origin, rest)
    }

    /// With a composer that is there already: to make one takes the time to read the system's authorities.
    fn of(composer: Composer, origin: &Origin, rest: &str) -> Setup {
        let address = origin.address;
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "version: 1\nlisteners: {{ public: {{ address: 127.0.0.1:8080 }} }}\n\
             upstreams:\n  up: {{ targets: ['{address}'] }}\n  two: {{ protocol: h2, targets: ['{address}'] }}\n  \
             closed: {{ targets: ['{closed}'] }}\n  \
             half: {{ targets: ['{closed}', '{address}'] }}\n\
             routes:\n  - name: r\n    match: GET|POST /v1/{{id}}\n    public: true\n{rest}"
        );
        let (loaded, mut report) = sallyport_config::load_text("t", &text, Path::new(""), &|_| None)
            .unwrap_or_else(|report| panic!("{report}"));
        let upstreams = sallyport_upstreams::load(&loaded, None, &mut report);
        let compositions = Compositions::compile(&loaded.config, &upstreams, &mut report);
        let compositions = compositions.unwrap_or_else(|| panic!("{report}"));
        let prepared = Arc::new(composer.prepare(&compositions).remove(0));
        Setup { composer, prepared }
    }

    async fn ask(&self) -> Got {
        self.ask_as(&asked()).await
    }

    async fn ask_as(&self, asked: &Asked) -> Got {
        Got::of(self.composer.answer(&self.prepared, asked).await)
    }

    /// An answer that goes on by itself.
    fn spawn(&self, asked: Asked) -> tokio::task::JoinHandle<Answer> {
        let (composer, prepared) = (self.composer.clone(), self.prepared.clone());
        tokio::spawn(async move { composer.answer(&prepared, &asked).await })
    }
}

fn asked() -> Asked {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "api.example.com"),
        ("x-request-id", "01JD"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-user-id", "u7"),
        ("authorization", "Bearer secret"),
        ("accept-language", "de"),
        ("cookie", "a=b"),
        ("accept-encoding", "gzip"),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Asked {
        route: "r".into(),
        method: Method::GET,
        query: "page=2".into(),
        params: vec![("id".into(), "i7".into())],
        claims: Some(Arc::new(json!({ "sub": "u7" }))),
        client: [192, 0, 2, 7].into(),
        request_id: "01JD".into(),
        headers,
        identity: vec![HeaderName::from_static("x-user-id")],
        body: Bytes::new(),
    }
}

fn composer() -> Composer {
    let metrics = ComposeMetrics::new(&Registry::new()).unwrap();
    Composer::new(&AggregatorLimits::default(), metrics, connections(), None)
}

fn connections() -> Arc<Connections> {
    Arc::new(Connections::new(64))
}

/// The same request of somebody else.
fn asked_by(user: &str) -> Asked {
    let mut asked = asked();
    asked.claims = Some(Arc::new(json!({ "sub": user })));
    asked.headers.insert("x-user-id", user.parse().unwrap());
    asked
}

/// An answer, read.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn of(answer: Answer) -> Got {
        assert!(answer.body.iter().all(|piece| !piece.is_empty()));
        Got {
            status: answer.status.as_u16(),
            headers: answer.headers.into_iter().collect(),
            text: String::from_utf8(answer.body.concat()).unwrap(),
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The reasons in a problem document.
    fn reasons(&self) -> Vec<(String, String)> {
        let document = self.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let branches = document["branches"].as_array().cloned().unwrap_or_default();
        branches.iter().map(|branch| (text(&branch["name"]), text(&branch["reason"]))).collect()
    }
}

#[tokio::test]
async fn slots_are_in_file_order_and_bytes_stay_as_they_were() {
    let origin = Origin::new().await;
    origin.on("/a", Does::json(" {\"n\": 1.00, \"x\":\"\\u00e9\"}\n"));
    origin.on("/b", Does::json("[1e400,{}]"));
    origin.on("/c", Does::typed(200, "text/plain", "a\"b"));
    origin.on("/d", Does::Answer(204, String::new(), Vec::new()));
    origin.on("/e", Does::Answer(200, String::new(), Vec::new()));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      z: { call: GET up/a }\n      y: { call: GET up/b }\n      x: { call: GET up/c }\n      \
         w: { call: GET up/d }\n      v: { call: GET up/e }\n",
    );
    let got = setup.ask().await;
    assert_eq!(got.status, 200);
    assert_eq!(got.text, r#"{"z":{"n": 1.00, "x":"\u00e9"},"y":[1e400,{}],"x":"a\"b","w":null,"v":null}"#);
    assert_eq!(got.header("x-aggregate-complete"), "true");
    assert_eq!(got.header("cache-control"), "private, no-cache");
    assert_eq!(got.header("content-type"), "application/json");
    let timing = got.header("server-timing");
    assert!(timing.starts_with("z;dur=") && timing.matches(";dur=").count() == 5, "{timing}");
    let mut head = asked();
    head.method = Method::HEAD;
    let head = setup.ask_as(&head).await;
    assert_eq!((head.status, &*head.text, head.header("content-type")), (200, "", "application/json"));
}

#[tokio::test]
async fn a_call_carries_what_it_should_and_nothing_else() {
    let origin = Origin::new().await;
    origin.on("/users/u7", Does::json("1"));
    origin.on("/new", Does::json("2"));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: 'GET up/users/{claims.sub}?page={query.page}&x={query.none}', headers: [Accept-Language] }\n      \
         b: { call: POST up/new, body: { id: '{id}', of: '{a.$}' } }\n",
    );
    let got = setup.ask().await;
    assert_eq!(got.text, r#"{"a":1,"b":2}"#);
    let seen = origin.seen();
    let (get, post) = (&seen[0], &seen[1]);
    assert_eq!(get.line, "GET /users/u7?page=2 HTTP/1.1");
    let mut names: Vec<&str> = get.fields.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "accept-encoding",
            "accept-language",
            "host",
            "request-timeout-ms",
            "traceparent",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-request-id",
            "x-user-id"
        ]
    );
    assert_eq!(get.field("host"), Some("api.example.com"));
    assert_eq!(get.field("accept-encoding"), Some("identity"));
    assert_eq!(get.field("x-user-id"), Some("u7"));
    let budget: u64 = get.field("request-timeout-ms").unwrap().parse().unwrap();
    assert!((1..=2000).contains(&budget), "{budget}");
    assert_eq!(post.line, "POST /new HTTP/1.1");
    assert_eq!(String::from_utf8_lossy(&post.body), r#"{"id":"i7","of":1}"#);
    assert_eq!(
        (post.field("content-type"), post.field("content-length")),
        (Some("application/json"), Some("18"))
    );
    let (one, two) = (get.field("traceparent").unwrap(), post.field("traceparent").unwrap());
    assert!(one.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && one.ends_with("-01") && one != two);
}

#[tokio::test]
async fn branches_wait_for_what_they_use_and_no_longer() {
    let origin = Origin::new().await;
    origin.on("/a", Does::json(r#"{"id":7,"role":"pupil"}"#));
    origin.on("/b/7", Does::json("\"b\""));
    let gate = origin.gate("/slow", Does::json("\"s\""));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      b: { call: 'GET up/b/{a.$.id}' }\n      a: { call: GET up/a }\n      slow: { call: GET up/slow, timeout: 1h }\n      \
         no: { call: GET up/never, needs: [a], when: 'a.role == \"teacher\"' }\n      \
         nor: { call: GET up/never, needs: [no] }\n    answer: { timeout: 1h }\n",
    );
    let answer = setup.spawn(asked());
    // b has been asked although slow has not ended.
    origin.arrived(3).await;
    gate.add_permits(1);
    let got = Got::of(answer.await.unwrap());
    assert_eq!(got.text, r#"{"b":"b","a":{"id":7,"role":"pupil"},"slow":"s"}"#);
    assert_eq!(got.header("x-aggregate-complete"), "true", "what is left out is not missing");
    assert!(!got.header("server-timing").contains("no"));
    assert!(origin.seen().iter().all(|seen| !seen.line.contains("never")));
}

/// Branches may answer in any order; the answer does not show it.
#[tokio::test]
async fn the_answer_does_not_depend_on_who_answers_first() {
    let composer = composer();
    let mut orders: Vec<Vec<usize>> = vec![vec![]];
    for next in 0..4 {
        orders = orders
            .iter()
            .flat_map(|order| (0..=order.len()).map(move |at| [&order[..at], &[next], &order[at..]].concat()))
            .collect();
    }
    assert_eq!(orders.len(), 24);
    for merge in ["slots", "list"] {
        let mut first: Option<String> = None;
        for order in &orders {
            let origin = Origin::new().await;
            let gates = [
                origin.gate("/a", Does::json("{\"a\":1}")),
                origin.gate("/b", Does::typed(500, "text/plain", "x")),
                origin.gate("/c", Does::json("[1,2]")),
                origin.gate("/d", Does::json("{")),
            ];
            let setup = Setup::of(
                composer.clone(),
                &origin,
                &format!(
                    "    aggregate:\n      a: {{ call: GET up/a, timeout: 1h }}\n      \
                     b: {{ call: GET up/b, timeout: 1h, on_error: {{ value: [7] }} }}\n      \
                     c: {{ call: GET up/c, timeout: 1h }}\n      d: {{ call: GET up/d, timeout: 1h, on_error: null }}\n    \
                     answer: {{ timeout: 1h, merge: {merge} }}\n"
                ),
            );
            let answer = setup.spawn(asked());
            origin.arrived(4).await;
            for (done, gate) in order.iter().enumerate() {
                gates[*gate].add_permits(1);
                origin.answered(done + 1).await;
            }
            let got = Got::of(answer.await.unwrap());
            assert_eq!(got.header("x-aggregate-complete"), "false");
            assert_eq!(first.get_or_insert(got.text.clone()), &got.text, "{order:?}");
        }
        assert_eq!(
            first.as_deref(),
            Some(if merge == "list" {
                r#"[{"a":1},7,1,2,null]"#
            } else {
                r#"{"a":{"a":1},"b":[7],"c":[1,2],"d":null}"#
            })
        );
    }
}

#[tokio::test]
async fn each_asks_for_every_item_and_keeps_their_order() {
    let origin = Origin::new().await;
    origin.on("/list", Does::json(r#"{"items":[{"id":"x"},{"id":"y"},{"id":"z"},{"id":"w"}]}"#));
    let gates =
        ["x", "y", "z"].map(|id| origin.gate(&format!("/i/{id}"), Does::json(&format!("[\"{id}\"]"))));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      list: { call: GET up/list }\n      \
         items: { call: 'GET up/i/{item.$.id}', timeout: 1h, on_error: omit, each: { in: list.$.items, max: 3, concurrency: 2, beyond: cut } }\n    \
         answer: { timeout: 1h, template: { all: '{items}' } }\n",
    );
    let answer = setup.spawn(asked());
    origin.arrived(3).await;
    assert!(origin.seen().iter().all(|seen| !seen.line.contains("/i/z")), "two at a time");
    gates[1].add_permits(1);
    origin.arrived(4).await;
    gates[2].add_permits(1);
    origin.answered(3).await;
    gates[0].add_permits(1);
    let got = Got::of(answer.await.unwrap());
    assert_eq!(got.text, r#"{"all":[["x"],["y"],["z"]]}"#);
    assert_eq!(got.header("x-aggregate-complete"), "false", "the list was cut");
    assert!(got.header("server-timing").contains("desc=\"too-many-items\""));
}
