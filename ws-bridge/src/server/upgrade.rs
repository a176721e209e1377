//! The opening handshake of a WebSocket, all of RFC 6455, section 4.2.1, again: the edge is not the only thing that could
//! be wrong. The origin is the edge's to check.
//!
//! fastwebsockets looks at the key's presence and the version only, so nothing of its handshake is used.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use log::debug;
use sallyport_sidecar::Refusal;
use tokio::net::UnixStream;

use super::Carry;
use super::answer::Body;

/// The subprotocol spoken here; a client that names none gets none, and speaks it nevertheless.
const PROTOCOL: &str = "centrifuge-json";
/// What a server appends to the key before it hashes it (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether the request asks to go on as a WebSocket. Another protocol in `Upgrade` is ignored (RFC 9110, section 7.8).
pub(super) fn is_wanted<B>(request: &Request<B>) -> bool {
    has_token(request.headers(), header::UPGRADE, "websocket")
}

/// Checks the handshake and makes the answer to it.
pub(super) fn check(request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let headers = request.headers();
    if *request.method() != Method::GET {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "a WebSocket is opened with GET",
        ));
    }
    if request.version() != Version::HTTP_11 {
        return Err(Refusal::bad_request("a WebSocket is opened with HTTP/1.1"));
    }
    if !request.body().is_end_stream() {
        return Err(Refusal::bad_request("a handshake has no body"));
    }
    if !headers.contains_key(header::HOST) {
        return Err(Refusal::bad_request("a handshake names a Host"));
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(Refusal::bad_request("a handshake has Connection: Upgrade"));
    }
    if only(headers, header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        // The answer names the version that is known (section 4.4).
        return Err(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade-required",
            "only version 13 of WebSocket is known",
        ));
    }
    let key = only(headers, header::SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16));
    let Some(key) = key else {
        return Err(Refusal::bad_request("Sec-WebSocket-Key is not one key of 16 bytes in base64"));
    };
    let offered = headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    if offered && !headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().any(offers_protocol) {
        return Err(Refusal::bad_request("of subprotocols, centrifuge-json alone is known"));
    }
    accept(key, offered)
}

/// Gives the connection to `carry` when the answer is written. hyper's part in it ends then.
pub(super) fn hand_over(upgrade: OnUpgrade, carry: Carry) {
    tokio::spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return debug!("a client went away during its handshake: {error}"),
        };
        match upgraded.downcast::<TokioIo<UnixStream>>() {
            Ok(parts) => carry(parts.io.into_inner(), parts.read_buf),
            Err(_) => log::error!("a connection is not the Unix stream that was accepted; it is closed"),
        }
    });
}

/// 101, with the hash of the key.
fn accept(key: &HeaderValue, protocol: bool) -> Result<Response<Body>, Refusal> {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    let hash = HeaderValue::from_str(&STANDARD.encode(hash)).map_err(|error| {
        log::error!("the answer to a key is no header: {error}");
        Refusal::bad_request("the handshake is refused")
    })?;
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, hash);
    if protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(answer)
}

/// Subprotocols compare exactly (RFC 6455, section 4.1).
fn offers_protocol(value: &HeaderValue) -> bool {
    value.as_bytes().split(|&byte| byte == b',').any(|name| name.trim_ascii() == PROTOCOL.as_bytes())
}

fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|name| name.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}
