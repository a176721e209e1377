//! Where a request may carry a credential, and how it is taken from there. Shared by the filters of stage
//! `Identity`; nothing here knows what a credential means.

use std::borrow::Cow;
use std::ops::Range;

use http::header::{AUTHORIZATION, COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use pingora_http::RequestHeader;

/// A place for a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `Authorization`, behind this scheme.
    Authorization(Box<str>),
    /// The whole value of this header.
    Header(HeaderName),
    /// The cookie of this name.
    Cookie(Box<str>),
    /// The query parameter of this name. It leaves the request's URI as soon as it is looked for, whatever
    /// comes of it, so that it is neither logged nor sent on.
    Query(Box<str>),
}

/// A credential as the client sent it: a part of a header's value. Cloning and holding one copies no bytes.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    value: HeaderValue,
    range: Range<usize>,
}

/// What a search found.
#[derive(Debug)]
pub(crate) enum Found {
    /// No credential.
    Nothing,
    /// One.
    One(Credential),
    /// More than one (RFC 6750, section 2 forbids it): which one counts would be anybody's guess.
    Several,
    /// A place that is there and holds nothing usable.
    Malformed,
}

impl Credential {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.value.as_bytes()[self.range.clone()]
    }

    fn new(value: &HeaderValue, part: &[u8]) -> Option<Credential> {
        let whole = value.as_bytes().as_ptr_range();
        let from = (part.as_ptr() as usize).checked_sub(whole.start as usize)?;
        let range = from..from + part.len();
        (!part.is_empty() && range.end <= value.len()).then(|| Credential { value: value.clone(), range })
    }
}

impl Found {
    fn and(self, other: Found) -> Found {
        match (self, other) {
            (Found::Nothing, found) | (found, Found::Nothing) => found,
            _ => Found::Several,
        }
    }

    fn usable(credential: Option<Credential>) -> Found {
        credential.map_or(Found::Malformed, Found::One)
    }
}

/// Looks for a credential in all of `places`.
pub(crate) fn take(places: &[Place], request: &mut RequestHeader) -> Found {
    // Every place is visited, even after two were found: a query parameter must go in any case.
    places.iter().fold(Found::Nothing, |found, place| found.and(place.take(request)))
}

impl Place {
    fn take(&self, request: &mut RequestHeader) -> Found {
        match self {
            Place::Authorization(scheme) => authorization(scheme, request),
            Place::Header(name) => {
                let values = request.headers.get_all(name).iter();
                values.fold(Found::Nothing, |found, value| {
                    found.and(Found::usable(Credential::new(value, value.as_bytes())))
                })
            }
            Place::Cookie(name) => cookie(name, request),
            Place::Query(name) => query(name, request),
        }
    }

    /// Takes the credential out of a request that goes to an upstream. Leaves an `Authorization` of another
    /// scheme and all other cookies.
    pub(crate) fn strip(&self, head: &mut RequestHeader) {
        match self {
            Place::Authorization(scheme) => {
                let ours = |value: &HeaderValue| after_scheme(scheme, value.as_bytes()).is_some();
                if head.headers.get_all(AUTHORIZATION).iter().any(ours) {
                    head.remove_header(&AUTHORIZATION);
                }
            }
            Place::Header(name) => {
                head.remove_header(name);
            }
            Place::Cookie(name) => strip_cookie(name, head),
            // Gone from the URI since `take`.
            Place::Query(_) => {}
        }
    }
}

/// RFC 9110, section 11.4: scheme, at least one space, credential; the scheme in any case.
fn authorization(scheme: &str, request: &RequestHeader) -> Found {
    let mut values = request.headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Found::Nothing,
        (Some(value), None) => match after_scheme(scheme, value.as_bytes()) {
            None => Found::Nothing,
            Some(rest) => Found::usable(Credential::new(value, rest)),
        },
        (Some(_), Some(_)) => Found::Several,
    }
}

