//! No client-supplied value of a managed header survives, whatever the spelling, repetition and `Connection` tricks.

#![no_main]

use http::HeaderName;
use libfuzzer_sys::fuzz_target;
use pingora_http::RequestHeader;
use sallyport::managed::Managed;

const MANAGED: [&str; 3] = ["x-user-id", "x-roles", "x-tenant"];
const UNTRUSTED: [&str; 4] = ["forwarded", "x-real-ip", "x-original-url", "proxy"];

// The input is lines, `name: value`.
fuzz_target!(|text: &str| {
    let mut head = RequestHeader::build("GET", b"/", None).expect("a request");
    for line in text.lines().take(64) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        // What HTTP does not allow as a name or value is not added.
        let _ = head.append_header(name.trim().to_owned(), value.trim());
    }
    let before = head.headers.clone();
    let managed = Managed::new(MANAGED.map(HeaderName::from_static));
    managed.strip(&mut head, false);
    let refused = managed.strip_hop_by_hop(&mut head, true).is_err();
    let mut wire = Vec::new();
    head.header_to_h1_wire(&mut wire);
    for line in wire.split(|&byte| byte == b'\n') {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let folded = String::from_utf8_lossy(name).trim().to_ascii_lowercase().replace('_', "-");
        let named = |names: &[&str]| names.contains(&&*folded);
        assert!(!named(&MANAGED) && !named(&UNTRUSTED) && !folded.starts_with("x-forwarded-"), "{folded}");
        let hop = ["keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"];
        assert!(refused || !named(&hop), "{folded}");
    }
    for name in ["content-length", "transfer-encoding", "host", "authorization", "cookie"] {
        assert_eq!(head.headers.get_all(name).iter().count(), before.get_all(name).iter().count(), "{name}");
    }
    if !refused && let Some(connection) = head.headers.get("connection") {
        assert_eq!(connection, "upgrade");
        assert!(head.headers.contains_key("upgrade"));
    }
});
