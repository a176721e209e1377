//! One canonical form of a path: what is matched, authorised and forwarded.
//!
//! Two programs that read a path differently are how an edge is walked round, so the edge settles what a path means
//! before anything looks at it, and forwards that. Queries are not touched here; how long a head may be is the
//! listener's limit.

use std::borrow::Cow;

use sallyport_config::route::EncodedSlashes;
use sallyport_filters::ProblemKind;

/// The most bytes of a canonical path: path parameters are kept as 16-bit ranges of it.
pub const PATH_BYTES_MAX: usize = u16::MAX as usize;

/// A path in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical<'a> {
    /// The path. Borrowed where it came in canonical form already.
    pub path: Cow<'a, str>,
    /// Whether it has `%2F` or `%5C`. Whether that is allowed is the route's decision, see [`Canonical::under`].
    pub encoded_slashes: bool,
}

/// Why a path has no canonical form, or not one that the edge lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathError {
    /// It does not start with `/` (RFC 3986, section 3.3: path-absolute).
    NotAbsolute,
    /// A raw byte that no URI may hold: a control, a space, `#`, `?`, or anything beyond ASCII (RFC 3986, section 2).
    RawCharacter,
    /// A raw backslash, which some servers take for a slash.
    Backslash,
    /// `%` without two hexadecimal digits behind it (RFC 3986, section 2.1).
    InvalidEscape,
    /// `%00`, which ends the path for programs written in C.
    EncodedNul,
    /// `..` leads above the root.
    AboveRoot,
    /// `..` next to an encoded slash: a server that decodes first would climb where the edge sees one segment.
    HiddenDotSegment,
    /// `%2F` or `%5C` on a route that refuses them.
    EncodedSlash,
    /// Longer than [`PATH_BYTES_MAX`].
    TooLong,
}

impl PathError {
    /// What the client is told: 414 for a path that is too long, else 400.
    pub fn kind(self) -> ProblemKind {
        match self {
            PathError::TooLong => ProblemKind::UriTooLong,
            _ => ProblemKind::BadRequest,
        }
    }

    /// One English clause for the client and the log. It never quotes the path.
    pub fn detail(self) -> &'static str {
        match self {
            PathError::NotAbsolute => "the path does not start with a slash",
            PathError::RawCharacter => "the path holds a character that must be percent-encoded",
            PathError::Backslash => "the path holds a backslash",
            PathError::InvalidEscape => "the path holds an invalid percent-encoding",
            PathError::EncodedNul => "the path holds an encoded NUL",
            PathError::AboveRoot => "the path leads above the root",
            PathError::HiddenDotSegment => "the path holds `..` next to an encoded slash",
            PathError::EncodedSlash => "the path holds an encoded slash or backslash",
            PathError::TooLong => "the path is too long",
        }
    }
}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for PathError {}

impl<'a> Canonical<'a> {
    /// The path, if a route with this policy takes it.
    ///
    /// # Errors
    /// [`PathError::EncodedSlash`].
    pub fn under(self, policy: EncodedSlashes) -> Result<Cow<'a, str>, PathError> {
        match policy {
            EncodedSlashes::Refuse if self.encoded_slashes => Err(PathError::EncodedSlash),
            EncodedSlashes::Refuse | EncodedSlashes::Keep => Ok(self.path),
        }
    }
}

/// The canonical form of a path as it stands in the request target, without the query.
///
/// Unreserved characters are decoded, other escapes written in upper case (RFC 3986, section 6.2.2), characters that
/// belong escaped are (`|` becomes `%7C`). Then slashes that follow each other are merged, and then dot segments, however
/// they were encoded, removed (section 5.2.4); `/a/..//..` thus leads above the root and is refused. `;` and encoded
/// slashes stay as they are. A path already canonical is scanned once and not copied.
///
/// # Errors
/// See [`PathError`]; all but `EncodedSlash`, which [`Canonical::under`] decides.
pub fn canonical(raw: &str) -> Result<Canonical<'_>, PathError> {
    let bytes = raw.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let (path, encoded_slashes) = match scan(bytes) {
        Some(encoded_slashes) => (Cow::Borrowed(raw), encoded_slashes),
        None => {
            let (path, encoded_slashes) = rewrite(bytes)?;
            (Cow::Owned(path), encoded_slashes)
        }
    };
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    if encoded_slashes && hides_dots(path.as_bytes()) {
        return Err(PathError::HiddenDotSegment);
    }
    Ok(Canonical { path, encoded_slashes })
}

