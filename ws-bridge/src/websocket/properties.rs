//! What holds for any bytes, any cuts and any pauses; and what another implementation makes of the same connection.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::{Context, Poll, Waker};

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::wire::{Message, Source, frame, read_all};
use super::*;

const LIMITS: Limits = Limits { message_bytes: 100_000 };

/// A message as the client sends it: where its fragments end, and what comes between them.
#[derive(Debug, Clone)]
struct Sent {
    message: Message,
    cuts: Vec<prop::sample::Index>,
    between: Vec<Message>,
}

fn control() -> impl Strategy<Value = Message> {
    let payload = vec(any::<u8>(), 0..=CONTROL_BYTES_MAX);
    prop_oneof![payload.clone().prop_map(Message::Ping), payload.prop_map(Message::Pong)]
}

fn sent() -> impl Strategy<Value = Sent> {
    let message = prop_oneof![
        4 => ".{0,200}".prop_map(Message::Text),
        2 => vec(any::<u8>(), 0..300).prop_map(Message::Binary),
        1 => (0_usize..70_000).prop_map(|length| Message::Text("x".repeat(length))),
        1 => control(),
    ];
    (message, vec(any::<prop::sample::Index>(), 0..5), vec(control(), 0..5))
        .prop_map(|(message, cuts, between)| Sent { message, cuts, between })
}

/// The frames of `sent`, and the messages in the order in which they are complete.
fn frames(sent: &Sent, bytes: &mut Vec<u8>, expected: &mut Vec<Message>) {
    let (opcode, payload) = match &sent.message {
        Message::Text(text) => (1, text.as_bytes()),
        Message::Binary(payload) => (2, &payload[..]),
        control => {
            whole_control(control, bytes);
            expected.push(control.clone());
            return;
        }
    };
    let mut ends = sent.cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect::<Vec<_>>();
    ends.sort_unstable();
    ends.push(payload.len());
    let (mut begin, last) = (0, ends.len() - 1);
    for (number, end) in ends.into_iter().enumerate() {
        let fin = if number == last { 0x80 } else { 0 };
        bytes.extend(frame(fin | if number == 0 { opcode } else { 0 }, &payload[begin..end]));
        begin = end;
        if let Some(control) = sent.between.get(number).filter(|_| number < last) {
            whole_control(control, bytes);
            expected.push(control.clone());
        }
    }
    expected.push(sent.message.clone());
}

fn whole_control(message: &Message, bytes: &mut Vec<u8>) {
    match message {
        Message::Ping(payload) => bytes.extend(frame(0x89, payload)),
        Message::Pong(payload) => bytes.extend(frame(0x8a, payload)),
        other => panic!("{other:?} is no ping or pong"),
    }
}

