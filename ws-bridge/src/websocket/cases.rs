//! The rules of RFC 6455 for what a client sends, as a table in the manner of the Autobahn suite: bytes, and what must come
//! of them. Every case is read at once, byte by byte, and from the bytes behind the request.

use super::wire::{Message, Source, frame, read_all};
use super::*;

use Message::{Binary, Close, Ping, Pong, Text};

/// What a case ends with: the end of the connection, a Close of the client, or a refusal with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Eof,
    Closed,
    Code(u16),
}

struct Case {
    name: &'static str,
    frames: Vec<Vec<u8>>,
    messages: Vec<Message>,
    end: End,
}

const LIMITS: Limits = Limits { message_bytes: 1000 };

fn text(text: &str) -> Message {
    Text(text.to_owned())
}

fn case(name: &'static str, frames: Vec<Vec<u8>>, messages: Vec<Message>, end: End) -> Case {
    Case { name, frames, messages, end }
}

fn check(cases: Vec<Case>) {
    for Case { name, frames, messages, end } in cases {
        let bytes = frames.concat();
        let ways = [
            ("at once", &b""[..], vec![bytes.clone()]),
            ("byte by byte", b"", bytes.iter().map(|&byte| vec![byte]).collect()),
            ("frame by frame", b"", frames),
            ("behind the request", &bytes, vec![]),
        ];
        for (way, early, pieces) in ways {
            let mut reader = Reader::new(early);
            let mut source = Source::of(pieces);
            let (got, read) = read_all(&mut reader, &mut source, &LIMITS, |_| false);
            let code = match read {
                Ok(ReadEnd::Eof) => End::Eof,
                Ok(_) => End::Closed,
                Err(error) => End::Code(error.close_code().expect("a fault of the client")),
            };
            assert_eq!((&got, code), (&messages, end), "{name}, {way}");
            assert_eq!(reader.held_bytes(), 0, "{name}, {way}");
            let (more, read) =
                read_all(&mut reader, &mut Source::of([frame(0x81, b"more")]), &LIMITS, |_| false);
            assert!(more.is_empty() && matches!(read, Ok(ReadEnd::Closed)), "{name}, {way}: nothing follows");
        }
    }
}

/// Autobahn 1.*: messages of every form of length.
#[test]
fn whole_messages() {
    let cases = [0, 1, 125, 126, 127, 128, 999, 1000].map(|length| {
        let (letters, bytes) = ("*".repeat(length), vec![0xfe; length]);
        let frames = vec![frame(0x81, letters.as_bytes()), frame(0x82, &bytes)];
        case("a text and a binary message", frames, vec![Text(letters), Binary(bytes)], End::Eof)
    });
    check(cases.into());
}

/// RFC 6455, section 5.1: a server MUST close on a frame that is not masked.
#[test]
fn frames_without_a_mask_are_refused() {
    check(vec![
        case("text", vec![b"\x81\x02hi".to_vec()], vec![], End::Code(1002)),
        case("ping", vec![b"\x89\x00".to_vec()], vec![], End::Code(1002)),
        case("close", vec![b"\x88\x00".to_vec()], vec![], End::Code(1002)),
        case(
            "after a good one",
            vec![frame(0x81, b"a"), b"\x81\x01b".to_vec()],
            vec![text("a")],
            End::Code(1002),
        ),
    ]);
}

/// RFC 6455, section 5.2 (Autobahn 3.*, 4.*): reserved bits and opcodes.
#[test]
fn reserved_bits_and_opcodes_are_refused() {
    let firsts = [0xc1, 0xa1, 0x91, 0xf1, 0xc9, 0xa8, 0x41].into_iter();
    let reserved = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|opcode| 0x80 | opcode);
    let cases = firsts.chain(reserved).map(|first| {
        let frames = vec![frame(0x81, b"good"), frame(first, b"bad"), frame(0x81, b"late")];
        case("a reserved bit or opcode", frames, vec![text("good")], End::Code(1002))
    });
    check(cases.collect());
}