/// Whether a path is in canonical form, and if so, whether it has encoded slashes.
fn scan(bytes: &[u8]) -> Option<bool> {
    let mut encoded_slashes = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match CLASS[usize::from(byte)] {
            Class::Plain => {}
            Class::Slash if starts_plainly(&bytes[at..]) => {}
            Class::Percent => {
                let decoded = canonical_escape(bytes.get(at..at + 2)?)?;
                encoded_slashes |= is_slash(decoded);
                at += 2;
            }
            _ => return None,
        }
    }
    Some(encoded_slashes)
}

/// Whether what follows a slash is neither another slash nor a dot segment.
fn starts_plainly(rest: &[u8]) -> bool {
    let rest = match rest {
        [b'/', ..] => return false,
        [b'.', b'.', rest @ ..] | [b'.', rest @ ..] => rest,
        _ => return true,
    };
    !matches!(rest, [] | [b'/', ..])
}

/// The byte behind an escape that is as it should be: upper case, needed, and not NUL.
fn canonical_escape(digits: &[u8]) -> Option<u8> {
    if digits.iter().any(u8::is_ascii_lowercase) {
        return None;
    }
    unescape(digits).filter(|&byte| byte != 0 && !is_unreserved(byte))
}

/// Brings a path into canonical form.
fn rewrite(bytes: &[u8]) -> Result<(String, bool), PathError> {
    let mut path = String::with_capacity(bytes.len() + 16);
    let mut encoded_slashes = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match CLASS[usize::from(byte)] {
            Class::Plain => path.push(char::from(byte)),
            Class::Slash => end_segment(&mut path, true)?,
            Class::Percent => {
                let decoded = bytes.get(at..at + 2).and_then(unescape).ok_or(PathError::InvalidEscape)?;
                at += 2;
                match decoded {
                    0 => return Err(PathError::EncodedNul),
                    decoded if is_unreserved(decoded) => path.push(char::from(decoded)),
                    decoded => push_escape(&mut path, decoded),
                }
                encoded_slashes |= is_slash(decoded);
            }
            Class::Escaped => push_escape(&mut path, byte),
            Class::Backslash => return Err(PathError::Backslash),
            Class::Never => return Err(PathError::RawCharacter),
        }
        // An escape makes three bytes of one: stop before a hostile path grows beyond what could be kept.
        if path.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
    }
    end_segment(&mut path, false)?;
    // A segment with an encoded slash may have been removed again by `..`.
    let encoded_slashes = encoded_slashes && (path.contains("%2F") || path.contains("%5C"));
    Ok((path, encoded_slashes))
}

/// Settles the last segment of `path`, which is complete: removes it if it is a dot segment, and its parent if it is
/// `..`. With `slash`, a slash follows.
fn end_segment(path: &mut String, slash: bool) -> Result<(), PathError> {
    let start = path.rfind('/').map_or(0, |slash| slash + 1);
    match &path[start..] {
        "." => path.truncate(start),
        ".." => {
            let parent = start.checked_sub(1).and_then(|end| path[..end].rfind('/'));
            path.truncate(parent.ok_or(PathError::AboveRoot)? + 1);
        }
        _ => {}
    }
    if slash && !path.ends_with('/') {
        path.push('/');
    }
    Ok(())
}

/// Whether a piece between two slashes, one of them encoded, is `..`.
fn hides_dots(path: &[u8]) -> bool {
    let is_end =
        |rest: &[u8]| matches!(rest, [] | [b'/', ..] | [b'%', b'2', b'F', ..] | [b'%', b'5', b'C', ..]);
    let is_start =
        |before: &[u8]| matches!(before, [.., b'/'] | [.., b'%', b'2', b'F'] | [.., b'%', b'5', b'C']);
    let pairs = memchr::memmem::find_iter(path, b"..");
    // Dots that stand closer (`...`) are found once and fail both tests, as they should.
    pairs.into_iter().any(|at| is_start(&path[..at]) && is_end(&path[at + 2..]))
}

fn push_escape(path: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    path.push('%');
    path.push(char::from(DIGITS[usize::from(byte >> 4)]));
    path.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn unescape(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match *digits {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}

fn is_slash(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// RFC 3986, section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a raw byte means in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// RFC 3986, section 3.3: pchar, less the percent sign.
    Plain,
    Slash,
    Percent,
    /// Visible, no part of a URI, and yet sent raw by browsers (URL standard, path percent-encode set).
    Escaped,
    Backslash,
    Never,
}

const CLASS: [Class; 256] = {
    let mut table = [Class::Never; 256];
    let mut byte: u8 = 0x21;
    while byte < 0x7F {
        table[byte as usize] = match byte {
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'\\' => Class::Backslash,
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Escaped,
            b'#' | b'?' => Class::Never,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests;
