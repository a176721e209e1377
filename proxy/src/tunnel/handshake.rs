//! The opening handshake, both ways: what a client must ask (RFC 6455, section 4.2.1) and what an upstream must answer
//! (section 4.1).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora_http::{RequestHeader, ResponseHeader};
use sallyport_filters::{ProblemKind, Reply};

/// RFC 6455, section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const VERSION: &str = "13";
const KEY_BYTES: usize = 16;

/// What the head of a request says about upgrading. Noted before the fields that say it are deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing, or nothing that counts: HTTP/1.0 cannot upgrade (RFC 9110, section 7.8), HTTP/2 has no `Upgrade`.
    #[default]
    Nothing,
    /// A WebSocket.
    WebSocket {
        /// Whether `Connection` says so too, as it must.
        nominated: bool,
    },
}

/// What a client asks for.
pub(crate) fn asked(head: &RequestHeader) -> Asked {
    if head.version == Version::HTTP_11 && lists(&head.headers, &UPGRADE, "websocket") {
        Asked::WebSocket { nominated: lists(&head.headers, &CONNECTION, "upgrade") }
    } else {
        Asked::Nothing
    }
}

/// The answer to a client's key: the `Sec-WebSocket-Accept` of the server that has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accept(String);

impl Accept {
    fn of(key: &[u8]) -> Accept {
        Accept(STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID.as_bytes()].concat())))
    }

    /// As a field's value.
    pub(super) fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

/// Checks a handshake strictly.
///
/// # Errors
/// The answer: 426 where only the version is wrong, else 400.
pub(super) fn check(head: &RequestHeader, nominated: bool) -> Result<Accept, Reply> {
    let refuse = |detail: &'static str| Err(Reply::problem(ProblemKind::BadRequest, detail));
    if head.method != Method::GET {
        return refuse("a WebSocket is opened with GET");
    }
    if !nominated {
        return refuse("the Connection header field of a WebSocket handshake must name `upgrade`");
    }
    let length = head.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if length || head.headers.contains_key(TRANSFER_ENCODING) {
        return refuse("a WebSocket handshake has no body");
    }
    if single(&head.headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        let reply =
            Reply::problem(ProblemKind::UpgradeRequired, "only version 13 of WebSocket is spoken here");
        return Err(reply
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION))
            .header(UPGRADE, HeaderValue::from_static("websocket")));
    }
    let key = single(&head.headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    match key {
        Some(key) => Ok(Accept::of(key.as_bytes())),
        None => refuse("Sec-WebSocket-Key must be 16 bytes in base64"),
    }
}

fn is_key(key: &[u8]) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

/// Whether an upstream's 101 answers this request.
///
/// # Errors
/// What is wrong with it, for the operator.
pub(super) fn confirm(
    answer: &ResponseHeader,
    request: &RequestHeader,
    accept: &Accept,
) -> Result<(), &'static str> {
    if answer.version != Version::HTTP_11 {
        return Err("the upstream's 101 is not HTTP/1.1");
    }
    if single(&answer.headers, &UPGRADE).is_none_or(|to| !to.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err("the upstream's 101 does not upgrade to `websocket`");
    }
    if !lists(&answer.headers, &CONNECTION, "upgrade") {
        return Err("the Connection header field of the upstream's 101 does not name `upgrade`");
    }
    if single(&answer.headers, &SEC_WEBSOCKET_ACCEPT).is_none_or(|given| given != accept.0.as_str()) {
        return Err("the upstream's Sec-WebSocket-Accept does not answer the key");
    }
    if answer.headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        let chosen = single(&answer.headers, &SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
        if chosen.is_none_or(|chosen| !offers(&request.headers, chosen)) {
            return Err("the upstream chose a subprotocol that the client does not offer");
        }
    }
    Ok(())
}

/// Whether a client offers this subprotocol. Case counts (RFC 6455, section 4.1).
pub(super) fn offers(headers: &HeaderMap, protocol: &[u8]) -> bool {
    elements(headers, &SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == protocol)
}

/// The head of a 101 on the wire.
pub(super) fn wire(head: &mut ResponseHeader) -> Vec<u8> {
    // Static names and values cannot be refused.
    let _ = head.insert_header(UPGRADE, HeaderValue::from_static("websocket"));
    let _ = head.insert_header(CONNECTION, HeaderValue::from_static("Upgrade"));
    let _ = head.set_status(StatusCode::SWITCHING_PROTOCOLS);
    // RFC 9110, section 8.6: a 101 has no length.
    head.remove_header(&CONTENT_LENGTH);
    head.remove_header(&TRANSFER_ENCODING);
    let mut wire = bytes::BytesMut::from(&b"HTTP/1.1 101 Switching Protocols\r\n"[..]);
    head.header_to_h1_wire(&mut wire);
    wire.extend_from_slice(b"\r\n");
    wire.to_vec()
}

