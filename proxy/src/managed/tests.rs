//! What survives, and what must not.

use proptest::prelude::*;

use super::*;

fn managed() -> Managed {
    Managed::new(["x-user-id", "x-roles", "x-forwarded-user"].map(HeaderName::from_static))
}

fn request(fields: &[(&str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in fields {
        head.append_header(name.to_string(), *value).unwrap();
    }
    head
}

fn names(head: &RequestHeader) -> Vec<String> {
    let mut names: Vec<_> = head.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    names
}

/// What the upstream would be sent: deleted from the map and from Pingora's record of the original case alike.
fn wire(head: &RequestHeader) -> String {
    let mut bytes = Vec::new();
    head.header_to_h1_wire(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn managed_headers_are_deleted_in_every_spelling() {
    let mut head = request(&[
        ("Host", "a"),
        ("X-User-Id", "1"),
        ("x-user-id", "2"),
        ("X_USER_ID", "3"),
        ("X-Roles", "4"),
        ("X-Forwarded-For", "5"),
        ("x_forwarded_for", "6"),
        ("X-Forwarded-Anything", "7"),
        ("X-Real-IP", "8"),
        ("Forwarded", "9"),
        ("X-Original-URL", "10"),
        ("X-Rewrite-Url", "11"),
        ("Proxy", "12"),
        ("X-Request-Id", "13"),
        ("True-Client-IP", "14"),
        ("Accept", "*/*"),
        ("X-User-Identity", "not managed"),
    ]);
    managed().strip(&mut head, false);
    assert_eq!(names(&head), ["accept", "host", "x-user-identity"]);
    assert_eq!(wire(&head).lines().count(), 3, "{}", wire(&head));
}

/// A body whose length nobody tells any more would be read as the next request.
#[test]
fn framing_cannot_be_managed() {
    let names = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST, header::UPGRADE];
    let mut head = request(&[("Host", "a"), ("Content-Length", "5"), ("Upgrade", "websocket")]);
    Managed::new(names).strip(&mut head, false);
    assert_eq!(head.headers.len(), 3);
}

/// Traefik CVE-2024-45410, Caddy GHSA-7r4p-vjf4-gxv4: trust in a peer is not trust in what it passes on.
#[test]
fn a_trusted_peer_speaks_for_the_connection_only() {
    let mut head = request(&[
        ("X-Forwarded-For", "1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Real-IP", "2"),
        ("X-Request-Id", "3"),
        ("X_Forwarded_For", "4"),
        ("X-Forwarded_For", "5"),
        ("X-Forwarded-User", "6"),
        ("X-User-Id", "7"),
        ("X-Original-URL", "8"),
        ("Proxy", "9"),
    ]);
    managed().strip(&mut head, true);
    assert_eq!(names(&head), ["x-forwarded-for", "x-forwarded-proto", "x-real-ip", "x-request-id"]);
}

/// RFC 9110, section 7.6.1.
#[test]
fn hop_by_hop_headers_end_here() {
    let mut head = request(&[
        ("Connection", "close, X-Debug"),
        ("connection", "te, keep-alive,,"),
        ("X-Debug", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eA=="),
        ("TE", "gzip, Trailers"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("Trailer", "Expires"),
        ("Transfer-Encoding", "chunked"),
        ("Accept", "*/*"),
    ]);
    managed().strip_hop_by_hop(&mut head, false).unwrap();
    assert_eq!(names(&head), ["accept", "te", "trailer", "transfer-encoding"]);
    assert_eq!(head.headers[header::TE], "trailers");
    let mut head = request(&[("TE", "gzip"), ("Connection", "te")]);
    managed().strip_hop_by_hop(&mut head, true).unwrap();
    assert_eq!(names(&head), Vec::<String>::new());
}

/// RFC 9110, section 7.8: an upgrade needs both fields.
#[test]
fn an_upgrade_survives_where_it_is_wanted() {
    let asked = [("Connection", "keep-alive, Upgrade, X-Debug"), ("Upgrade", "websocket"), ("X-Debug", "1")];
    let mut head = request(&asked);
    managed().strip_hop_by_hop(&mut head, true).unwrap();
    assert_eq!(names(&head), ["connection", "upgrade"]);
    assert_eq!(head.headers[header::CONNECTION], "upgrade");
    let mut head = request(&asked);
    managed().strip_hop_by_hop(&mut head, false).unwrap();
    assert_eq!(names(&head), Vec::<String>::new());
    for half in [&asked[..1], &asked[1..2]] {
        let mut head = request(half);
        managed().strip_hop_by_hop(&mut head, true).unwrap();
        assert_eq!(names(&head), Vec::<String>::new());
    }
}

/// A nominated field is deleted by the next hop: that must not be a way to shed a guard or a framing field.
#[test]
fn connection_may_not_nominate_what_is_not_its_own() {
    let refused = [
        "Host",
        "Authorization",
        "cookie",
        "Content-Length",
        "content-type",
        "Transfer-Encoding",
        "X-User-Id",
        "x_user_id",
        "X-Forwarded-For",
        "X_Forwarded-Proto",
        "X-Real-IP",
        "Forwarded",
        "Origin",
        "Sec-Fetch-Site",
        "Expect",
        "traceparent",
        "If-Match",
        "Cache-Control",
        "X-Request-Id",
        "Access-Control-Request-Method",
    ];
    for name in refused {
        let value = format!("close, {name}");
        let mut head = request(&[("Connection", &value)]);
        let found = managed().strip_hop_by_hop(&mut head, true);
        assert_eq!(found, Err(ConnectionError::NotHopByHop), "{name}");
        assert_eq!(names(&head), ["connection"]);
    }
    for value in ["a b", "x=y", "\"x\"", "a;q=1", "caf\u{e9}"] {
        let mut head = request(&[("Connection", value)]);
        assert_eq!(managed().strip_hop_by_hop(&mut head, true), Err(ConnectionError::NotAToken), "{value}");
    }
    let mut head = request(&[("Connection", &"x,".repeat(CONNECTION_OPTIONS_MAX))]);
    assert_eq!(managed().strip_hop_by_hop(&mut head, true), Err(ConnectionError::TooMany));
    assert_eq!(ConnectionError::TooMany.kind(), ProblemKind::BadRequest);
}

/// Any spelling of a managed name: case and `_`/`-` at random.
fn spelling(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    (prop::sample::select(names), any::<u64>(), any::<u64>()).prop_map(|(name, upper, under)| {
        name.bytes()
            .enumerate()
            .map(|(index, byte)| {
                let set = |bits: u64| bits >> (index % 64) & 1 == 1;
                let byte = if byte == b'-' && set(under) { b'_' } else { byte };
                char::from(if set(upper) { byte.to_ascii_uppercase() } else { byte })
            })
            .collect()
    })
}

const MANAGED: &[&str] = &[
    "x-user-id",
    "x-roles",
    "x-forwarded-user",
    "x-forwarded-for",
    "x-forwarded-proto",
    "forwarded",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "proxy",
];
const HARMLESS: &[&str] = &["accept", "x-user", "x-trace", "user-agent", "x-forward", "roles"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// The promise of the edge: no client-supplied value of a managed header reaches a backend.
    #[test]
    fn nothing_managed_survives(
        evil in prop::collection::vec((spelling(MANAGED), "evil"), 0..12),
        good in prop::collection::vec((spelling(HARMLESS), "good"), 0..6),
        connection in prop::collection::vec(prop_oneof![spelling(MANAGED), spelling(HARMLESS), Just("close".to_owned())], 0..4),
        interleave in any::<u64>(),
        keep_upgrade in any::<bool>(),
    ) {
        let (mut evil, mut good) = (evil.into_iter(), good.into_iter());
        let mut fields = Vec::new();
        for turn in 0..18 {
            let next = if interleave >> turn & 1 == 0 { evil.next() } else { good.next() };
            fields.extend(next);
        }
        fields.extend(evil.chain(good));
        let nominated = connection.join(", ");
        fields.push(("Connection".to_owned(), nominated));
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut head = request(&fields);
        let managed = managed();
        managed.strip(&mut head, false);
        let refused = managed.strip_hop_by_hop(&mut head, keep_upgrade).is_err();
        let wire = wire(&head);
        prop_assert!(!wire.contains("evil"), "{}", wire);
        let folded = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        let nominates_managed = connection.iter().any(|name| MANAGED.contains(&folded(name).as_str()));
        prop_assert!(refused || !nominates_managed);
        if !refused {
            prop_assert!(head.headers.get(header::CONNECTION).is_none());
            let nominated = |name: &str| connection.iter().any(|option| option.eq_ignore_ascii_case(name));
            let kept = fields.iter().filter(|(name, value)| *value == "good" && !nominated(name)).count();
            prop_assert_eq!(wire.matches("good").count(), kept);
        }
    }
}
