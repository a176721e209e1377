//! The check of a head that HTTP/2 has parsed (RFC 9113, section 8).

use http::header::{self, HeaderName};
use http::{Method, Version};
use pingora_http::RequestHeader;

use super::fields::{allows_underscores, check_expect, content_length};
use super::request_line::is_target_byte;
use super::{Authority, HeadError, HeadLimits, trim};

/// Checks the head of an HTTP/2 request by the rules of [`check`](super::check), as far as they have a meaning there.
///
/// # Errors
/// The first thing that is wrong. Only the stream is at fault; the connection can go on.
pub fn check_parsed(head: &RequestHeader, limits: &HeadLimits) -> Result<(), HeadError> {
    if head.version != Version::HTTP_2 {
        return Err(HeadError::BadVersion);
    }
    if head.method == Method::CONNECT {
        return Err(HeadError::ConnectRefused);
    }
    check_target(head)?;
    if head.headers.len() > limits.fields {
        return Err(HeadError::TooManyFields);
    }
    if !head.headers.keys().all(|name| allows_underscores(name.as_str().as_bytes(), limits)) {
        return Err(HeadError::Underscore);
    }
    check_host(head)?;
    check_connection(head)?;
    for value in head.headers.get_all(header::EXPECT) {
        check_expect(trim(value.as_bytes()))?;
    }
    if let Some(length) = single(head, &header::CONTENT_LENGTH, HeadError::ContentLengthTwice)? {
        content_length(length).ok_or(HeadError::BadContentLength)?;
    }
    Ok(())
}

/// RFC 9113, section 8.3.1: `:path` is not empty, and `*` is for OPTIONS; `:scheme` is one that the edge serves.
fn check_target(head: &RequestHeader) -> Result<(), HeadError> {
    if head.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(HeadError::BadScheme);
    }
    let target = head.raw_path();
    if !target.iter().all(|&byte| is_target_byte(byte)) {
        return Err(HeadError::BadTarget);
    }
    match target {
        [b'/', ..] => Ok(()),
        b"*" if head.method == Method::OPTIONS => Ok(()),
        _ => Err(HeadError::BadTargetForm),
    }
}

/// RFC 9113, section 8.3.1: one host, whichever field names it, and the same in both.
fn check_host(head: &RequestHeader) -> Result<(), HeadError> {
    let host = single(head, &header::HOST, HeadError::HostTwice)?;
    let host = host.map(|host| Authority::parse(host).ok_or(HeadError::BadHost)).transpose()?;
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let authority =
        authority.map(|authority| Authority::parse(authority).ok_or(HeadError::BadHost)).transpose()?;
    let default_port = head.uri.scheme_str().map(|scheme| if scheme == "https" { 443 } else { 80 });
    match (authority, host) {
        (None, None) => Err(HeadError::HostMissing),
        (Some(authority), Some(host)) if !authority.agrees(host, default_port) => {
            Err(HeadError::HostDisagrees)
        }
        _ => Ok(()),
    }
}

/// RFC 9113, section 8.2.2.
fn check_connection(head: &RequestHeader) -> Result<(), HeadError> {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    const REFUSED: [HeaderName; 5] =
        [header::CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE];
    if REFUSED.iter().any(|name| head.headers.contains_key(name)) {
        return Err(HeadError::ConnectionSpecific);
    }
    let te = head.headers.get_all(header::TE).iter();
    if te.into_iter().any(|value| !trim(value.as_bytes()).eq_ignore_ascii_case(b"trailers")) {
        return Err(HeadError::BadTe);
    }
    Ok(())
}

/// The value of a field that may stand there once.
fn single<'a>(
    head: &'a RequestHeader,
    name: &HeaderName,
    twice: HeadError,
) -> Result<Option<&'a [u8]>, HeadError> {
    let mut values = head.headers.get_all(name).iter();
    let first = values.next().map(|value| trim(value.as_bytes()));
    if values.next().is_some() { Err(twice) } else { Ok(first) }
}
