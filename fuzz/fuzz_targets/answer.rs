//! What upstreams answer: reading never panics, yields the same however the bytes arrive, tells no byte that did not
//! come, and leaves no doubt in what goes on to the client.

#![no_main]

use http::{Method, header};
use libfuzzer_sys::fuzz_target;
use pingora_core::protocols::http::HttpTask;
use sallyport_upstreams::exchange::Answer;

/// What was told: heads as text, the body, whether the answer was whole, whether the connection may serve another.
type Told = (Vec<String>, Vec<u8>, bool, bool);

// The first byte says into how many pieces the others are cut, its lowest bit whether the request was HEAD.
fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let method = if first & 1 == 1 { Method::HEAD } else { Method::GET };
    let whole = read(&method, bytes, bytes.len().max(1));
    assert_eq!(read(&method, bytes, usize::from(first).max(1)), whole);
    assert!(whole.1.len() <= bytes.len());
    let (_, body, ended, reusable) = whole;
    assert!(ended || !reusable, "what has no end leaves nothing behind it");
    assert!(method != Method::HEAD || body.is_empty());
});

/// Reads an answer that comes in pieces of this size, and then the close.
fn read(method: &Method, bytes: &[u8], size: usize) -> Told {
    let mut answer = Answer::to(method);
    let (mut heads, mut body, mut over) = (Vec::new(), Vec::new(), false);
    let mut length = None;
    for piece in bytes.chunks(size) {
        answer.arrived.extend_from_slice(piece);
        while !over {
            match answer.at_hand() {
                Ok(None) => break,
                Ok(Some(part)) => over = take(part, &mut heads, &mut body, &mut length),
                Err(_) => return (heads, body, false, false),
            }
        }
    }
    if !over {
        match answer.closed() {
            Ok(part) => over = take(part, &mut heads, &mut body, &mut length),
            Err(_) => return (heads, body, false, false),
        }
    }
    assert!(over, "a close ends every answer");
    if let Some(length) = length.filter(|_| *method != Method::HEAD) {
        assert_eq!(body.len() as u64, length, "a whole body is as long as its head says");
    }
    (heads, body, true, answer.leaves_reusable())
}

/// Takes note of a part, and says whether it was the last.
fn take(part: HttpTask, heads: &mut Vec<String>, body: &mut Vec<u8>, length: &mut Option<u64>) -> bool {
    match part {
        HttpTask::Header(head, end) => {
            let fields = &head.headers;
            for value in fields.values() {
                assert!(
                    !value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
                    "a head in a value"
                );
            }
            heads.push(format!("{} {:?} {fields:?}", head.status, head.get_reason_phrase()));
            let bodiless = head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304);
            if !bodiless && !end {
                let lengths: Vec<_> = fields.get_all(header::CONTENT_LENGTH).iter().collect();
                assert!(lengths.len() <= 1, "two lengths");
                assert!(
                    lengths.is_empty() || !fields.contains_key(header::TRANSFER_ENCODING),
                    "two framings"
                );
                *length = lengths.first().map(|value| value.to_str().unwrap().parse().unwrap());
            }
            end
        }
        HttpTask::Body(chunk, end) => {
            body.extend_from_slice(&chunk.unwrap_or_default());
            end
        }
        HttpTask::Done => true,
        other => panic!("no answer has {}", other.type_str()),
    }
}
