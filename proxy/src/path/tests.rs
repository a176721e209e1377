//! Tables of the rules, and a slow second implementation to compare with.

use proptest::prelude::*;

use super::*;

/// RFC 3986, sections 5.2.4 and 6.2.2, and the URL attacks that gateways are tested with.
#[test]
fn paths_take_one_form() {
    let table = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/", "/a/"),
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/.", "/a/"),
        ("/.", "/"),
        ("/a/b/..", "/a/"),
        ("/a/..", "/"),
        ("/a/../b", "/b"),
        ("/a/b/c/./../../g", "/a/g"),
        ("/mid/content=5/../6", "/mid/6"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("/a/.%2e/b", "/b"),
        ("/a//../b", "/b"),
        ("/%7euser/%41%2d%5F", "/~user/A-_"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a%3bb;c=1", "/a%3Bb;c=1"),
        ("/a;x/..;/b", "/a;x/..;/b"),
        ("/...", "/..."),
        ("/.a/..b/c..", "/.a/..b/c.."),
        ("/%252e%252e/", "/%252e%252e/"),
        ("/a|b[1]{x}^`\"<>", "/a%7Cb%5B1%5D%7Bx%7D%5E%60%22%3C%3E"),
        ("/!$&'()*+,;=:@", "/!$&'()*+,;=:@"),
        ("/a%2fb", "/a%2Fb"),
    ];
    for (raw, expected) in table {
        assert_eq!(canonical(raw).map(|canonical| canonical.path).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn paths_with_two_meanings_are_refused() {
    let table = [
        ("", PathError::NotAbsolute),
        ("*", PathError::NotAbsolute),
        ("a/b", PathError::NotAbsolute),
        ("/a b", PathError::RawCharacter),
        ("/a\tb", PathError::RawCharacter),
        ("/a\0b", PathError::RawCharacter),
        ("/a\x7fb", PathError::RawCharacter),
        ("/a#b", PathError::RawCharacter),
        ("/a?b", PathError::RawCharacter),
        ("/caf\u{e9}", PathError::RawCharacter),
        ("/a\\b", PathError::Backslash),
        ("/a/..\\..\\b", PathError::Backslash),
        ("/%", PathError::InvalidEscape),
        ("/%4", PathError::InvalidEscape),
        ("/%zz", PathError::InvalidEscape),
        ("/%+1", PathError::InvalidEscape),
        ("/%u002e", PathError::InvalidEscape),
        ("/a%00.jpg", PathError::EncodedNul),
        ("/..", PathError::AboveRoot),
        ("/../a", PathError::AboveRoot),
        ("/a/../../b", PathError::AboveRoot),
        ("/a/%2e%2e/%2E%2E/b", PathError::AboveRoot),
        ("/a/..//..", PathError::AboveRoot),
        ("/a/..%2fb", PathError::HiddenDotSegment),
        ("/a%2F../b", PathError::HiddenDotSegment),
        ("/a%5c%2e%2e%5cb", PathError::HiddenDotSegment),
    ];
    for (raw, expected) in table {
        assert_eq!(canonical(raw), Err(expected), "{raw:?}");
    }
}

/// The route decides; and what `..` has removed is not held against a path.
#[test]
fn encoded_slashes_are_told() {
    for (raw, told) in [("/a%2Fb", true), ("/a%5cb", true), ("/a/b", false), ("/a%2Fb/../c", false)] {
        let canonical = canonical(raw).unwrap();
        assert_eq!(canonical.encoded_slashes, told, "{raw}");
        assert!(canonical.clone().under(EncodedSlashes::Keep).is_ok());
        assert_eq!(canonical.under(EncodedSlashes::Refuse).is_err(), told);
    }
}

#[test]
fn a_canonical_path_is_not_copied() {
    for raw in ["/", "/v1/batches/17", "/a%2Fb", "/a/%C3%A9/", "/.well-known/..x"] {
        assert!(matches!(canonical(raw).unwrap().path, Cow::Borrowed(_)), "{raw}");
    }
}

#[test]
fn a_path_is_no_longer_than_a_range_can_say() {
    let fits = format!("/{}", "a".repeat(PATH_BYTES_MAX - 1));
    assert!(canonical(&fits).is_ok());
    assert_eq!(canonical(&format!("{fits}a")), Err(PathError::TooLong));
    let grows = format!("/{}", "|".repeat(PATH_BYTES_MAX / 2));
    assert_eq!(canonical(&grows), Err(PathError::TooLong));
    assert_eq!(PathError::TooLong.kind(), ProblemKind::UriTooLong);
    assert_eq!(PathError::AboveRoot.kind(), ProblemKind::BadRequest);
}

/// The rules again, one pass each, as a list of segments of decoded bytes. Shares no code with the real one.
fn reference(raw: &str) -> Result<String, ()> {
    let tail = raw.strip_prefix('/').ok_or(())?;
    let mut segments: Vec<Vec<String>> = Vec::new();
    for segment in tail.split('/') {
        let mut units = Vec::new();
        let mut chars = segment.chars();
        while let Some(c) = chars.next() {
            if c == '%' {
                let pair: String = chars.by_ref().take(2).collect();
                if pair.len() != 2 || !pair.chars().all(|c| c.is_ascii_hexdigit()) {
                    return Err(());
                }
                let value = u8::from_str_radix(&pair, 16).map_err(|_| ())?;
                if value == 0 {
                    return Err(());
                }
                let decoded = char::from(value);
                if decoded.is_ascii_alphanumeric() || "-._~".contains(decoded) {
                    units.push(decoded.to_string());
                } else {
                    units.push(format!("%{value:02X}"));
                }
            } else if !c.is_ascii_graphic() || "\\#?".contains(c) {
                return Err(());
            } else if "\"<>[]^`{|}".contains(c) {
                units.push(format!("%{:02X}", u32::from(c)));
            } else {
                units.push(c.to_string());
            }
        }
        segments.push(units);
    }
    let ends_open = segments.last().is_none_or(|last| matches!(last.concat().as_str(), "" | "." | ".."));
    let mut kept: Vec<String> = Vec::new();
    for segment in &segments {
        match segment.concat().as_str() {
            "" | "." => {}
            ".." => drop(kept.pop().ok_or(())?),
            text => kept.push(text.to_owned()),
        }
    }
    for segment in &kept {
        let pieces = segment.replace("%5C", "%2F");
        if pieces.contains("%2F") && pieces.split("%2F").any(|piece| piece == "..") {
            return Err(());
        }
    }
    let mut path = format!("/{}", kept.join("/"));
    if ends_open && !path.ends_with('/') {
        path.push('/');
    }
    Ok(path)
}

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just("/".to_owned()),
        3 => Just(".".to_owned()),
        2 => Just("..".to_owned()),
        2 => prop::sample::select(vec!["%2e", "%2E", "%2f", "%2F", "%5c", "%5C", "%00", "%41", "%7e", "%c3%A9", "%", "%2"])
            .prop_map(str::to_owned),
        2 => "[a-z]{1,3}",
        1 => "[ -~]",
        1 => any::<char>().prop_map(String::from),
    ];
    (prop::collection::vec(piece, 0..12), prop::bool::weighted(0.9))
        .prop_map(|(pieces, absolute)| format!("{}{}", if absolute { "/" } else { "" }, pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_the_reference(raw in hostile()) {
        let found = canonical(&raw).map(|canonical| canonical.path.into_owned()).map_err(|_| ());
        prop_assert_eq!(found, reference(&raw));
    }

    #[test]
    fn the_form_is_final(raw in hostile()) {
        let Ok(first) = canonical(&raw) else { return Ok(()) };
        let path = &*first.path;
        let again = canonical(path).unwrap();
        prop_assert_eq!(&*again.path, path);
        prop_assert!(matches!(again.path, Cow::Borrowed(_)));
        prop_assert_eq!(again.encoded_slashes, first.encoded_slashes);
        prop_assert_eq!(first.encoded_slashes, path.contains("%2F") || path.contains("%5C"));
        prop_assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\'));
        prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        for (at, _) in path.match_indices('%') {
            let digits = &path[at + 1..at + 3];
            let byte = u8::from_str_radix(digits, 16).unwrap();
            prop_assert!(!digits.bytes().any(|digit| digit.is_ascii_lowercase()));
            prop_assert!(byte != 0 && !byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte));
        }
    }
}
