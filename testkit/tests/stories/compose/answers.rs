//! What a client gets where everything goes well, and what services are sent for it.

use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin};

use super::{start, targets};

stories!(
    branches_stand_in_the_order_of_the_file_with_their_bytes_as_they_were,
    json_by_any_name_text_and_nothing_are_results,
    head_is_get_without_a_body,
    the_clients_body_goes_along_as_it_is,
    a_body_that_no_branch_wants_goes_nowhere,
    a_result_is_shaped_before_anybody_uses_it,
    connections_to_services_are_kept,
);

async fn branches_stand_in_the_order_of_the_file_with_their_bytes_as_they_were(mode: Mode) {
    let big = format!("{{\"n\":{}.0e1,\"u\":\"\\u00e9\", \"a\" : 1,\"a\":2}}", "9".repeat(400));
    let origin = Origin::builder()
        .on("/users/me", Answer::json(big.clone()))
        .on("/v1/batches", Answer::json("[1, 2]"))
        .start()
        .await;
    let yaml = format!(
        r#"
upstreams:
  users: {{ targets: ["{0}"] }}
  batches: {{ targets: ["{0}"] }}
routes:
  - name: overview
    match: GET /v1/overview
    public: true
    aggregate:
      profile: {{ call: GET users/users/me }}
      batches: {{ call: "GET batches/v1/batches?limit=5" }}
"#,
        origin.address()
    );
    let composed = ComposedEdge::start(mode, "", &yaml).await;
    let response = composed.get("/v1/overview").await.expect(200);
    assert_eq!(response.text(), format!("{{\"profile\":{big},\"batches\":[1, 2]}}"));
    assert_eq!(response.header("X-Aggregate-Complete"), Some("true"));
}

const KINDS: &str = r#"
  - match: GET /kinds
    public: true
    aggregate:
      text: { call: GET up/text }
      csv: { call: GET up/csv }
      problem: { call: GET up/problem }
      hal: { call: GET up/hal }
      created: { call: POST up/created }
      none: { call: DELETE up/none }
      empty: { call: GET up/empty }
"#;

