//! The request line of HTTP/1: method, target, version (RFC 9112, section 3).

use super::{Authority, HeadError, Version, is_token};

/// A request line that is as it should be.
pub(super) struct RequestLine<'a> {
    pub(super) version: Version,
    /// The authority and the scheme's port of a target in absolute form.
    absolute: Option<(Authority<'a>, u16)>,
}

impl<'a> RequestLine<'a> {
    /// Reads a line without its CRLF: exactly one space on either side of the target.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, HeadError> {
        let first = memchr::memchr(b' ', line).ok_or(HeadError::BadRequestLine)?;
        let (method, rest) = (&line[..first], &line[first + 1..]);
        if !is_token(method) {
            return Err(HeadError::BadMethod);
        }
        if method == b"CONNECT" {
            return Err(HeadError::ConnectRefused);
        }
        // The last space, so that a space inside the target is told as what it is.
        let last = memchr::memrchr(b' ', rest).ok_or(HeadError::BadRequestLine)?;
        let (target, version) = (&rest[..last], &rest[last + 1..]);
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            _ if version.starts_with(b"HTTP/") => return Err(HeadError::BadVersion),
            _ => return Err(HeadError::BadRequestLine),
        };
        Ok(RequestLine { version, absolute: check_target(method, target)? })
    }

    /// Checks the one `Host` field against the version and the target (RFC 9112, sections 3.2 and 3.2.2).
    pub(super) fn check_host(&self, host: Option<&[u8]>) -> Result<(), HeadError> {
        let Some(host) = host else {
            return match self.version {
                Version::Http10 => Ok(()),
                Version::Http11 => Err(HeadError::HostMissing),
            };
        };
        let host = Authority::parse(host).ok_or(HeadError::BadHost)?;
        match self.absolute {
            Some((authority, port)) if !authority.agrees(host, Some(port)) => Err(HeadError::HostDisagrees),
            _ => Ok(()),
        }
    }
}

/// Checks a target's bytes and form; answers the authority and default port of an absolute one.
fn check_target<'a>(method: &[u8], target: &'a [u8]) -> Result<Option<(Authority<'a>, u16)>, HeadError> {
    if target.iter().any(|&byte| !is_target_byte(byte)) {
        return Err(HeadError::BadTarget);
    }
    match target {
        [b'/', ..] => Ok(None),
        b"*" if method == b"OPTIONS" => Ok(None),
        _ => {
            let (rest, port) = strip_scheme(target).ok_or(HeadError::BadTargetForm)?;
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let authority = Authority::parse(&rest[..end]).ok_or(HeadError::BadHost)?;
            Ok(Some((authority, port)))
        }
    }
}

fn strip_scheme(target: &[u8]) -> Option<(&[u8], u16)> {
    [(&b"http://"[..], 80), (b"https://", 443)].into_iter().find_map(|(scheme, port)| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some((rest, port))
    })
}

/// Visible ASCII, less what no request target may hold and servers read in two ways.
pub(super) fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#')
}
