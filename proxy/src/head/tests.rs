//! Tables of heads, each row with the rule it is about.

use http::Uri;
use pingora_http::RequestHeader;
use proptest::prelude::*;
use sallyport_filters::ProblemKind;

use super::*;

const LIMITS: HeadLimits = HeadLimits { fields: 10, allow_underscores: false };

fn checked(head: &str) -> Result<Framing, HeadError> {
    check(head.as_bytes(), &LIMITS)
}

/// A GET with these fields, each ended by CRLF.
fn with(fields: &str) -> Result<Framing, HeadError> {
    checked(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"))
}

#[test]
fn ordinary_heads_pass() {
    let table = [
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", Framing::None),
        ("GET /a?b=c|{d}\"^ HTTP/1.1\r\nhost:a.example:8443 \r\n\r\n", Framing::None),
        ("GET / HTTP/1.0\r\n\r\n", Framing::None),
        ("OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Framing::None),
        ("\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Framing::None),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tChunked \r\n\r\n", Framing::Chunked),
        ("GET http://A.example HTTP/1.1\r\nHost: a.example:80\r\n\r\n", Framing::None),
        ("GET https://a.example:8443?x HTTP/1.1\r\nHost: a.example:8443\r\n\r\n", Framing::None),
        ("GET HTTP://a.example/ HTTP/1.0\r\n\r\n", Framing::None),
        ("M-SEARCH / HTTP/1.1\r\nHost: a\r\nEmpty:\r\nX: caf\u{e9}\ttab\r\n\r\n", Framing::None),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", Framing::None),
        ("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", Framing::None),
    ];
    for (head, framing) in table {
        assert_eq!(checked(head), Ok(framing), "{head:?}");
    }
}

/// RFC 9112, sections 2.2, 2.3, 3 and 3.2.
#[test]
fn request_lines_are_read_strictly() {
    use HeadError::*;
    let table = [
        ("GET", BadRequestLine),
        ("GET /", BadRequestLine),
        ("GET / ", BadRequestLine),
        ("GET / HTTP/1.1 ", BadRequestLine),
        ("GET / http/1.1", BadRequestLine),
        (" GET / HTTP/1.1", BadMethod),
        ("G(T / HTTP/1.1", BadMethod),
        ("G\u{e9}T / HTTP/1.1", BadMethod),
        ("GET  / HTTP/1.1", BadTarget),
        ("GET /  HTTP/1.1", BadTarget),
        ("GET\t/ HTTP/1.1", BadMethod),
        ("GET /a b HTTP/1.1", BadTarget),
        ("GET /\x01 HTTP/1.1", BadTarget),
        ("GET /\r HTTP/1.1", BadTarget),
        ("GET /\0 HTTP/1.1", BadTarget),
        ("GET /\u{e9} HTTP/1.1", BadTarget),
        ("GET /a\\b HTTP/1.1", BadTarget),
        ("GET /a#b HTTP/1.1", BadTarget),
        ("GET  HTTP/1.1", BadTargetForm),
        ("GET a HTTP/1.1", BadTargetForm),
        ("GET * HTTP/1.1", BadTargetForm),
        ("GET ftp://a.example/ HTTP/1.1", BadTargetForm),
        ("GET a.example:80 HTTP/1.1", BadTargetForm),
        ("CONNECT a.example:80 HTTP/1.1", ConnectRefused),
        ("GET http:///x HTTP/1.1", BadHost),
        ("GET http://u@a.example/ HTTP/1.1", BadHost),
        ("GET http://b.example/ HTTP/1.1", HostDisagrees),
        ("GET http://a.example:81/ HTTP/1.1", HostDisagrees),
        ("GET / HTTP/1.2", BadVersion),
        ("GET / HTTP/2.0", BadVersion),
        ("GET / HTTP/0.9", BadVersion),
        ("GET / HTTP/1.10", BadVersion),
        ("PRI * HTTP/2.0", BadVersion),
    ];
    for (line, error) in table {
        let found = checked(&format!("{line}\r\nHost: a.example\r\n\r\n"));
        assert_eq!(found, Err(error), "{line:?}");
    }
}

/// RFC 9112, section 2.2: a line ends with CRLF, and at most one empty line comes first.
#[test]
fn line_ends_are_crlf() {
    let table = [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", HeadError::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", HeadError::BareLineFeed),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BareLineFeed),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BadRequestLine),
        ("GET / HTTP/1.1\r\nHost: a\r\n", HeadError::Incomplete),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nX", HeadError::Incomplete),
        ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", HeadError::BadVersion),
        ("", HeadError::Incomplete),
    ];
    for (head, error) in table {
        assert_eq!(checked(head), Err(error), "{head:?}");
    }
}