/// `bytes`, cut at these places.
fn pieces(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut ends = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect::<Vec<_>>();
    ends.sort_unstable();
    ends.push(bytes.len());
    let mut begin = 0;
    let mut pieces = Vec::new();
    for end in ends {
        pieces.push(bytes[begin..end].to_vec());
        begin = end;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn messages_survive_any_fragments_cuts_and_pauses(
        all in vec(sent(), 0..12),
        cuts in vec(any::<prop::sample::Index>(), 0..40),
        hesitates: bool,
        early: bool,
        pause_every in 1_usize..10,
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for sent in &all {
            frames(sent, &mut bytes, &mut expected);
        }
        let mut pieces = pieces(&bytes, &cuts);
        let first = if early { pieces.remove(0) } else { Vec::new() };
        let mut source = Source::of(pieces);
        source.hesitates = hesitates;
        let mut reader = Reader::new(&first);
        let (messages, end) = read_all(&mut reader, &mut source, &LIMITS, |number| number % pause_every == 0);
        prop_assert!(messages == expected);
        prop_assert_eq!(end.unwrap(), ReadEnd::Eof);
    }

    /// Bytes that begin like frames lead deeper than any others.
    #[test]
    fn garbage_never_panics_and_cuts_change_nothing(
        bytes in vec(
            prop_oneof![
                vec(any::<u8>(), 0..40),
                (any::<u8>(), vec(any::<u8>(), 0..200)).prop_map(|(first, payload)| frame(first & 0x8b, &payload)),
            ],
            0..20,
        ),
        cuts in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let bytes = bytes.concat();
        let limits = Limits { message_bytes: 300 };
        let mut ends = Vec::new();
        for pieces in [vec![bytes.clone()], pieces(&bytes, &cuts)] {
            let mut reader = Reader::new(b"");
            let (messages, end) = read_all(&mut reader, &mut Source::of(pieces), &limits, |_| false);
            prop_assert_eq!(reader.held_bytes(), 0);
            ends.push((messages, end.map_err(|error| error.to_string())));
        }
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}

#[test]
fn an_idle_reader_is_small_and_owns_nothing() {
    assert!(size_of::<Reader>() <= 16, "{}", size_of::<Reader>());
    let mut reader = Reader::new(b"");
    let mut source = Source::of([frame(0x01, &[b'x'; 40_000]), frame(0x80, b"end")]);
    source.open = true;
    let mut cx = Context::from_waker(Waker::noop());
    let mut count = 0;
    let read = reader.poll_read(&mut cx, &mut source, &LIMITS, &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    assert!(read.is_pending());
    assert_eq!((count, reader.held_bytes()), (1, 0));
}

/// What a header claims costs nothing before it comes.
#[test]
fn a_claim_alone_reserves_nothing() {
    let mut reader = Reader::new(b"");
    let mut source = Source::of([frame(0x82, &[1; 100_000])[..114].to_vec()]);
    source.open = true;
    let mut cx = Context::from_waker(Waker::noop());
    let read = reader.poll_read(&mut cx, &mut source, &LIMITS, &mut |_| ControlFlow::Continue(()));
    assert!(read.is_pending());
    assert!((100..1000).contains(&reader.held_bytes()), "{}", reader.held_bytes());
}

/// A client that sends without an end does not keep others from their turn.
#[test]
fn a_poll_ends() {
    let mut source = Source::of([frame(0x8a, b"").repeat(100_000)]);
    let mut reader = Reader::new(b"");
    let mut cx = Context::from_waker(Waker::noop());
    let mut counts = Vec::new();
    loop {
        let mut count = 0;
        let read = reader.poll_read(&mut cx, &mut source, &LIMITS, &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        counts.push(count);
        if read.is_ready() {
            break;
        }
    }
    assert_eq!(counts.iter().sum::<u32>(), 100_000);
    assert!(counts.iter().all(|&count| count <= 256));
}

/// RFC 6455, section 7.1.1: the client gets to read the Close although it still sends.
#[test]
fn what_comes_after_the_end_is_thrown_away_up_to_a_limit() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut reader = Reader::new(b"");
    let mut source = Source::of([vec![0; 1000]]);
    source.open = true;
    assert!(reader.poll_discard(&mut cx, &mut source).is_pending());
    source.open = false;
    assert!(matches!(reader.poll_discard(&mut cx, &mut source), Poll::Ready(Ok(()))));
    let mut endless = Source::of([vec![0; 1_000_000]]);
    assert!(matches!(reader.poll_discard(&mut cx, &mut endless), Poll::Ready(Ok(()))));
    assert!(!endless.pieces.is_empty());
}

/// Answers texts and binary messages with texts, as long as the client does not close.
async fn echo(mut stream: DuplexStream) -> Result<ReadEnd, ReadError> {
    let (mut reader, mut outbox) = (Reader::new(b""), Outbox::<()>::new(1 << 20));
    let end = poll_fn(|cx| {
        let read = reader.poll_read(cx, &mut stream, &LIMITS, &mut |incoming| {
            match incoming {
                Incoming::Text(text) => outbox.push(text_frame(&[text.as_bytes()]), ()).unwrap(),
                Incoming::Binary(bytes) => {
                    outbox.push(text_frame(&[bytes.len().to_string().as_bytes()]), ()).unwrap();
                }
                Incoming::Ping(payload) => outbox.push(pong_frame(payload), ()).unwrap(),
                Incoming::Pong(_) => {}
                Incoming::Close(close) => {
                    outbox.close(close.map(|(code, _)| code), "bye");
                }
            }
            ControlFlow::Continue(())
        });
        let _ = outbox.poll_write(cx, &mut stream).map(Result::unwrap);
        read
    })
    .await;
    poll_fn(|cx| outbox.poll_write(cx, &mut stream)).await.unwrap();
    stream.shutdown().await.unwrap();
    end
}

/// The independent client: fastwebsockets, which masks, fragments as it is told, and collects.
#[tokio::test]
async fn another_implementation_understands_us() {
    let (client, server) = tokio::io::duplex(1000);
    let server = tokio::spawn(echo(server));
    let mut client = FragmentCollector::new(WebSocket::after_handshake(client, Role::Client));
    for length in [0, 1, 125, 126, 5000, 65_536, 90_000] {
        let text = "é".repeat(length / 2);
        client.write_frame(Frame::text(Payload::Owned(text.clone().into_bytes()))).await.unwrap();
        let answer = client.read_frame().await.unwrap();
        assert_eq!(answer.opcode, OpCode::Text);
        assert!(answer.payload == text.as_bytes(), "{length}");
    }
    for (fin, opcode, part) in [
        (false, OpCode::Binary, vec![0xff; 300]),
        (true, OpCode::Ping, b"alive".to_vec()),
        (true, OpCode::Continuation, vec![0xff; 70]),
    ] {
        client.write_frame(Frame::new(fin, opcode, None, Payload::Owned(part))).await.unwrap();
    }
    let pong = client.read_frame().await.unwrap();
    assert_eq!((pong.opcode, &pong.payload[..]), (OpCode::Pong, &b"alive"[..]));
    assert_eq!(client.read_frame().await.unwrap().payload[..], *b"370");
    client.write_frame(Frame::close(3000, b"enough")).await.unwrap();
    let close = client.read_frame().await.unwrap();
    assert_eq!((close.opcode, &close.payload[..]), (OpCode::Close, &b"\x0b\xb8bye"[..]));
    assert_eq!(server.await.unwrap().unwrap(), ReadEnd::Closed);
}