/// The only value of a field.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a list field has this element, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    elements(headers, name).any(|listed| listed.eq_ignore_ascii_case(element.as_bytes()))
}

fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn request(changes: &[(&'static str, Option<&str>)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ] {
            head.insert_header(name, value).unwrap();
        }
        for (name, value) in changes {
            head.remove_header(*name);
            if let Some(value) = value {
                head.insert_header(*name, *value).unwrap();
            }
        }
        head
    }

    fn answer(changes: &[(&'static str, Option<&str>)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(101, None).unwrap();
        for (name, value) in
            [("upgrade", "WebSocket"), ("connection", "upgrade"), ("sec-websocket-accept", ACCEPT)]
        {
            head.insert_header(name, value).unwrap();
        }
        for (name, value) in changes {
            head.remove_header(*name);
            if let Some(value) = value {
                head.insert_header(*name, *value).unwrap();
            }
        }
        head
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        assert_eq!(check(&request(&[]), true).unwrap(), Accept(ACCEPT.to_owned()));
    }

    #[test]
    fn what_asks_for_a_websocket_and_what_does_not() {
        assert_eq!(asked(&request(&[])), Asked::WebSocket { nominated: true });
        assert_eq!(
            asked(&request(&[("upgrade", Some("h2c, WebSocket"))])),
            Asked::WebSocket { nominated: true }
        );
        assert_eq!(asked(&request(&[("connection", Some("close"))])), Asked::WebSocket { nominated: false });
        assert_eq!(asked(&request(&[("upgrade", Some("h2c"))])), Asked::Nothing);
        assert_eq!(asked(&request(&[("upgrade", None)])), Asked::Nothing);
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut head = request(&[]);
            head.set_version(version);
            assert_eq!(asked(&head), Asked::Nothing, "{version:?}");
        }
    }

    /// RFC 6455, section 4.2.1.
    #[test]
    fn a_malformed_handshake_is_refused() {
        let (key, version) = ("sec-websocket-key", "sec-websocket-version");
        for (changes, status) in [
            (&[(key, None)][..], 400),
            (&[(key, Some("dGhlIHNhbXBsZSBub25jZQ"))], 400),
            (&[(key, Some("c2hvcnQ="))], 400),
            (&[(key, Some("dGhlIHNhbXBsZSBub25jZSBpcyBsb25n"))], 400),
            (&[("transfer-encoding", Some("chunked"))], 400),
            (&[("content-length", Some("5"))], 400),
            (&[(version, None)], 426),
            (&[(version, Some("8"))], 426),
            (&[(version, Some("13, 8"))], 426),
        ] {
            let refused = check(&request(changes), true).unwrap_err();
            assert_eq!(refused.status, status, "{changes:?}");
        }
        assert_eq!(check(&request(&[]), false).unwrap_err().status, 400);
        assert!(check(&request(&[("content-length", Some("0"))]), true).is_ok());
        let mut head = request(&[]);
        head.set_method(Method::POST);
        assert_eq!(check(&head, true).unwrap_err().status, 400);
        let mut head = request(&[]);
        head.append_header(key, KEY).unwrap();
        assert_eq!(check(&head, true).unwrap_err().status, 400, "two keys");
    }

    /// RFC 6455, section 4.1, the server's answer.
    #[test]
    fn an_answer_that_does_not_confirm_is_refused() {
        let asked = request(&[("sec-websocket-protocol", Some("chat, superchat"))]);
        let confirm = |answer: &ResponseHeader| confirm(answer, &asked, &Accept(ACCEPT.to_owned()));
        assert_eq!(confirm(&answer(&[])), Ok(()));
        assert_eq!(confirm(&answer(&[("sec-websocket-protocol", Some("superchat"))])), Ok(()));
        for changes in [
            ("upgrade", None),
            ("upgrade", Some("h2c")),
            ("connection", None),
            ("connection", Some("close")),
            ("sec-websocket-accept", None),
            ("sec-websocket-accept", Some("S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")),
            ("sec-websocket-protocol", Some("other")),
            ("sec-websocket-protocol", Some("Chat")),
            ("sec-websocket-protocol", Some("chat, superchat")),
        ] {
            assert!(confirm(&answer(&[changes])).is_err(), "{changes:?}");
        }
    }

    #[test]
    fn a_101_says_that_it_upgrades_and_has_no_length() {
        let mut head = answer(&[("content-length", Some("7"))]);
        let wire = String::from_utf8(wire(&mut head)).unwrap().to_lowercase();
        assert!(
            wire.starts_with("http/1.1 101 switching protocols\r\n") && wire.ends_with("\r\n\r\n"),
            "{wire}"
        );
        assert!(
            wire.contains("\r\nupgrade: websocket\r\n") && wire.contains("\r\nconnection: upgrade\r\n"),
            "{wire}"
        );
        assert!(!wire.contains("content-length"), "{wire}");
    }
}
