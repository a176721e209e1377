//! The header of a client's frame (RFC 6455, section 5.2), checked as far as it can be without the frames before it.

use fastwebsockets::OpCode;

use super::{CONTROL_BYTES_MAX, ReadError};

/// A checked header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether this is the last frame of its message.
    pub(super) fin: bool,
    pub(super) opcode: OpCode,
    pub(super) mask: [u8; 4],
    /// Bytes of the header itself.
    pub(super) size: usize,
    /// Bytes of payload that the client claims will follow.
    pub(super) length: u64,
}

impl Header {
    /// Reads a header from the beginning of `bytes`. None: it is not complete yet. What is wrong is refused as soon as its
    /// byte is there.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, ReadError> {
        let &[first, second, ref behind @ ..] = bytes else {
            return bytes.first().map_or(Ok(None), |&first| opcode(first).map(|_| None));
        };
        let opcode = opcode(first)?;
        let fin = first & 0x80 != 0;
        // fastwebsockets takes frames without a mask.
        if second & 0x80 == 0 {
            return Err(ReadError::Protocol("frame without a mask (RFC 6455, 5.1)"));
        }
        let short = second & 0x7f;
        if is_control(opcode) {
            if !fin {
                return Err(ReadError::Protocol("fragmented control frame (RFC 6455, 5.5)"));
            }
            // fastwebsockets looks at the length of pings only.
            if usize::from(short) > CONTROL_BYTES_MAX {
                return Err(ReadError::Protocol("control frame above 125 bytes (RFC 6455, 5.5)"));
            }
        }
        let (length, behind) = match (short, behind) {
            (126, &[a, b, ref behind @ ..]) => (minimal(u64::from(u16::from_be_bytes([a, b])), 126)?, behind),
            (127, &[a, b, c, d, e, f, g, h, ref behind @ ..]) => {
                (minimal(u64::from_be_bytes([a, b, c, d, e, f, g, h]), 0x1_0000)?, behind)
            }
            (126 | 127, _) => return Ok(None),
            (short, behind) => (u64::from(short), behind),
        };
        let &[a, b, c, d, ref payload @ ..] = behind else { return Ok(None) };
        let size = bytes.len() - payload.len();
        Ok(Some(Header { fin, opcode, mask: [a, b, c, d], size, length }))
    }
}

/// Whether frames with this opcode may come between the fragments of a message (RFC 6455, section 5.5).
pub(super) fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
}

/// The opcode in the first byte, if its reserved bits are clear: no extension was agreed on.
fn opcode(first: u8) -> Result<OpCode, ReadError> {
    if first & 0x70 != 0 {
        return Err(ReadError::Protocol("reserved bit set (RFC 6455, 5.2)"));
    }
    OpCode::try_from(first & 0x0f).map_err(|_| ReadError::Protocol("reserved opcode (RFC 6455, 5.2)"))
}

/// A length that needed its long form. fastwebsockets takes any form.
fn minimal(length: u64, least: u64) -> Result<u64, ReadError> {
    if length < least {
        return Err(ReadError::Protocol("length not in its shortest form (RFC 6455, 5.2)"));
    }
    if length >> 63 != 0 {
        return Err(ReadError::Protocol("length above 63 bits (RFC 6455, 5.2)"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_whole_or_not_at_all() {
        let forms: &[(&[u8], u64)] = &[
            (&[0x81, 0x85, 1, 2, 3, 4], 5),
            (&[0x81, 0xfe, 0, 126, 1, 2, 3, 4], 126),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 0x1_0000),
        ];
        for &(bytes, length) in forms {
            for end in 0..bytes.len() {
                assert!(matches!(Header::read(&bytes[..end]), Ok(None)), "{end} of {bytes:?}");
            }
            let whole =
                Header { fin: true, opcode: OpCode::Text, mask: [1, 2, 3, 4], size: bytes.len(), length };
            assert_eq!(Header::read(bytes).unwrap(), Some(whole));
            let more = [bytes, b"payload"].concat();
            assert_eq!(Header::read(&more).unwrap().unwrap().size, bytes.len());
        }
    }

    /// RFC 6455, sections 5.1, 5.2 and 5.5: a fault is refused at the byte that shows it.
    #[test]
    fn a_fault_is_seen_at_its_byte() {
        let faults: &[&[u8]] = &[
            &[0xc1],
            &[0xa1],
            &[0x91],
            &[0x83],
            &[0x8b],
            &[0x81, 0x05],
            &[0x09, 0x80],
            &[0x89, 0xfe],
            &[0x8a, 0xff],
            &[0x81, 0xfe, 0, 125],
            &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
        ];
        for bytes in faults {
            assert!(matches!(Header::read(bytes), Err(ReadError::Protocol(_))), "{bytes:x?}");
            let before = &bytes[..bytes.len() - 1];
            assert!(matches!(Header::read(before), Ok(None)), "{before:x?}");
        }
    }
}