/// RFC 9112, sections 5.1 and 5.2; RFC 9110, sections 5.1 and 5.5.
#[test]
fn fields_are_read_strictly() {
    use HeadError::*;
    let table = [
        ("X : 1\r\n", SpaceBeforeColon),
        ("X\t: 1\r\n", SpaceBeforeColon),
        ("X: 1\r\n folded\r\n", ObsoleteFold),
        ("X: 1\r\n\tfolded\r\n", ObsoleteFold),
        (": 1\r\n", BadFieldName),
        ("X\r\n", BadFieldName),
        ("X(: 1\r\n", BadFieldName),
        ("X\u{e9}: 1\r\n", BadFieldName),
        ("X\0: 1\r\n", BadFieldName),
        ("X_Y: 1\r\n", Underscore),
        ("X: a\0b\r\n", BadFieldValue),
        ("X: a\rb\r\n", BadFieldValue),
        ("X: a\r\r\n", BadFieldValue),
        ("X: a\x0bb\r\n", BadFieldValue),
        ("X: a\x7f\r\n", BadFieldValue),
        ("Expect: 200-ok\r\n", BadExpect),
        ("Expect: 100-continue, x\r\n", BadExpect),
    ];
    for (fields, error) in table {
        assert_eq!(with(fields), Err(error), "{fields:?}");
    }
}

