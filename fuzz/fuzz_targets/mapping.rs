//! Records that producers send: mapping one never panics, tells the same twice, and what it makes is one JSON value on one
//! line in a channel of its family. With headers it may be a CloudEvent in either mode.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sallyport_config::ws_bridge::Source;
use sallyport_config::{Located, Report};
use sallyport_kafka::Record;
use sallyport_ws_bridge::mapping::{CHANNEL_BYTES_MAX, Mapping};

static MAPPING: LazyLock<Mapping> = LazyLock::new(|| {
    let text = |text: &str| Located::nowhere(text.to_owned());
    let mut source = Source {
        kafka: None,
        topics: vec![text("orders")],
        view: None,
        channel: text("batch:{$.id}"),
        tags: Default::default(),
        data: None,
        key: Some(text("{key}/{$.items[1].sku}")),
        when: Some(text(
            "event.items.all(x, x.sku != event.id) || size(ce) < 3 || tags.type.matches('^a+$')",
        )),
        dead_letter: None,
    };
    source.tags.push(text("type"), text("{ce.type}"));
    let mut report = Report::default();
    let mapping = Mapping::compile(&Located::nowhere(source), &[], &mut report);
    mapping.unwrap_or_else(|| panic!("{report}"))
});

// Lines `name: value` are headers, up to an empty line or a line without a colon; the rest is the value.
fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut headers: Vec<(Box<str>, Bytes)> = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let Some(colon) = rest[..end].iter().position(|byte| *byte == b':') else { break };
        let Ok(name) = std::str::from_utf8(&rest[..colon]) else { break };
        if rest.starts_with(b"{") {
            break;
        }
        headers.push((name.into(), Bytes::copy_from_slice(rest[colon + 1..end].trim_ascii())));
        rest = &rest[end + 1..];
    }
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    let record = Record {
        topic: "orders".into(),
        partition: 0,
        offset: 0,
        timestamp: 0,
        key: headers.first().map(|(_, value)| value.clone()),
        headers,
        value: Some(Bytes::copy_from_slice(rest)),
    };
    let first = MAPPING.apply(&record);
    let again = MAPPING.apply(&record);
    match (first, again) {
        (Ok(Some(event)), Ok(Some(same))) => {
            assert_eq!((&event.channel, &event.data, &event.facts), (&same.channel, &same.data, &same.facts));
            assert!(event.channel.starts_with("batch:") && event.channel.len() <= CHANNEL_BYTES_MAX);
            assert!(!event.channel.contains('*') && !event.channel.contains(char::is_control));
            assert!(!event.data.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
            serde_json::from_slice::<serde_json::Value>(&event.data).expect("one JSON value");
        }
        (Ok(None), Ok(None)) => {}
        (Err(poison), Err(same)) => assert_eq!(poison, same),
        (first, again) => panic!("{first:?} and then {again:?}"),
    }
});
