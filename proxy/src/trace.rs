//! W3C Trace Context: continues a trace, or begins one. Exporting spans is not done here.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The `traceparent` header (Trace Context, section 3.2).
pub(crate) const TRACEPARENT: &str = "traceparent";
/// The `tracestate` header (section 3.3).
pub(crate) const TRACESTATE: &str = "tracestate";
/// The same as a name, which needs no reading to be looked up.
static TRACEPARENT_NAME: HeaderName = HeaderName::from_static(TRACEPARENT);
const LENGTH: usize = 55;
const SAMPLED: u8 = 0x01;

/// The trace of one exchange, as the upstream gets it.
#[derive(Clone)]
pub(crate) struct Trace {
    text: [u8; LENGTH],
    /// Whether the client's trace goes on, so that its `tracestate` may too.
    pub(crate) continued: bool,
}

impl Trace {
    /// The trace of a request. An outsider's trace id is kept, so that a page and its calls stay together, but an outsider
    /// cannot have a request sampled (facts: head sampling costs us, not them).
    pub(crate) fn of(headers: &HeaderMap, peer_trusted: bool) -> Trace {
        let given = single(headers).and_then(parse);
        let (id, flags, continued) = match given {
            Some((id, flags)) => (id, if peer_trusted { flags & SAMPLED } else { 0 }, true),
            None => (random_id(), 0, false),
        };
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&id);
        write_hex(&mut text[36..52], nonzero());
        text[54] = b'0' + flags;
        Trace { text, continued }
    }

    /// The trace id: 32 hexadecimal digits.
    pub(crate) fn id(&self) -> &str {
        std::str::from_utf8(&self.text[3..35]).unwrap_or_default()
    }

    /// The header for the upstream.
    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text).unwrap_or_else(|_| HeaderValue::from_static("00"))
    }
}

/// A repeated traceparent is none (section 3.2, "if there is more than one, ignore").
fn single(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(&TRACEPARENT_NAME).iter();
    let first = all.next()?;
    all.next().is_none().then_some(first.as_bytes())
}

/// The trace id and flags of a valid traceparent. Versions above 00 may be longer; what we know of them is the same.
fn parse(text: &[u8]) -> Option<([u8; 32], u8)> {
    let shape = text.len() >= LENGTH && text[2] == b'-' && text[35] == b'-' && text[52] == b'-';
    if !shape || !lower_hex(&text[..2]) || &text[..2] == b"ff" {
        return None;
    }
    if text.len() > LENGTH && (&text[..2] == b"00" || text[LENGTH] != b'-') {
        return None;
    }
    let (id, parent, flags) = (&text[3..35], &text[36..52], &text[53..55]);
    let valid = lower_hex(id) && lower_hex(parent) && lower_hex(flags);
    if !valid || id.iter().all(|digit| *digit == b'0') || parent.iter().all(|digit| *digit == b'0') {
        return None;
    }
    let flags = u8::from_str_radix(std::str::from_utf8(flags).ok()?, 16).ok()?;
    Some((id.try_into().ok()?, flags))
}

fn lower_hex(text: &[u8]) -> bool {
    text.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_id() -> [u8; 32] {
    let mut id = [b'0'; 32];
    write_hex(&mut id[..16], nonzero());
    write_hex(&mut id[16..], fastrand::u64(..));
    id
}

fn nonzero() -> u64 {
    fastrand::u64(1..)
}

fn write_hex(to: &mut [u8], number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (place, digit) in to.iter_mut().rev().enumerate() {
        *digit = DIGITS[(number >> (4 * place) & 0xf) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        headers
    }

    fn sent(trace: &Trace) -> String {
        trace.header().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_trusted_peers_trace_and_sampling_go_on_under_a_new_parent() {
        let trace = Trace::of(&headers(&[GIVEN]), true);
        let sent = sent(&trace);
        assert!(trace.continued);
        assert!(sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && sent.ends_with("-01"), "{sent}");
        assert!(!sent.contains("00f067aa0ba902b7"), "the parent is ours");
        assert!(parse(sent.as_bytes()).is_some());
    }

    #[test]
    fn an_outsider_cannot_force_sampling() {
        let trace = Trace::of(&headers(&[GIVEN]), false);
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(sent(&trace).ends_with("-00"));
    }

    /// Trace Context, section 3.2.2: what is invalid is ignored and a new trace begins.
    #[test]
    fn an_invalid_traceparent_begins_a_new_trace() {
        for invalid in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01extra",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let trace = Trace::of(&headers(&[invalid]), true);
            assert!(!trace.continued, "{invalid}");
            assert!(parse(sent(&trace).as_bytes()).is_some(), "{invalid}");
        }
        assert!(!Trace::of(&headers(&[GIVEN, GIVEN]), true).continued, "a repeated header is none");
        assert!(
            Trace::of(&headers(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"]), true)
                .continued
        );
    }
}