async fn json_by_any_name_text_and_nothing_are_results(mode: Mode) {
    let of = |media: &str, body: &str| Answer::fixed(200, body.to_owned()).header("Content-Type", media);
    let origin = Origin::builder()
        .on("/text", of("text/plain; charset=utf-8", "a \"b\"\n\u{fc}"))
        .on("/csv", of("text/csv", "a,b"))
        .on("/problem", of("application/problem+json", r#"{"title": "x"}"#))
        .on("/hal", of("application/hal+json", r#" {"_links" : {}} "#))
        .on("/created", Answer::fixed(201, "7").header("Content-Type", "application/json"))
        .on("/none", Answer::fixed(204, ""))
        .on("/empty", Answer::fixed(200, ""))
        .start()
        .await;
    let edge = start(mode, &origin, KINDS).await;
    let answer = edge.get("/kinds").await.expect(200);
    assert_eq!(
        answer.text(),
        "{\"text\":\"a \\\"b\\\"\\n\u{fc}\",\"csv\":\"a,b\",\"problem\":{\"title\": \"x\"},\
         \"hal\":{\"_links\" : {}},\"created\":7,\"none\":null,\"empty\":null}"
    );
    assert_eq!(answer.header("x-aggregate-complete"), Some("true"));
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let timing = answer.header("server-timing").unwrap();
    let names: Vec<_> = timing.split(", ").map(|metric| metric.split(';').next().unwrap()).collect();
    assert_eq!(names, ["text", "csv", "problem", "hal", "created", "none", "empty"], "{timing}");
    assert!(!timing.contains("desc"), "{timing}");
}

const HEAD: &str = r#"
  - match: GET /head
    public: true
    aggregate:
      a: { call: GET up/a }
  - match: GET /failed
    public: true
    aggregate:
      a: { call: GET up/failed }
"#;

/// RFC 9110, section 9.3.2.
async fn head_is_get_without_a_body(mode: Mode) {
    let origin = Origin::builder().on("/failed", Answer::status(500)).start().await;
    let edge = start(mode, &origin, HEAD).await;
    let mut client = edge.edge.client().await;
    let head = client.request("HEAD", "/head").send().await.expect(200);
    assert_eq!((head.text().as_str(), head.header("x-aggregate-complete")), ("", Some("true")));
    assert!(head.header("content-length").is_none_or(|length| length != "0"), "{:?}", head.head);
    assert_eq!(origin.last().method, "GET");
    let failed = client.request("HEAD", "/failed").send().await.expect(502);
    assert_eq!(failed.header("content-type"), Some("application/problem+json"));
    assert!(failed.header("content-length").is_none_or(|length| length != "0"), "{:?}", failed.head);
    // The connection is where both believe that it is.
    client.get("/head").send().await.expect(200);
    assert!(client.unread().is_empty());
}

const BODIES: &str = r#"
  - match: POST /orders
    public: true
    aggregate:
      one: { call: POST up/one, body: request }
      two: { call: PUT up/two, body: request }
      none: { call: GET up/none }
      made: { call: PATCH up/made, body: { of: "{one.$.method}" } }
"#;

async fn the_clients_body_goes_along_as_it_is(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, BODIES).await;
    let mut client = edge.edge.client().await;
    // Any bytes of any type: no JSON is asked for.
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let draft = client.request("POST", "/orders").header("Content-Type", "application/x-any; v=1");
    draft.body(body.clone()).send().await.expect(200);
    for request in origin.requests() {
        let (bytes, media): (&[u8], _) = match request.target.as_str() {
            "/one" | "/two" => (&body, Some("application/x-any; v=1")),
            "/made" => (br#"{"of":"POST"}"#, Some("application/json")),
            _ => (b"", None),
        };
        assert_eq!(
            (&request.body.kept[..], request.header("content-type")),
            (bytes, media),
            "{}",
            request.target
        );
        let sends = request.method != "GET";
        assert_eq!(request.header("content-length").is_some(), sends, "{}", request.target);
    }
    // A body in chunks, and none at all.
    client
        .send("POST /orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        .await;
    client.response().await.expect(200);
    let one = origin.requests().into_iter().rfind(|request| request.target == "/one").unwrap();
    assert_eq!((one.body.text().as_str(), one.headers("content-length")), ("abcde", vec!["5"]));
    client.request("POST", "/orders").body("").send().await.expect(200);
    assert!(origin.violations().is_empty());
}

const UNWANTED: &str = r#"
  - match: GET|POST /unwanted
    public: true
    aggregate:
      a: { call: POST up/a }
"#;

async fn a_body_that_no_branch_wants_goes_nowhere(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, UNWANTED).await;
    let mut client = edge.edge.client().await;
    for method in ["POST", "GET"] {
        client.request(method, "/unwanted").body("GET /admin HTTP/1.1\r\n\r\n").send().await.expect(200);
        let last = origin.last();
        assert_eq!(
            (last.target.as_str(), last.body.bytes, last.headers("content-length")),
            ("/a", 0, vec!["0"])
        );
    }
}

const SHAPED: &str = r#"
  - match: GET /shaped
    public: true
    aggregate:
      list: { call: GET up/list, flatten: $.data.items, pick: [id, owner.name], rename: { owner.name: by } }
      next: { call: "GET up/next/{list.$[0].owner.by}", drop: [headers, connection, version, body_sha256] }
"#;

async fn a_result_is_shaped_before_anybody_uses_it(mode: Mode) {
    let list = r#"{"data":{"items":[{"id":1.0,"owner":{"name":"ada","mail":"x"},"secret":1},{"id":2}]}}"#;
    let origin = Origin::builder().on("/list", Answer::json(list)).start().await;
    let edge = start(mode, &origin, SHAPED).await;
    let answer = edge.get("/shaped").await.expect(200);
    assert!(
        answer.text().starts_with(r#"{"list":[{"id":1.0,"owner":{"by":"ada"}},{"id":2}],"next":{"#),
        "{}",
        answer.text()
    );
    assert_eq!(targets(&origin), ["/list", "/next/ada"]);
    assert!(answer.json()["next"].get("headers").is_none());
}

async fn connections_to_services_are_kept(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, HEAD).await;
    for _ in 0..5 {
        edge.get("/head").await.expect(200);
    }
    assert_eq!((origin.requests().len(), origin.connections()), (5, 1));
}