fn after_scheme<'a>(scheme: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    let (head, rest) = value.split_at_checked(scheme.len())?;
    let separate = rest.first().is_none_or(|byte| *byte == b' ');
    (separate && head.eq_ignore_ascii_case(scheme.as_bytes())).then(|| rest.trim_ascii())
}

/// The `name=value` pairs of one Cookie header (RFC 6265, section 4.2.1).
fn cookies(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|byte| *byte == b';').filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|byte| *byte == b'=');
        (!pair.is_empty()).then(|| equals.map_or((&pair[..0], pair), |at| (&pair[..at], &pair[at + 1..])))
    })
}

fn cookie(name: &str, request: &RequestHeader) -> Found {
    let mut found = Found::Nothing;
    for header in request.headers.get_all(COOKIE) {
        for (_, value) in
            cookies(header.as_bytes()).filter(|(key, _)| key.trim_ascii_end() == name.as_bytes())
        {
            let value = value.trim_ascii();
            let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            found = found.and(Found::usable(Credential::new(header, quoted.unwrap_or(value))));
        }
    }
    found
}

/// Leaves one Cookie header with the cookies that remain, as HTTP/1.1 wants it (RFC 9113, section 8.2.3).
fn strip_cookie(name: &str, head: &mut RequestHeader) {
    let mut rest: Vec<u8> = Vec::new();
    let mut stripped = false;
    for header in head.headers.get_all(COOKIE) {
        for (key, value) in cookies(header.as_bytes()) {
            if key.trim_ascii_end() == name.as_bytes() {
                stripped = true;
                continue;
            }
            if !rest.is_empty() {
                rest.extend_from_slice(b"; ");
            }
            if !key.is_empty() {
                rest.extend_from_slice(key);
                rest.push(b'=');
            }
            rest.extend_from_slice(value);
        }
    }
    if !stripped {
        return;
    }
    head.remove_header(&COOKIE);
    if let (false, Ok(value)) = (rest.is_empty(), HeaderValue::from_bytes(&rest)) {
        // A name and a value that are valid already cannot be refused.
        let _ = head.insert_header(COOKIE, value);
    }
}

/// Removes the parameter, whatever it holds. Names are compared decoded, so that no spelling stays in the
/// URI.
fn query(name: &str, request: &mut RequestHeader) -> Found {
    let Some(query) = request.uri.query() else { return Found::Nothing };
    let key = |pair: &str| {
        form_decoded(pair.split_once('=').map_or(pair, |(key, _)| key)).as_ref() == name.as_bytes()
    };
    if !query.split('&').any(key) {
        return Found::Nothing;
    }
    let mut found = Found::Nothing;
    let mut rest = request.uri.path().to_owned();
    let mut separator = '?';
    for pair in query.split('&') {
        if key(pair) {
            let value = form_decoded(pair.split_once('=').map_or("", |(_, value)| value));
            let value = HeaderValue::from_bytes(&value).ok();
            let credential = value.and_then(|value| Credential::new(&value, value.as_bytes()));
            found = found.and(Found::usable(credential));
        } else {
            rest.push(separator);
            rest.push_str(pair);
            separator = '&';
        }
    }
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(rest).ok();
    match Uri::from_parts(parts) {
        Ok(uri) => {
            request.set_uri(uri);
            found
        }
        // Part of a valid URI is a valid URI. If that should ever be wrong, the request does not pass.
        Err(_) => Found::Malformed,
    }
}

