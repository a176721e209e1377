//! Header names and values as operators write them: checked once at load, cheap to set on each request.
//!
//! Which header is set to what is the filters' affair.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};
use sallyport_config::{Located, Report};

use crate::filter::Fault;
use crate::reply::ProblemKind;

/// Fields that belong to one connection or frame the message (RFC 9110, sections 7.2, 7.6.1 and 8.6; RFC 9112,
/// section 6). A filter that set them could split one message in two, so no configuration may name them.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header name with the case it was written in, which HTTP/1.1 shows to the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName {
    name: HeaderName,
    written: Bytes,
}

impl FieldName {
    /// Reads a name. Anything that is not a token (RFC 9110, section 5.6.2) is reported.
    pub fn parse(text: &Located<String>, report: &mut Report) -> Option<FieldName> {
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
            report
                .error(text.at, format!("`{}` is not a header name", text.value))
                .hint("a name has letters, digits and `-`, such as `X-User-Id`");
            return None;
        };
        Some(FieldName { name, written: Bytes::copy_from_slice(text.as_bytes()) })
    }

    /// Reads the name of a header that is going to be set, added or removed. Names that frame the message or belong
    /// to the connection are reported as well.
    pub fn parse_settable(text: &Located<String>, report: &mut Report) -> Option<FieldName> {
        let field = FieldName::parse(text, report)?;
        if RESERVED.contains(&field.name.as_str()) {
            let mut message =
                format!("`{}` belongs to the connection and cannot be changed here", text.value);
            if field.name == http::header::HOST {
                message.push_str("; a `rewrite` filter sets the host");
            }
            report.error(text.at, message);
            return None;
        }
        Some(field)
    }

    /// A name that is known to be one, as its case should be on the wire.
    pub fn from_static(written: &'static str) -> Option<FieldName> {
        let name = HeaderName::from_bytes(written.as_bytes()).ok()?;
        Some(FieldName { name, written: Bytes::from_static(written.as_bytes()) })
    }

    /// The name, for comparing and looking up.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Sets the field of a request, in place of every value it has.
    ///
    /// # Errors
    /// More fields than a head can hold.
    pub fn set_on_request(&self, head: &mut RequestHeader, value: HeaderValue) -> Result<(), Fault> {
        head.insert_header(self.written.clone(), value).map_err(|_| overfull())
    }

    /// Adds a field to a request, behind the values it has.
    ///
    /// # Errors
    /// More fields than a head can hold.
    pub fn add_to_request(&self, head: &mut RequestHeader, value: HeaderValue) -> Result<(), Fault> {
        head.append_header(self.written.clone(), value).map(|_| ()).map_err(|_| overfull())
    }

    /// Sets the field of a response, in place of every value it has.
    ///
    /// # Errors
    /// More fields than a head can hold.
    pub fn set_on_response(&self, head: &mut ResponseHeader, value: HeaderValue) -> Result<(), Fault> {
        head.insert_header(self.written.clone(), value).map_err(|_| overfull())
    }

    /// Adds a field to a response, behind the values it has.
    ///
    /// # Errors
    /// More fields than a head can hold.
    pub fn add_to_response(&self, head: &mut ResponseHeader, value: HeaderValue) -> Result<(), Fault> {
        head.append_header(self.written.clone(), value).map(|_| ()).map_err(|_| overfull())
    }
}

/// Reads a header value: visible ASCII, blanks and tabs inside (RFC 9110, section 5.5). Anything else is reported.
pub fn parse_value(text: &Located<String>, report: &mut Report) -> Option<HeaderValue> {
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let value = HeaderValue::from_str(text).ok().filter(|_| visible && text.trim() == text.value);
    if value.is_none() {
        report
            .error(text.at, "this is not a header value")
            .hint("a value is one line of visible ASCII, without blanks at its ends");
    }
    value
}

/// The fault of a head that takes no further field.
pub(crate) fn overfull() -> Fault {
    Fault::new(ProblemKind::Internal, "the head has more fields than can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(text: &str) -> String {
        let mut report = Report::default();
        assert!(
            FieldName::parse_settable(&Located::nowhere(text.to_owned()), &mut report).is_none(),
            "{text}"
        );
        report.to_string()
    }

    /// RFC 9112, section 11.2 (request smuggling): no setting may touch what frames a message.
    #[test]
    fn framing_and_connection_headers_are_refused_in_any_case() {
        for name in
            ["Content-Length", "transfer-encoding", "CONNECTION", "Te", "Upgrade", "Trailer", "Keep-Alive"]
        {
            assert!(errors_of(name).contains("belongs to the connection"), "{name}");
        }
        assert!(errors_of("Host").contains("`rewrite` filter"));
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        for name in ["", "a b", "a:b", "a\r\nb", "ä"] {
            assert!(errors_of(name).contains("is not a header name"), "{name:?}");
        }
    }

    #[test]
    fn values_that_could_split_a_head_are_refused() {
        for value in ["a\r\nb: c", "a\nb", "a\0", " a", "a ", "ü"] {
            let mut report = Report::default();
            assert!(parse_value(&Located::nowhere(value.to_owned()), &mut report).is_none(), "{value:?}");
            assert!(!report.is_empty());
        }
    }

    #[test]
    fn the_written_case_goes_on_the_wire() {
        let mut report = Report::default();
        let field = FieldName::parse(&Located::nowhere("X-User-ID".to_owned()), &mut report).unwrap();
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        field.set_on_request(&mut head, HeaderValue::from_static("1")).unwrap();
        field.add_to_request(&mut head, HeaderValue::from_static("2")).unwrap();
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        assert_eq!(wire, b"X-User-ID: 1\r\nX-User-ID: 2\r\n");
    }
}