/// RFC 6455, section 5.2: "the minimal number of bytes MUST be used", and the most significant bit MUST be 0.
#[test]
fn lengths_in_another_form_are_refused() {
    let lengths: [&[u8]; 5] = [
        &[0xfe, 0, 0],
        &[0xfe, 0, 125],
        &[0xff, 0, 0, 0, 0, 0, 0, 0, 5],
        &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 5],
    ];
    let cases = lengths.map(|length| {
        let bytes = [b"\x81", length, b"\0\0\0\0hello"].concat();
        case("a length", vec![bytes], vec![], End::Code(1002))
    });
    check(cases.into());
}

/// RFC 6455, section 5.5 (Autobahn 2.*).
#[test]
fn control_frames_are_small_and_whole() {
    let full = vec![0xfe; 125];
    check(vec![
        case(
            "pings and pongs of every size",
            vec![frame(0x89, b""), frame(0x89, &full), frame(0x8a, b"unasked"), frame(0x8a, b"")],
            vec![Ping(vec![]), Ping(full), Pong(b"unasked".to_vec()), Pong(vec![])],
            End::Eof,
        ),
        case("a ping of 126 bytes", vec![frame(0x89, &[0; 126])], vec![], End::Code(1002)),
        case("a pong of 126 bytes", vec![frame(0x8a, &[0; 126])], vec![], End::Code(1002)),
        case("a close of 126 bytes", vec![frame(0x88, &[0; 126])], vec![], End::Code(1002)),
        case("a ping with a long length", vec![frame(0x89, &[0; 70_000])], vec![], End::Code(1002)),
        case("a fragmented ping", vec![frame(0x09, b"a"), frame(0x80, b"b")], vec![], End::Code(1002)),
        case("a fragmented close", vec![frame(0x08, b"")], vec![], End::Code(1002)),
    ]);
}

/// RFC 6455, section 5.4 (Autobahn 5.*).
#[test]
fn fragments_follow_each_other() {
    let ping = || frame(0x89, b"?");
    let asked = || Ping(b"?".to_vec());
    check(vec![
        case(
            "text in three, with pings",
            vec![frame(0x01, b"a"), ping(), frame(0x00, b"b"), ping(), frame(0x80, b"c"), frame(0x81, b"d")],
            vec![asked(), asked(), text("abc"), text("d")],
            End::Eof,
        ),
        case(
            "empty fragments",
            vec![frame(0x02, b""), frame(0x00, b""), frame(0x80, b"")],
            vec![Binary(vec![])],
            End::Eof,
        ),
        case("a continuation of nothing", vec![frame(0x80, b"a")], vec![], End::Code(1002)),
        case("an open continuation of nothing", vec![frame(0x00, b"a")], vec![], End::Code(1002)),
        case(
            "a continuation of a message that is complete",
            vec![frame(0x01, b"a"), frame(0x80, b"b"), frame(0x80, b"c")],
            vec![text("ab")],
            End::Code(1002),
        ),
        case("text inside text", vec![frame(0x01, b"a"), frame(0x81, b"b")], vec![], End::Code(1002)),
        case("binary inside text", vec![frame(0x01, b"a"), frame(0x02, b"b")], vec![], End::Code(1002)),
        case("the end inside a message", vec![frame(0x01, b"a")], vec![], End::Eof),
        case("the end inside a frame", vec![vec![0x81, 0x85, 1, 2, 3, 4, 5]], vec![], End::Eof),
        case("the end inside a header", vec![vec![0x81]], vec![], End::Eof),
        case(
            "a close inside a message",
            vec![frame(0x01, b"a"), frame(0x88, b""), frame(0x80, b"b")],
            vec![Close(None)],
            End::Closed,
        ),
    ]);
}

/// RFC 6455, section 8.1 (Autobahn 6.*): a message is UTF-8 as a whole, its fragments need not be.
#[test]
fn text_is_utf8() {
    let (left, right) = "κόσμε😀".as_bytes().split_at(3);
    let mut cases = vec![
        case(
            "a character across fragments",
            vec![frame(0x01, left), frame(0x80, right)],
            vec![text("κόσμε😀")],
            End::Eof,
        ),
        case(
            "a character that never ends",
            vec![frame(0x01, b"a"), frame(0x80, b"\xf0\x9f")],
            vec![],
            End::Code(1007),
        ),
        case("refused before the message is complete", vec![frame(0x01, b"\xff")], vec![], End::Code(1007)),
        case(
            "a character that goes on wrongly",
            vec![frame(0x01, b"\xf0\x9f"), frame(0x00, b"a")],
            vec![],
            End::Code(1007),
        ),
        case("binary may be anything", vec![frame(0x82, b"\xff")], vec![Binary(vec![0xff])], End::Eof),
    ];
    let bad: [&[u8]; 8] = [
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"ok\xce",
        b"\xfe",
    ];
    cases.extend(bad.map(|bytes| case("no UTF-8", vec![frame(0x81, bytes)], vec![], End::Code(1007))));
    check(cases);
}

