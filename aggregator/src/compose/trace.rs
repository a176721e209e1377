//! The trace of a branch call: the request's trace, under a span of its own (W3C Trace Context).
//!
//! Spans are not exported by this program. A branch's span is what its service sees as the parent, and its times are in
//! `Server-Timing` and in the metrics.

use http::HeaderValue;

const LENGTH: usize = 55;

/// A `traceparent` with the same trace and flags, and a new parent. The edge has made the one that is given, so what is not
/// valid goes on as it is.
pub(super) fn child(parent: &HeaderValue) -> HeaderValue {
    let Ok(mut text) = <[u8; LENGTH]>::try_from(parent.as_bytes()) else { return parent.clone() };
    let span = fastrand::u64(1..);
    for (place, digit) in text[36..52].iter_mut().rev().enumerate() {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        *digit = DIGITS[(span >> (4 * place) & 0xf) as usize];
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| parent.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_and_its_sampling_go_on_under_a_new_span() {
        let parent = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let (one, two) = (child(&parent), child(&parent));
        for child in [&one, &two] {
            let text = child.to_str().unwrap();
            assert!(
                text.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && text.ends_with("-01"),
                "{text}"
            );
            assert!(text[36..52].bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{text}");
        }
        assert!(one != two && one != parent);
        let odd = HeaderValue::from_static("00");
        assert_eq!(child(&odd), odd);
    }
}