/// RFC 9112, section 3.2.
#[test]
fn a_request_has_one_host() {
    let host = |fields: &str| checked(&format!("GET / HTTP/1.1\r\n{fields}\r\n"));
    assert_eq!(host(""), Err(HeadError::HostMissing));
    assert_eq!(host("Host: a\r\nhost: a\r\n"), Err(HeadError::HostTwice));
    for value in ["", " ", "a b", "a, b", "u@a", "a:x", "http://a", "a/b"] {
        assert_eq!(host(&format!("Host: {value}\r\n")), Err(HeadError::BadHost), "{value:?}");
    }
    assert_eq!(checked("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), Err(HeadError::BadHost));
    assert_eq!(checked("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Err(HeadError::HostTwice));
}

/// RFC 9112, sections 6.1 and 6.3; CVE-2026-2835 (HTTP/1.0 with Transfer-Encoding).
#[test]
fn framing_has_one_reading() {
    use HeadError::*;
    let table = [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", ContentLengthTwice),
        ("Content-Length: 5\r\ncontent-length: 6\r\n", ContentLengthTwice),
        ("Content-Length: 5, 5\r\n", BadContentLength),
        ("Content-Length: +5\r\n", BadContentLength),
        ("Content-Length: -5\r\n", BadContentLength),
        ("Content-Length: 0x5\r\n", BadContentLength),
        ("Content-Length: 5 5\r\n", BadContentLength),
        ("Content-Length:\r\n", BadContentLength),
        ("Content-Length: 18446744073709551616\r\n", BadContentLength),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", LengthAndEncoding),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadTransferEncoding),
        ("Transfer-Encoding: chunked, chunked\r\n", BadTransferEncoding),
        ("Transfer-Encoding: gzip, chunked\r\n", BadTransferEncoding),
        ("Transfer-Encoding: identity\r\n", BadTransferEncoding),
        ("Transfer-Encoding: xchunked\r\n", BadTransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", BadTransferEncoding),
        ("Transfer-Encoding: chunked;x\r\n", BadTransferEncoding),
        ("Transfer-Encoding: \x0bchunked\r\n", BadFieldValue),
        ("Transfer-Encoding:\r\n", BadTransferEncoding),
        ("Transfer-Encoding : chunked\r\n", SpaceBeforeColon),
    ];
    for (fields, error) in table {
        assert_eq!(with(fields), Err(error), "{fields:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(checked(old), Err(TransferEncodingInHttp10));
    assert_eq!(with("Content-Length: 18446744073709551615\r\n"), Ok(Framing::Length(u64::MAX)));
}

#[test]
fn underscores_pass_where_allowed_but_never_as_framing() {
    let limits = HeadLimits { allow_underscores: true, ..LIMITS };
    let with =
        |name: &str| check(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n").as_bytes(), &limits);
    assert_eq!(with("my_field"), Ok(Framing::None));
    for name in ["Content_Length", "transfer_encoding", "content_length"] {
        assert_eq!(with(name), Err(HeadError::Underscore), "{name}");
    }
}

#[test]
fn fields_are_counted() {
    assert_eq!(with(&"X: 1\r\n".repeat(LIMITS.fields - 1)), Ok(Framing::None));
    assert_eq!(with(&"X: 1\r\n".repeat(LIMITS.fields)), Err(HeadError::TooManyFields));
    assert_eq!(HeadError::TooManyFields.kind(), ProblemKind::HeadersTooLarge);
}

#[test]
fn a_head_too_long_says_which_part() {
    assert_eq!(oversized(b"\r\nGET /aaaaaaa").kind(), ProblemKind::UriTooLong);
    assert_eq!(oversized(b"GET / HTTP/1.1\r\nX: aaaa").kind(), ProblemKind::HeadersTooLarge);
}

#[test]
fn every_error_has_a_text_of_its_own() {
    let texts: std::collections::HashSet<_> = HeadError::ALL.iter().map(|error| error.detail()).collect();
    assert_eq!(texts.len(), HeadError::ALL.len());
}

/// What a lenient reader would make of an accepted head, for comparison.
fn lenient(head: &str) -> (Vec<&str>, Vec<(String, &str)>) {
    let mut lines = head.trim_start_matches("\r\n").split("\r\n");
    let line = lines.next().unwrap().split(' ').collect();
    let fields = lines
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    (line, fields)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// One byte changed, dropped or added anywhere: whatever is still accepted has one reading.
    #[test]
    fn accepted_heads_have_one_reading(at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3) {
        let valid = "POST /a/b?c=d HTTP/1.1\r\nHost: a.example\r\nX-One: 1\r\nTransfer-Encoding: chunked\r\nAccept: */*\r\n\r\n";
        let mut head = valid.as_bytes().to_vec();
        let at = at.index(head.len());
        match how {
            0 => head[at] = byte,
            1 => head.insert(at, byte),
            _ => drop(head.remove(at)),
        }
        let Ok(framing) = check(&head, &LIMITS) else { return Ok(()) };
        let text: String = head.iter().map(|&byte| char::from(byte)).collect();
        prop_assert!(text.ends_with("\r\n\r\n"));
        prop_assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        prop_assert_eq!(text.matches('\r').count(), text.matches("\r\n").count());
        let (line, fields) = lenient(&text);
        prop_assert_eq!(line.len(), 3);
        prop_assert!(fields.iter().all(|(name, _)| !name.is_empty() && !name.contains([' ', '\t', '_'])));
        let all = |name: &str| fields.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect::<Vec<_>>();
        prop_assert!(all("host").len() <= 1);
        match framing {
            Framing::Chunked => {
                let codings = all("transfer-encoding");
                prop_assert!(codings.len() == 1 && codings[0].eq_ignore_ascii_case("chunked"), "{codings:?}");
            }
            Framing::None => prop_assert!(all("transfer-encoding").is_empty()),
            Framing::Length(_) => prop_assert!(false, "nobody gave a length"),
        }
    }

    #[test]
    fn nothing_makes_it_panic(head in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&head, &LIMITS);
        let _ = oversized(&head);
    }
}

/// Names and values of fields.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn h2(method: &str, uri: &str, fields: Pairs<'_>) -> RequestHeader {
    let mut head = RequestHeader::build(method, b"/", None).unwrap();
    head.set_uri(uri.parse::<Uri>().unwrap());
    head.set_version(http::Version::HTTP_2);
    for (name, value) in fields {
        head.append_header(name.to_string(), *value).unwrap();
    }
    head
}

/// RFC 9113, sections 8.2 and 8.3.
#[test]
fn http2_heads_keep_the_same_rules() {
    use HeadError::*;
    let uri = "https://a.example/x";
    let passes: [(&str, Pairs<'_>); 6] = [
        (uri, &[]),
        (uri, &[("host", "A.example:443"), ("te", "trailers"), ("content-length", "5")]),
        ("https://a.example", &[]),
        ("/x", &[("host", "a.example")]),
        ("http://[::1]:8080/x?y", &[("expect", "100-continue")]),
        (uri, &[("cookie", "a"), ("cookie", "b")]),
    ];
    for (uri, fields) in passes {
        assert_eq!(check_parsed(&h2("GET", uri, fields), &LIMITS), Ok(()), "{uri} {fields:?}");
    }
    let refused: [(&str, Pairs<'_>, HeadError); 19] = [
        ("/x", &[], HostMissing),
        (uri, &[("host", "b.example")], HostDisagrees),
        (uri, &[("host", "a.example:444")], HostDisagrees),
        (uri, &[("host", "a.example"), ("host", "a.example")], HostTwice),
        (uri, &[("host", "a b")], BadHost),
        ("https://u@a.example/x", &[], BadHost),
        ("ftp://a.example/x", &[], BadScheme),
        (uri, &[("connection", "close")], ConnectionSpecific),
        (uri, &[("keep-alive", "5")], ConnectionSpecific),
        (uri, &[("proxy-connection", "close")], ConnectionSpecific),
        (uri, &[("transfer-encoding", "chunked")], ConnectionSpecific),
        (uri, &[("upgrade", "websocket")], ConnectionSpecific),
        (uri, &[("te", "trailers, gzip")], BadTe),
        (uri, &[("content-length", "5"), ("content-length", "5")], ContentLengthTwice),
        (uri, &[("content-length", "+5")], BadContentLength),
        (uri, &[("x_y", "1")], Underscore),
        (uri, &[("expect", "x")], BadExpect),
        ("https://a.example/x\\y", &[], BadTarget),
        ("https://a.example/caf\u{e9}", &[], BadTarget),
    ];
    for (uri, fields, error) in refused {
        assert_eq!(check_parsed(&h2("GET", uri, fields), &LIMITS), Err(error), "{uri} {fields:?}");
    }
    let many = vec![("x", "1"); LIMITS.fields + 1];
    assert_eq!(check_parsed(&h2("GET", uri, &many), &LIMITS), Err(TooManyFields));
    assert_eq!(check_parsed(&h2("CONNECT", uri, &[]), &LIMITS), Err(ConnectRefused));
    assert_eq!(check_parsed(&h2("GET", "*", &[("host", "a")]), &LIMITS), Err(BadTargetForm));
    assert_eq!(check_parsed(&h2("OPTIONS", "*", &[("host", "a")]), &LIMITS), Ok(()));
    let mut old = h2("GET", uri, &[]);
    old.set_version(http::Version::HTTP_11);
    assert_eq!(check_parsed(&old, &LIMITS), Err(BadVersion));
}
