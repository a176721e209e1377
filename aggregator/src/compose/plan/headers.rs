//! `headers` of a branch: which of the client's headers go along with a call.

use http::{HeaderName, header};
use sallyport_config::{Located, Report};

/// What belongs to one connection or one message (RFC 9110, sections 7.6.1, 7.8, 8.6, 10.1.1 and 11.7.2; RFC 9112, section 6).
const OF_THE_MESSAGE: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// What would make a service answer with a part, or with nothing but a status (RFC 9110, sections 13.1 and 14.2).
const OF_PARTS: [&str; 6] =
    ["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"];

/// What every call carries anyway.
const ALWAYS: [&str; 2] = ["traceparent", "x-request-id"];

/// Reads the list. Every name that cannot be in it is told.
pub(super) fn compile(names: &[Located<String>], report: &mut Report) -> Option<Box<[HeaderName]>> {
    let mut compiled: Vec<HeaderName> = Vec::with_capacity(names.len());
    let mut sound = true;
    for written in names {
        match one(written, &compiled) {
            Ok(name) => compiled.push(name),
            Err((message, hint)) => {
                report.error(written.at, message).hint(hint);
                sound = false;
            }
        }
    }
    sound.then(|| compiled.into())
}

fn one(written: &Located<String>, before: &[HeaderName]) -> Result<HeaderName, (String, &'static str)> {
    let Ok(name) = HeaderName::from_bytes(written.as_bytes()) else {
        let hint = "a name is made of letters, digits and `-`, such as `Accept-Language`";
        return Err((format!("`{}` is not a header name", written.value), hint));
    };
    let text = name.as_str();
    let refused = |why: &str, hint| Err((format!("`{}` {why}", written.value), hint));
    if OF_THE_MESSAGE.contains(&text) {
        return refused(
            "cannot go along with a call",
            "it belongs to the client's own connection or message",
        );
    }
    if OF_PARTS.contains(&text) {
        return refused(
            "cannot go along with a call",
            "a branch needs the whole of what it asks for, whatever the client asks for of the composed answer",
        );
    }
    if name == header::ACCEPT_ENCODING {
        return refused(
            "cannot go along with a call",
            "results are put together as they are, so they come unencoded",
        );
    }
    if text.starts_with("sallyport-") {
        return refused(
            "is between the parts of Sallyport",
            "identity goes along by the headers that filters set",
        );
    }
    if text.starts_with("x-forwarded-") || ALWAYS.contains(&text) {
        return refused("goes along always", "leave it out");
    }
    if text.starts_with("content-") {
        return refused("goes with the client's body", "`body: request` carries it along; leave it out");
    }
    if before.contains(&name) {
        return refused("stands here twice", "names of headers are the same in any case");
    }
    Ok(name)
}
