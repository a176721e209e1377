//! Complete frames of a server: never masked (RFC 6455, section 5.1), never fragmented, made once and shared by all who
//! get them.

use bytes::Bytes;
use fastwebsockets::{CloseCode, OpCode};

use super::CONTROL_BYTES_MAX;

/// A ping without payload.
pub const PING: Bytes = Bytes::from_static(&[0x89, 0]);

/// A text message of these pieces, one behind the other, in one frame. That they are UTF-8 is up to the caller.
pub fn text_frame(pieces: &[&[u8]]) -> Bytes {
    frame(OpCode::Text, pieces)
}

/// A ping (RFC 6455, section 5.5.2). Payload behind 125 bytes is left out.
pub fn ping_frame(payload: &[u8]) -> Bytes {
    frame(OpCode::Ping, &[&payload[..payload.len().min(CONTROL_BYTES_MAX)]])
}

/// The answer to a ping, with the ping's payload (RFC 6455, section 5.5.3). Payload behind 125 bytes is left out.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(OpCode::Pong, &[&payload[..payload.len().min(CONTROL_BYTES_MAX)]])
}

/// A Close (RFC 6455, section 5.5.1). A reason of more than 123 bytes is cut at a character. Without a code, or with one
/// that must not be sent (section 7.4), it has no payload, and the client sees 1005.
pub fn close_frame(code: Option<u16>, reason: &str) -> Bytes {
    let Some(code) = code.filter(|&code| CloseCode::from(code).is_allowed()) else {
        return frame(OpCode::Close, &[]);
    };
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    frame(OpCode::Close, &[&code.to_be_bytes(), reason.as_bytes()])
}

/// Header and payload in one piece. fastwebsockets' own encoder wants the payload in one piece before.
fn frame(opcode: OpCode, pieces: &[&[u8]]) -> Bytes {
    let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
    // FIN, and the longest header there is without a mask.
    let mut bytes = Vec::with_capacity(length + 10);
    bytes.push(0x80 | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => bytes.push(length),
        (_, Ok(length)) => {
            bytes.push(126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    for piece in pieces {
        bytes.extend_from_slice(piece);
    }
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use fastwebsockets::{Frame, Payload};

    use super::*;

    /// RFC 6455, section 5.2: the same bytes as another encoder's, at each length where the form changes.
    #[test]
    fn headers_are_as_another_encoder_writes_them() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let text = vec![b'x'; length];
            let mut theirs = Vec::new();
            Frame::text(Payload::Borrowed(&text)).write(&mut theirs);
            let (left, right) = text.split_at(length / 3);
            let ours = text_frame(&[left, b"", right]);
            // Theirs writes into a buffer that is longer than the frame.
            assert_eq!(ours[..], theirs[..ours.len()], "{length}");
            assert_eq!(
                ours.len() - length,
                if length < 126 {
                    2
                } else if length < 65_536 {
                    4
                } else {
                    10
                }
            );
        }
    }

    /// RFC 6455, section 5.5: a control frame has at most 125 bytes.
    #[test]
    fn control_frames_stay_small() {
        let long = "é".repeat(100);
        let close = close_frame(Some(1001), &long);
        assert_eq!(close[..4], [0x88, 124, 0x03, 0xe9]);
        assert_eq!(std::str::from_utf8(&close[4..]).unwrap(), "é".repeat(61));
        assert_eq!(ping_frame(&[7; 200]).len(), 127);
        assert_eq!(pong_frame(&[7; 125]).len(), 127);
        assert_eq!(pong_frame(b"ab")[..], *b"\x8a\x02ab");
        assert_eq!(ping_frame(b"")[..], PING);
    }

    /// RFC 6455, section 7.4: codes that no endpoint may send.
    #[test]
    fn codes_that_must_not_be_sent_are_not() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            assert_eq!(close_frame(Some(code), "reason")[..], [0x88, 0], "{code}");
        }
        assert_eq!(close_frame(None, "reason")[..], [0x88, 0]);
        for code in [1000, 1001, 1013, 3000, 3501, 4999] {
            assert_eq!(close_frame(Some(code), "").len(), 4, "{code}");
        }
    }
}
