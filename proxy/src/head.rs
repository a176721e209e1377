//! The strict check of a request head, before anything else reads it.
//!
//! Over HTTP/1 the raw bytes are checked, because Pingora forgives what RFC 9112 lets a server forgive: bare LF, two equal
//! Content-Length fields, Content-Length next to Transfer-Encoding, characters in the target that it then escapes. Two
//! parsers that forgive differently are how requests are smuggled, so this one forgives nothing. Over HTTP/2 the framing
//! is the protocol's own, and the same rules are checked on the parsed head.
//!
//! Nothing here reads a socket, allocates, or looks at what a route or filter wants.

mod authority;
mod error;
mod fields;
mod parsed;
mod request_line;

pub use authority::Authority;
pub use error::HeadError;
pub use parsed::check_parsed;
pub use sallyport_wire::{Framing, find_end};

use fields::Fields;
use request_line::RequestLine;

/// Limits on a head that its listener sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The most header fields.
    pub fields: usize,
    /// Whether names with `_` pass. Those that would then read as a framing header never do.
    pub allow_underscores: bool,
}

/// What is wrong with a head that is longer than its listener reads: the target, if even the first line has no end in
/// as many bytes as the listener reads, else the fields.
pub fn oversized(buffer: &[u8]) -> HeadError {
    let line = buffer.strip_prefix(b"\r\n").unwrap_or(buffer);
    match memchr::memchr(b'\n', line) {
        None => HeadError::TargetTooLong,
        Some(_) => HeadError::HeadTooLarge,
    }
}

/// Checks a raw HTTP/1 head, from its first byte to the end of its empty line, and says how the body is framed.
///
/// One empty line before the request line is ignored (RFC 9112, section 2.2, asks for at least one: some old clients
/// send CRLF behind a body); a second one is refused.
///
/// # Errors
/// The first thing that is wrong. The connection cannot be used for another request then, because where this one ends
/// is not certain.
pub fn check(head: &[u8], limits: &HeadLimits) -> Result<Framing, HeadError> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let (line, rest) = next_line(head)?;
    let request = RequestLine::parse(line)?;
    let fields = Fields::parse(rest, limits)?;
    request.check_host(fields.host)?;
    fields.framing(request.version)
}

/// An HTTP/1 version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// Splits at the first line end, which must be CRLF (RFC 9112, section 2.2: a bare CR or LF is not one).
fn next_line(bytes: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    let end = memchr::memchr(b'\n', bytes).ok_or(HeadError::Incomplete)?;
    let line = bytes[..end].strip_suffix(b"\r").ok_or(HeadError::BareLineFeed)?;
    Ok((line, &bytes[end + 1..]))
}

/// RFC 9110, section 5.6.2: the characters of a token, by byte.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0x21;
    while byte < 0x7F {
        let separator = matches!(
            byte,
            b'"' | b'('
                | b')'
                | b','
                | b'/'
                | b':'
                | b';'
                | b'<'
                | b'='
                | b'>'
                | b'?'
                | b'@'
                | b'['
                | b'\\'
                | b']'
                | b'{'
                | b'}'
        );
        table[byte as usize] = !separator;
        byte += 1;
    }
    table
};

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// Removes optional whitespace (RFC 9110, section 5.6.3) around a field's value.
fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests;
