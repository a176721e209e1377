//! WebSockets: an event of a record, frames out and in, and the tunnel's look for where frames end.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use sallyport::Frames;
use sallyport_config::ws_bridge::Source;
use sallyport_config::{Located, Report};
use sallyport_kafka::Record;
use sallyport_ws_bridge::mapping::Mapping;
use sallyport_ws_bridge::websocket::{Incoming, Limits, Outbox, ReadEnd, Reader, text_frame};

use crate::case::{Case, again, fresh};

const EVENT: &str =
    r#"{"id":"batch-7","user":"user-1","title":"Essays","words":[120,340,560],"at":"2026-03-01T10:00:00Z"}"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        again("bridge: an event of a record", |_| {
            let (mapping, record) = (mapping(), record());
            move || assert!(matches!(black_box(mapping.apply(black_box(&record))), Ok(Some(_))))
        }),
        again("websocket: make a frame of 300 B", |_| {
            let text = "x".repeat(300);
            move || drop(black_box(text_frame(black_box(&[b"{\"push\":", text.as_bytes(), b"}"]))))
        }),
        again("websocket: make a frame of 70 KB", |_| {
            let text = "x".repeat(70_000);
            move || drop(black_box(text_frame(black_box(&[b"{\"push\":", text.as_bytes(), b"}"]))))
        }),
        fresh("websocket: write 10 frames that wait", |_| {
            let part = || {
                let mut outbox = Outbox::<()>::new(1 << 20);
                (0..10).for_each(|_| outbox.push(text_frame(&[EVENT.as_bytes()]), ()).unwrap());
                outbox
            };
            let write = |outbox: &mut Outbox| {
                let mut cx = Context::from_waker(Waker::noop());
                assert!(outbox.poll_write(&mut cx, &mut tokio::io::sink()).is_ready());
            };
            (part, write)
        }),
        again("websocket: read a message of 100 B", |_| {
            let frame = masked(EVENT.as_bytes());
            move || {
                let (mut reader, mut stream, mut read) = (Reader::new(b""), black_box(&frame[..]), 0);
                let mut take = |incoming: Incoming<'_>| {
                    if let Incoming::Text(text) = incoming {
                        read += text.len();
                    }
                    ControlFlow::Break(())
                };
                let mut cx = Context::from_waker(Waker::noop());
                let limits = Limits { message_bytes: 64 * 1024 };
                let end = reader.poll_read(&mut cx, &mut stream, &limits, &mut take);
                assert!(matches!(end, Poll::Ready(Ok(ReadEnd::Paused))));
                assert_eq!(read, EVENT.len());
            }
        }),
        again("tunnel: pass 16 KB of small frames", |_| {
            let stream: Vec<u8> = masked(EVENT.as_bytes()).into_iter().cycle().take(16 * 1024).collect();
            move || {
                let mut frames = Frames::default();
                frames.pass(black_box(&stream));
                assert!(!frames.closed());
            }
        }),
    ]
}

fn mapping() -> Mapping {
    let text = |text: &str| Located::nowhere(text.to_owned());
    let mut source = Source {
        kafka: None,
        topics: vec![text("batches")],
        view: None,
        channel: text("batch:{$.id}"),
        tags: Default::default(),
        data: None,
        key: Some(text("{key}")),
        when: Some(text("size(event.title) > 0")),
        dead_letter: None,
    };
    source.tags.push(text("type"), text("{ce.type}"));
    let mut report = Report::default();
    let mapping = Mapping::compile(&Located::nowhere(source), &[], &mut report);
    mapping.unwrap_or_else(|| panic!("{report}"))
}

fn record() -> Record {
    let header = |name: &str, value: &'static str| (Box::from(name), Bytes::from_static(value.as_bytes()));
    Record {
        topic: "batches".into(),
        partition: 3,
        offset: 4711,
        timestamp: 1_700_000_000_000,
        key: Some(Bytes::from_static(b"batch-7")),
        headers: vec![
            header("ce_specversion", "1.0"),
            header("ce_type", "batch.registered"),
            header("ce_source", "/batches"),
            header("ce_id", "0190b2c4-0000-7000-8000-000000000001"),
        ],
        value: Some(Bytes::from_static(EVENT.as_bytes())),
    }
}

/// A text message as a client sends it (RFC 6455, section 5.2), shorter than 126 bytes.
fn masked(text: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126);
    let payload = text.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
    [0x81, 0x80 | length].into_iter().chain(key).chain(payload).collect()
}