/// RFC 6455, sections 5.5.1 and 7.4 (Autobahn 7.*).
#[test]
fn closes_are_checked() {
    let close = |code: u16, reason: &[u8]| frame(0x88, &[&code.to_be_bytes(), reason].concat());
    let mut cases = vec![
        case("no code", vec![frame(0x88, b"")], vec![Close(None)], End::Closed),
        case(
            "a code and a reason",
            vec![close(1000, "Grüße".as_bytes()), frame(0x81, b"late"), close(1000, b"")],
            vec![Close(Some((1000, "Grüße".to_owned())))],
            End::Closed,
        ),
        case(
            "the longest reason",
            vec![close(1000, &[b'*'; 123])],
            vec![Close(Some((1000, "*".repeat(123))))],
            End::Closed,
        ),
        case("half a code", vec![frame(0x88, b"\x03")], vec![], End::Code(1002)),
        case("a reason that is no UTF-8", vec![close(1000, b"\xce\xba\xe1")], vec![], End::Code(1007)),
    ];
    let good =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    cases.extend(good.map(|code| {
        case("a code", vec![close(code, b"")], vec![Close(Some((code, String::new())))], End::Closed)
    }));
    let bad = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    cases.extend(bad.map(|code| case("a bad code", vec![close(code, b"")], vec![], End::Code(1002))));
    check(cases);
}

/// RFC 6455, section 10.4: the limit holds for all fragments together, and as soon as a header claims more.
/// fastwebsockets 0.10 limits single frames, and makes room for whatever a header claims.
#[test]
fn messages_are_limited() {
    let claim = |first: u8, length: u64| [&[first, 0xff], &length.to_be_bytes()[..], &[0; 4]].concat();
    check(vec![
        case("a byte too many", vec![frame(0x82, &[0; 1001])], vec![], End::Code(1009)),
        case("64 KiB are claimed", vec![claim(0x81, 0x1_0000)], vec![], End::Code(1009)),
        case("all that 63 bits can", vec![claim(0x82, u64::MAX >> 1)], vec![], End::Code(1009)),
        case(
            "fragments that add up to the limit",
            vec![frame(0x02, &[1; 500]), frame(0x00, &[1; 499]), frame(0x80, &[1])],
            vec![Binary(vec![1; 1000])],
            End::Eof,
        ),
        case(
            "fragments that add up to more",
            vec![frame(0x02, &[0; 500]), frame(0x00, &[0; 500]), frame(0x80, &[0])],
            vec![],
            End::Code(1009),
        ),
        case(
            "a claim on top of fragments",
            vec![frame(0x02, &[0; 500]), claim(0x80, u64::MAX >> 1)],
            vec![],
            End::Code(1009),
        ),
    ]);
}

/// Empty fragments are no progress.
#[test]
fn frames_of_a_message_are_limited() {
    let most = FRAMES_A_MESSAGE_MAX as usize;
    for between in [frame(0x00, b""), frame(0x8a, b"")] {
        for (count, fits) in [(most - 2, true), (most - 1, false)] {
            let bytes = [frame(0x01, b""), between.repeat(count), frame(0x80, b"x")].concat();
            let (messages, end) =
                read_all(&mut Reader::new(b""), &mut Source::of([bytes]), &LIMITS, |_| false);
            assert_eq!(messages.last() == Some(&text("x")), fits, "{count}");
            assert_eq!(
                end.map_err(|error| error.close_code()),
                if fits { Ok(ReadEnd::Eof) } else { Err(Some(1008)) }
            );
        }
    }
    // Outside of a message they are for the receiver to count.
    let bytes = frame(0x8a, b"").repeat(most + 1);
    let (messages, end) = read_all(&mut Reader::new(b""), &mut Source::of([bytes]), &LIMITS, |_| false);
    assert_eq!((messages.len(), end.ok()), (most + 1, Some(ReadEnd::Eof)));
}
