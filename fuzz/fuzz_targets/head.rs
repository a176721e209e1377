//! The strict check of a request head: it never panics, and what it accepts another parser reads in the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport::head::{Framing, HeadLimits, check, find_end, oversized};

const FIELDS_MAX: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let _ = oversized(bytes);
    let end = find_end(bytes, 0);
    // However the bytes arrive, the end is the same.
    let half = bytes.len() / 2;
    assert_eq!(end, find_end(&bytes[..half], 0).or_else(|| find_end(bytes, half)));
    let head = &bytes[..end.unwrap_or(bytes.len())];
    let limits = HeadLimits { fields: FIELDS_MAX, allow_underscores: false };
    let Ok(framing) = check(head, &limits) else { return };
    assert!(end.is_some(), "an accepted head has an end");
    agrees(head, framing);
});

/// Reads an accepted head with the parser that Pingora uses.
fn agrees(head: &[u8], framing: Framing) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let target = head.split(|&byte| byte == b' ').nth(1).expect("a target");
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) => assert_eq!(length, head.len()),
        // Pingora escapes these in a target that httparse refuses.
        Err(httparse::Error::Token) if target.iter().any(|byte| b"\"<>^`{|}".contains(byte)) => return,
        other => panic!("httparse says {other:?}"),
    }
    assert_eq!(request.path.map(str::as_bytes), Some(target));
    let lines = head.trim_ascii_start().split(|&byte| byte == b'\n').count();
    assert_eq!(request.headers.len(), lines - 3, "a line is a field");
    let values = |name: &str| {
        let fields = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value).collect::<Vec<_>>()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(values("host").len() <= 1 && lengths.len() <= 1);
    match framing {
        Framing::Chunked => {
            assert!(lengths.is_empty() && codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked"));
        }
        Framing::None => assert!(codings.is_empty()),
        Framing::Length(length) => {
            assert!(codings.is_empty());
            assert_eq!(std::str::from_utf8(lengths[0]).ok().and_then(|text| text.parse().ok()), Some(length));
        }
    }
}
