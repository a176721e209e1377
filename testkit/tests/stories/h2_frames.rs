//! HTTP/2 frames by hand (RFC 9113), for stories that send what no client library would.

use sallyport_testkit::Client;

pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame (section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What a client sends first (section 3.4), with empty settings.
pub(crate) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// A header block for a request, without Huffman coding and the dynamic table (RFC 7541, section 6.2.2).
pub(crate) fn request_block(method: &str, path: &str) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
    pseudo.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// A field as a literal that is not indexed.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        integer(text.len(), &mut bytes);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Reads frames until one of this kind comes (`true`) or the connection ends (`false`).
pub(crate) async fn comes(client: &mut Client, kind: u8) -> bool {
    let mut bytes = Vec::new();
    loop {
        while bytes.len() >= 9 {
            let length =
                9 + usize::from(bytes[0]) * 65536 + usize::from(bytes[1]) * 256 + usize::from(bytes[2]);
            if bytes.len() < length {
                break;
            }
            if bytes[3] == kind {
                return true;
            }
            bytes.drain(..length);
        }
        let more = client.some_bytes().await;
        if more.is_empty() {
            return false;
        }
        bytes.extend(more);
    }
}

/// RFC 7541, section 5.1, with a prefix of seven bits.
fn integer(value: usize, bytes: &mut Vec<u8>) {
    if value < 127 {
        bytes.push(value as u8);
        return;
    }
    bytes.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}
