//! The header fields of HTTP/1, and what they say of the body (RFC 9112, sections 5 and 6).

use super::{Framing, HeadError, HeadLimits, TOKEN, Version, next_line, trim};

/// What the fields say that the rest of the check needs.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
}

impl<'a> Fields<'a> {
    /// Reads every field up to the empty line, which must be the last.
    pub(super) fn parse(mut rest: &'a [u8], limits: &HeadLimits) -> Result<Self, HeadError> {
        let mut fields = Fields::default();
        let mut count = 0;
        loop {
            let (line, behind) = next_line(rest)?;
            rest = behind;
            if line.is_empty() {
                // The caller cuts at the end of the head; bytes behind it were never meant to be checked.
                return if rest.is_empty() { Ok(fields) } else { Err(HeadError::Incomplete) };
            }
            count += 1;
            if count > limits.fields {
                return Err(HeadError::TooManyFields);
            }
            let (name, value) = split_field(line, limits)?;
            fields.note(name, trim(value))?;
        }
    }

    /// Remembers and checks the fields that decide about host and framing.
    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), HeadError> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                once(self.host.replace(value), HeadError::HostTwice)?;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => check_expect(value)?,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = content_length(value).ok_or(HeadError::BadContentLength)?;
                once(self.length.replace(length), HeadError::ContentLengthTwice)?;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::BadTransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// How the body is framed (RFC 9112, sections 6.1 and 6.3).
    pub(super) fn framing(&self, version: Version) -> Result<Framing, HeadError> {
        match (self.chunked, self.length) {
            (true, _) if version == Version::Http10 => Err(HeadError::TransferEncodingInHttp10),
            (true, Some(_)) => Err(HeadError::LengthAndEncoding),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0)) | (false, None) => Ok(Framing::None),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }
}

/// Refuses a field that was there before.
fn once<T>(before: Option<T>, twice: HeadError) -> Result<(), HeadError> {
    if before.is_some() { Err(twice) } else { Ok(()) }
}

/// Splits a line at its colon, and checks every byte of name and value.
fn split_field<'a>(line: &'a [u8], limits: &HeadLimits) -> Result<(&'a [u8], &'a [u8]), HeadError> {
    let end = line.iter().position(|&byte| !TOKEN[usize::from(byte)]).ok_or(HeadError::BadFieldName)?;
    let (name, rest) = line.split_at(end);
    let value = match rest {
        [b':', value @ ..] if !name.is_empty() => value,
        [b' ' | b'\t', ..] if name.is_empty() => return Err(HeadError::ObsoleteFold),
        [b' ' | b'\t', ..] => return Err(HeadError::SpaceBeforeColon),
        _ => return Err(HeadError::BadFieldName),
    };
    if !allows_underscores(name, limits) {
        return Err(HeadError::Underscore);
    }
    // No early end and no branch: the loop over a whole value is done many bytes at a time.
    let is_bad = |byte: u8| u8::from(byte < b' ') & u8::from(byte != b'\t') | u8::from(byte == 0x7F);
    if value.iter().fold(0, |bad, &byte| bad | is_bad(byte)) != 0 {
        return Err(HeadError::BadFieldValue);
    }
    Ok((name, value))
}

/// Whether a name's underscores, if it has any, may pass. What a server that takes `_` for `-` would read as a framing
/// header never may.
pub(super) fn allows_underscores(name: &[u8], limits: &HeadLimits) -> bool {
    const FRAMING: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];
    if memchr::memchr(b'_', name).is_none() {
        return true;
    }
    let reads_as = |framing: &[u8]| {
        let same = |(&byte, &wanted): (&u8, &u8)| {
            byte.to_ascii_lowercase() == wanted || (byte == b'_' && wanted == b'-')
        };
        name.len() == framing.len() && name.iter().zip(framing).all(same)
    };
    limits.allow_underscores && !FRAMING.into_iter().any(reads_as)
}

/// RFC 9110, section 8.6: digits, and no more than the edge can count.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

/// RFC 9110, section 10.1.1.
pub(super) fn check_expect(value: &[u8]) -> Result<(), HeadError> {
    if value.eq_ignore_ascii_case(b"100-continue") { Ok(()) } else { Err(HeadError::BadExpect) }
}
