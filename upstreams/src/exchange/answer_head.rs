//! The head of an HTTP/1.1 upstream's answer, read.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, StatusCode, Version, header};
use httparse::{ParserConfig, Status};
use pingora_error::{Error, ErrorType, OrErr, Result};

/// Fields of a head.
const FIELDS_MAX: usize = 256;
/// Room for what filters set, so that the map need not grow.
const FIELDS_TO_COME: usize = 20;

/// Reads a whole head; the second of the pair is its reason phrase, if that is not the usual one. Values are parts of the
/// bytes, not copies.
///
/// As lenient as RFC 9112, section 5.2 lets a proxy be with answers: folded lines and blanks before a colon.
///
/// # Errors
/// It is no head, or has more fields than are read.
pub(super) fn parse(bytes: Bytes) -> Result<(Parts, Option<String>)> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let mut parser = ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let parsed = parser.parse_response_with_uninit_headers(&mut answer, &bytes, &mut fields);
    if !matches!(parsed, Ok(Status::Complete(_))) {
        return Err(malformed("a malformed head"));
    }
    let (mut head, ()) = http::Response::new(()).into_parts();
    let status = StatusCode::from_u16(answer.code.unwrap_or_default());
    head.status = status.or_err(ErrorType::InvalidHTTPHeader, "no status")?;
    head.version = if answer.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    head.headers = HeaderMap::with_capacity(answer.headers.len() + FIELDS_TO_COME);
    for field in answer.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = pingora_http::header_value_from_raw(bytes.slice_ref(field.value));
        head.headers.append(name.or_err(ErrorType::InvalidHTTPHeader, "the name of a field")?, value);
    }
    let reason = answer.reason.filter(|reason| Some(*reason) != head.status.canonical_reason());
    Ok((head, reason.map(str::to_owned)))
}

/// Whether the connection may serve another exchange (RFC 9112, section 9.3).
pub(super) fn keeps(headers: &HeaderMap, version: Version) -> bool {
    let says = |word: &[u8]| {
        let options = headers.get_all(header::CONNECTION).iter();
        options
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(word))
    };
    !says(b"close") && (version == Version::HTTP_11 || says(b"keep-alive"))
}

/// The length that a head promises. The same length said more than once is one length (RFC 9110, section 8.6).
///
/// # Errors
/// What is no length, or several of them: nobody knows where such a message ends.
pub(super) fn length_of(headers: &HeaderMap) -> Result<Option<u64>> {
    let mut length = None;
    let values = headers.get_all(header::CONTENT_LENGTH).iter();
    for text in values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')) {
        let text = text.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let number = digits.then(|| std::str::from_utf8(text).ok()?.parse::<u64>().ok()).flatten();
        let number = number.ok_or_else(|| malformed("a length that is none"))?;
        if length.is_some_and(|other| other != number) {
            return Err(malformed("more than one length"));
        }
        length = Some(number);
    }
    Ok(length)
}

/// What an upstream sent is not HTTP.
pub(super) fn malformed(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what)
}