/// `application/x-www-form-urlencoded`, one name or value.
fn form_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('+') {
        return percent_decode_str(text).into();
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn found(places: &[Place], request: &mut RequestHeader) -> String {
        match take(places, request) {
            Found::Nothing => "-".to_owned(),
            Found::One(credential) => String::from_utf8_lossy(credential.bytes()).into_owned(),
            Found::Several => "several".to_owned(),
            Found::Malformed => "malformed".to_owned(),
        }
    }

    /// RFC 9110, section 11.1 and 11.4.
    #[test]
    fn a_scheme_is_read_in_any_case_and_only_as_a_word() {
        let places = [Place::Authorization("Bearer".into())];
        for (value, expected) in [
            ("Bearer a.b.c", "a.b.c"),
            ("bEARER   a.b.c ", "a.b.c"),
            ("Bearer a b", "a b"),
            ("Bearer", "malformed"),
            ("Bearer ", "malformed"),
            ("Bearera.b.c", "-"),
            ("Bearer\ta.b.c", "-"),
            ("Basic a.b.c", "-"),
            ("", "-"),
        ] {
            assert_eq!(found(&places, &mut request("/", &[("authorization", value)])), expected, "{value:?}");
        }
        let twice = [("authorization", "Bearer a"), ("Authorization", "Basic b")];
        assert_eq!(found(&places, &mut request("/", &twice)), "several");
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name() {
        let places = [Place::Cookie("sid".into())];
        for (value, expected) in [
            ("sid=a", "a"),
            ("x=1; sid=a.b=; y=2", "a.b="),
            ("sid=\"quoted\"", "quoted"),
            ("SID=a; xsid=b; sidx=c", "-"),
            ("sid", "-"),
            ("sid=", "malformed"),
            ("sid=a;sid=a", "several"),
        ] {
            assert_eq!(found(&places, &mut request("/", &[("cookie", value)])), expected, "{value:?}");
        }
        let crumbs = [("cookie", "sid=a"), ("cookie", "sid=b")];
        assert_eq!(found(&places, &mut request("/", &crumbs)), "several");
    }

    #[test]
    fn a_query_parameter_leaves_the_uri_however_it_is_spelt() {
        let places = [Place::Query("token".into())];
        for (path, expected, left) in [
            ("/a?token=x", "x", "/a"),
            ("/a?b=1&token=x&c=%2F", "x", "/a?b=1&c=%2F"),
            ("/a?%74ok%65n=x%2Ey", "x.y", "/a"),
            ("/a?token=x&t%6Fken=y&b", "several", "/a?b"),
            ("/a?token", "malformed", "/a"),
            ("/a?token=%00", "malformed", "/a"),
            ("/a?tokens=x&Token=y", "-", "/a?tokens=x&Token=y"),
            ("/a?x=?token=y", "-", "/a?x=?token=y"),
            ("/a", "-", "/a"),
        ] {
            let mut request = request(path, &[]);
            assert_eq!(found(&places, &mut request), expected, "{path}");
            assert_eq!(request.uri, left);
            assert_eq!(request.raw_path(), left.as_bytes());
        }
    }

    /// RFC 6750, section 2.
    #[test]
    fn two_places_are_one_too_many_and_the_query_is_cleaned_all_the_same() {
        let places =
            [Place::Authorization("Bearer".into()), Place::Cookie("t".into()), Place::Query("t".into())];
        let mut both = request("/?t=c", &[("authorization", "Bearer a"), ("cookie", "t=b")]);
        assert_eq!(found(&places, &mut both), "several");
        assert_eq!(both.uri, "/");
    }

    #[test]
    fn only_the_credential_is_stripped() {
        let mut head =
            request("/", &[("authorization", "bearer a"), ("cookie", "a=1; t=x"), ("cookie", "b=2; c")]);
        Place::Authorization("Bearer".into()).strip(&mut head);
        Place::Cookie("t".into()).strip(&mut head);
        assert!(head.headers.get("authorization").is_none());
        assert_eq!(head.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c"]);
        let mut other = request("/", &[("authorization", "Basic a"), ("cookie", "t=x")]);
        Place::Authorization("Bearer".into()).strip(&mut other);
        Place::Cookie("t".into()).strip(&mut other);
        assert_eq!(other.headers.get("authorization").unwrap(), "Basic a");
        assert!(other.headers.get("cookie").is_none());
    }
}
