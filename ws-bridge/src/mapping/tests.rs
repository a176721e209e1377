//! Tables of mappings.

use proptest::prelude::*;
use sallyport_config::Location;
use serde_json::json;

use super::*;

/// The mapping of these lines of a source, and the visibility rules that it feeds.
fn mapped(lines: &str, rules: &[&str]) -> Result<Mapping, String> {
    let text = format!("kafka:\n  main: {{ brokers: [localhost:9092] }}\nws_bridge:\n  sources:\n{lines}");
    let mut report = Report::default();
    let file = report.add_source("routes.yaml", text.as_str());
    let source = source(lines, file);
    let variables = ["claims", "event", "ce", "tags", "key", "channel", "id"];
    let rules: Vec<Condition> = rules
        .iter()
        .map(|rule| {
            Condition::compile(&Located::nowhere((*rule).to_owned()), &variables, &mut report).unwrap()
        })
        .collect();
    let rules: Vec<&Condition> = rules.iter().collect();
    Mapping::compile(&source, &rules, &mut report).ok_or_else(|| report.to_string())
}

/// Reads `key: value` lines as a source; each value's place is where the text has it.
fn source(lines: &str, file: u16) -> Located<Source> {
    let at = |line: usize, value: &str, whole: &str| {
        let column = whole.find(value).unwrap_or(0) + 1;
        Location { file, line: line as u32 + 5, column: column as u32 }
    };
    let mut read: Source = serde_json::from_value(json!({"topics": ["t"], "channel": "x:1"})).unwrap();
    for (number, whole) in lines.lines().enumerate() {
        let (name, value) = whole.trim().split_once(": ").unwrap();
        let located = Located::new(value.to_owned(), at(number, value, whole));
        match name {
            "channel" => read.channel = located,
            "data" => read.data = Some(located),
            "key" => read.key = Some(located),
            "when" => read.when = Some(located),
            tag => read.tags.push(Located::nowhere(tag.trim_start_matches("tag ").to_owned()), located),
        }
    }
    Located::nowhere(read)
}

fn record(value: &str) -> Record {
    Record {
        topic: "orders".into(),
        partition: 3,
        offset: 17,
        timestamp: 1_700_000_000_000,
        key: Some(Bytes::from_static(b"k1")),
        headers: Vec::new(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn with_headers(mut record: Record, headers: &[(&str, &str)]) -> Record {
    for (name, value) in headers {
        record.headers.push(((*name).into(), Bytes::copy_from_slice(value.as_bytes())));
    }
    record
}

fn applied(lines: &str, record: &Record) -> Result<Event, PoisonReason> {
    let mapping = mapped(lines, &[]).unwrap();
    mapping.apply(record).map(|event| event.expect("an event")).map_err(|poison| poison.reason)
}

#[test]
fn every_field_may_stand_in_a_channel() {
    let value = r#"{"id": 42, "s": "x y", "t": true, "f": 1.50, "deep": {"a b": ["p", "q"]}, "big": 18446744073709551615}"#;
    let record = with_headers(record(value), &[("ce_type", "made"), ("Trace", "t-1")]);
    for (text, channel) in [
        ("batch:{$.id}", "batch:42"),
        ("batch:{$.s}", "batch:x y"),
        ("batch:{$.t}", "batch:true"),
        ("batch:{$.f}", "batch:1.5"),
        ("batch:{$.big}", "batch:18446744073709551615"),
        ("batch:{$.deep['a b'][1]}", "batch:q"),
        ("batch:{key}-{topic}", "batch:k1-orders"),
        ("batch:{ce.type}/{header.trace}", "batch:made/t-1"),
        ("batch:{{{$.id}}}", "batch:{42}"),
        ("batch:fixed", "batch:fixed"),
        ("batch", "batch"),
        ("batch:ü{$.id}ü", "batch:ü42ü"),
    ] {
        let event = applied(&format!("channel: {text}"), &record).unwrap();
        assert_eq!(&*event.channel, channel, "{text}");
        assert_eq!(mapped(&format!("channel: {text}"), &[]).unwrap().family(), "batch");
    }
}

#[test]
fn a_channel_that_cannot_be_is_poison() {
    let value = json!({
        "null": null, "list": [1], "map": {}, "empty": "", "star": "a*", "line": "a\nb", "long": "x".repeat(250), "ok": 1,
    })
    .to_string();
    let mut record = record(&value);
    record.key = Some(Bytes::from_static(b"\xff"));
    record.headers.push(("bin".into(), Bytes::from_static(b"\xfe")));
    use PoisonReason as P;
    for (text, reason) in [
        ("batch:{$.missing}", P::FieldMissing),
        ("batch:{$.null}", P::FieldMissing),
        ("batch:{$.ok.deeper}", P::FieldMissing),
        ("batch:{header.none}", P::FieldMissing),
        ("batch:{ce.type}", P::FieldMissing),
        ("batch:{$.list}", P::FieldType),
        ("batch:{$.map}", P::FieldType),
        ("batch:{key}", P::NotText),
        ("batch:{header.bin}", P::NotText),
        ("batch:{$.empty}", P::Name),
        ("batch:{$.star}", P::Name),
        ("batch:{$.line}", P::Name),
        ("batch:{$.long}", P::Name),
    ] {
        assert_eq!(applied(&format!("channel: {text}"), &record).unwrap_err(), reason, "{text}");
    }
    record.key = None;
    assert_eq!(applied("channel: batch:{key}", &record).unwrap_err(), P::FieldMissing);
    let poison = mapped("channel: batch:{$.a['b c']}", &[]).unwrap().apply(&record).unwrap_err();
    assert_eq!(poison.to_string(), "the record has no `$.a[\"b c\"]`");
}

#[test]
fn a_value_that_is_not_one_json_value_is_poison() {
    for value in ["", "{", "{} {}", "nope", "{\"a\": 1}\n{\"a\": 2}"] {
        assert_eq!(
            applied("channel: batch:1", &record(value)).unwrap_err(),
            PoisonReason::NotJson,
            "{value}"
        );
    }
    let mut bytes = record("");
    bytes.value = Some(Bytes::from_static(b"{\"a\": \"\xff\"}"));
    assert_eq!(applied("channel: batch:1", &bytes).unwrap_err(), PoisonReason::NotJson);
}

#[test]
fn a_tombstone_is_no_event() {
    let mut tombstone = record("");
    tombstone.value = None;
    assert!(mapped("channel: batch:{$.id}", &[]).unwrap().apply(&tombstone).unwrap().is_none());
}

#[test]
fn tags_and_keys_that_are_missing_are_left_out() {
    let lines = "channel: batch:1\ntag kind: {$.kind}\ntag none: {$.none}\ntag topic: t-{topic}";
    let event = applied(lines, &record(r#"{"kind": "a"}"#)).unwrap();
    let tags: Vec<_> = event.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(tags, [("kind", "a"), ("topic", "t-orders")]);
    assert_eq!(event.key.as_deref(), Some("k1"));
    assert_eq!((event.time, event.place.partition, event.place.offset), (1_700_000_000_000, 3, 17));
    let keyed = applied("channel: batch:1\nkey: {$.kind}/{key}", &record(r#"{"kind": "a"}"#)).unwrap();
    assert_eq!(keyed.key.as_deref(), Some("a/k1"));
    let unkeyed = applied("channel: batch:1\nkey: {$.none}", &record("{}")).unwrap();
    assert_eq!(unkeyed.key, None);
    let long = json!({"kind": "x".repeat(2000)}).to_string();
    assert_eq!(
        applied("channel: batch:1\ntag kind: {$.kind}", &record(&long)).unwrap_err(),
        PoisonReason::Name
    );
    assert_eq!(applied("channel: batch:1\nkey: {$.kind}", &record(&long)).unwrap().key, None);
}

#[test]
fn data_are_the_bytes_of_the_record() {
    let value = " {\"a\" :1.0, \"data\": {\"x\":  [1e2, \"\\u0041\"]}}\n";
    let record = record(value);
    let event = applied("channel: batch:1", &record).unwrap();
    assert_eq!(event.data, value.trim());
    let range = record.value.as_ref().unwrap().as_ptr_range();
    assert!(range.contains(&event.data.as_ptr()), "shared, not copied");
    let part = applied("channel: batch:{$.a}\ndata: $.data", &record).unwrap();
    assert_eq!(part.data, "{\"x\":  [1e2, \"\\u0041\"]}");
    assert!(range.contains(&part.data.as_ptr()), "shared, not copied");
    assert_eq!(applied("channel: batch:1\ndata: $.data.x[1]", &record).unwrap().data, "\"\\u0041\"");
    assert_eq!(applied("channel: batch:1\ndata: $.none", &record).unwrap_err(), PoisonReason::NoData);
}

/// Messages of the client protocol are lines.
#[test]
fn line_breaks_between_tokens_become_spaces() {
    let event = applied("channel: batch:1", &record("{\r\n \"a\":\n\"x\\ny\"\r}\n")).unwrap();
    assert_eq!(event.data, "{   \"a\": \"x\\ny\" }");
}

/// CloudEvents 1.0.2, Kafka protocol binding, section 3.2.5.
#[test]
fn cloud_events_in_binary_mode() {
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_type", "com.example.someevent"),
        ("ce_source", "/mycontext/subcontext"),
        ("ce_id", "1234-1234-1234"),
        ("ce_time", "2018-04-05T03:56:24Z"),
        ("content-type", "application/json; charset=UTF-8"),
    ];
    let record = with_headers(record(r#"{"owner": "u1"}"#), &headers);
    let lines = "channel: some:{ce.id}\ntag type: {ce.type}\ntag kind: {ce.datacontenttype}";
    let mapping = mapped(lines, &["ce.source == event.owner", "size(ce) > 0"]).unwrap();
    let event = mapping.apply(&record).unwrap().unwrap();
    assert_eq!(
        (&*event.channel, event.data.as_ref()),
        ("some:1234-1234-1234", br#"{"owner": "u1"}"#.as_slice())
    );
    assert_eq!(&*event.tags[0].1, "com.example.someevent");
    assert_eq!(&*event.tags[1].1, "application/json; charset=UTF-8");
    assert_eq!(
        event.facts["ce"],
        json!({
            "specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext/subcontext",
            "id": "1234-1234-1234", "time": "2018-04-05T03:56:24Z", "datacontenttype": "application/json; charset=UTF-8",
        })
    );
}

/// CloudEvents 1.0.2, Kafka protocol binding, section 3.3.3, and JSON event format, section 3.2.
#[test]
fn cloud_events_in_structured_mode() {
    let envelope = r#"{
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "id" : "A234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleothervalue" : 5,
        "datacontenttype" : "application/json",
        "data" : { "appinfoA" : "abc", "appinfoB" : 123 }
    }"#;
    let headers = [("Content-Type", "application/cloudevents+json; charset=UTF-8"), ("ce_type", "header")];
    let record = with_headers(record(envelope), &headers);
    let lines = "channel: some:{$.appinfoB}\ntag type: {ce.type}\ntag other: {ce.comexampleothervalue}";
    let mapping = mapped(lines, &["ce.source == event.appinfoA"]).unwrap();
    let event = mapping.apply(&record).unwrap().unwrap();
    assert_eq!(&*event.channel, "some:123");
    assert_eq!(event.data, r#"{ "appinfoA" : "abc", "appinfoB" : 123 }"#);
    assert_eq!((&*event.tags[0].1, &*event.tags[1].1), ("com.example.someevent", "5"));
    assert_eq!(
        event.facts,
        json!({"ce": {"source": "/mycontext"}, "event": {"appinfoA": "abc", "appinfoB": 123}})
    );
    let part = mapped("channel: some:1\ndata: $.appinfoA", &["size(ce) == 1"])
        .unwrap()
        .apply(&record)
        .unwrap()
        .unwrap();
    assert_eq!(part.data, "\"abc\"");
    assert_eq!(part.facts["ce"].as_object().unwrap().len(), 7);
}

#[test]
fn envelopes_that_cannot_be_read_are_poison() {
    use PoisonReason as P;
    let structured = "application/cloudevents+json";
    for (content_type, value, expected) in [
        (structured, "[]", Err(P::CloudEvent)),
        (structured, "{", Err(P::CloudEvent)),
        (structured, r#"{"id": "1"}"#, Err(P::NoData)),
        (structured, r#"{"data": 1, "data_base64": "MQ=="}"#, Err(P::CloudEvent)),
        (structured, r#"{"data_base64": "eyJhIjoxfQ=="}"#, Ok("{\"a\":1}")),
        (structured, r#"{"data_base64": "AAEC"}"#, Err(P::NotJson)),
        (structured, r#"{"data_base64": "%"}"#, Err(P::CloudEvent)),
        (structured, r#"{"data_base64": 1}"#, Err(P::CloudEvent)),
        (structured, r#"{"data": "<x/>", "datacontenttype": "text/xml"}"#, Ok("\"<x/>\"")),
        (structured, r#"{"data": 1, "data": 2}"#, Ok("2")),
        ("application/cloudevents+avro", "{}", Err(P::CloudEvent)),
        ("application/cloudevents-batch+json", "[]", Err(P::CloudEvent)),
        ("application/json", r#"{"data": 1}"#, Ok(r#"{"data": 1}"#)),
        ("", "1", Ok("1")),
    ] {
        let record = with_headers(record(value), &[("content-type", content_type)]);
        let data =
            applied("channel: some:1", &record).map(|event| String::from_utf8(event.data.to_vec()).unwrap());
        assert_eq!(data.as_deref().map_err(|reason| *reason), expected, "{content_type} {value}");
    }
}

#[test]
fn conditions_get_what_they_read_and_no_more() {
    let record = with_headers(
        record(r#"{"owner": "u1", "id": 7, "secret": "x"}"#),
        &[("ce_type", "t"), ("ce_id", "1")],
    );
    let facts =
        |lines: &str, rules: &[&str]| mapped(lines, rules).unwrap().apply(&record).unwrap().unwrap().facts;
    assert_eq!(facts("channel: batch:1", &["true"]), json!({}));
    assert_eq!(facts("channel: batch:1", &["claims.sub == event.owner"]), json!({"event": {"owner": "u1"}}));
    assert_eq!(
        facts("channel: batch:1\ntag a: {$.id}", &["tags.a == key", "ce.type == 't'"]),
        json!({"tags": {"a": "7"}, "key": "k1", "ce": {"type": "t"}})
    );
    assert_eq!(facts("channel: batch:1\nwhen: topic == 'orders'", &[]), json!({"topic": "orders"}));
}

#[test]
fn only_records_for_which_when_holds_become_events() {
    for (when, expected) in [
        ("event.state == 'open'", true),
        ("event.state != 'open'", false),
        ("event.missing == 1", false),
        ("ce.type == 'a' && key == 'k1' && tags.s == 'open' && topic == 'orders'", true),
        ("has(ce.type) && !has(ce.subject)", true),
    ] {
        let mapping = mapped(&format!("channel: batch:1\ntag s: {{$.state}}\nwhen: {when}"), &[]).unwrap();
        let record = with_headers(record(r#"{"state": "open"}"#), &[("ce_type", "a")]);
        assert_eq!(mapping.apply(&record).unwrap().is_some(), expected, "{when}");
    }
}

/// A source of a view's deletions, and one of all else: neither's records are poison for the other.
#[test]
fn what_when_keeps_out_need_not_have_what_the_channel_needs() {
    let mapping = mapped("channel: batch:{$.was.batch}\ndata: $.was\nwhen: event.row == null", &[]).unwrap();
    assert!(mapping.apply(&record(r#"{"row": {"batch": 1}}"#)).unwrap().is_none());
    let event = mapping.apply(&record(r#"{"row": null, "was": {"batch": 1}}"#)).unwrap().unwrap();
    assert_eq!((&*event.channel, &event.data[..]), ("batch:1", &br#"{"batch": 1}"#[..]));
    assert_eq!(mapping.apply(&record(r#"{"row": null}"#)).unwrap_err().reason, PoisonReason::FieldMissing);
}

#[test]
fn faults_are_refused_at_their_place() {
    for (lines, place, message) in [
        ("channel: batch:{$.a", "5:16", "this `{` is never closed"),
        ("channel: batch:a}", "5:17", "this `}` closes nothing"),
        ("channel: batch:{kye}", "5:16", "did you mean `{key}`?"),
        ("channel: batch:{foo}", "5:16", "`{header.name}`, `{topic}`"),
        ("channel: batch:{ce.Type}", "5:16", "lower case letters and digits"),
        ("channel: batch:{ce.}", "5:16", "no name of a CloudEvents attribute"),
        ("channel: batch:{header.}", "5:16", "unknown field `{header.}`"),
        ("channel: batch:{$..a}", "5:16", "can lead to several values"),
        ("channel: batch:{$.a b}", "5:16", "has blanks between its parts"),
        ("channel: {$.family}:1", "5:10", "begins with its family's name"),
        ("channel: ba{$.family}:1", "5:10", "begins with its family's name"),
        ("channel: :1", "5:10", "begins with its family's name"),
        ("channel: batch:1\ndata: $.*", "6:7", "can lead to several values"),
        ("channel: batch:1\nkey: {", "6:6", "is never closed"),
        ("channel: batch:1\ntag x: {nope}", "6:8", "unknown field `{nope}`"),
        ("channel: batch:1\nwhen: claims.sub == 'x'", "6:7", "unknown variable `claims`"),
    ] {
        let report = mapped(lines, &[]).expect_err(lines);
        assert!(report.contains(message), "{lines}: {report}");
        assert!(report.contains(&format!("routes.yaml:{place}\n")), "{lines}: {place}: {report}");
    }
}

#[test]
fn a_fault_tells_nothing_of_the_record() {
    let secret = "sesame";
    let mapping = mapped("channel: batch:{$.list}\ntag t: {header.h}", &["ce.x == 'y'"]).unwrap();
    let mut records = vec![
        record(&format!("{{\"list\": [\"{secret}\"]}}")),
        record(&format!("{{\"list\": {secret}}}")),
        record(&format!("{{\"list\": \"{}\"}}", secret.repeat(100))),
        with_headers(
            record(&format!("{{\"id\": {secret}}}")),
            &[("content-type", "application/cloudevents+json")],
        ),
    ];
    records[0].headers.push(("h".into(), Bytes::from(secret)));
    for record in records {
        let poison = mapping.apply(&record).unwrap_err();
        assert!(!poison.to_string().contains(secret), "{poison}");
    }
    let labels: BTreeSet<&str> = PoisonReason::ALL.into_iter().map(PoisonReason::label).collect();
    assert_eq!(labels.len(), PoisonReason::ALL.len());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-d]|data", inner), 0..4)
                .prop_map(|all| all.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn data_on_one_line_pass_untouched(value in any_json()) {
        let text = value.to_string();
        let event = applied("channel: batch:1\ntag a: x", &record(&text)).unwrap();
        prop_assert_eq!(event.data.as_ref(), text.as_bytes());
    }

    #[test]
    fn data_on_several_lines_mean_the_same(value in any_json()) {
        let text = serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n");
        let event = applied("channel: batch:1", &record(&text)).unwrap();
        prop_assert!(!event.data.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
        prop_assert_eq!(event.data.len(), text.len());
        prop_assert_eq!(serde_json::from_slice::<Value>(&event.data).unwrap(), value);
    }

    #[test]
    fn no_bytes_do_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        text in r#"[\[\]{}:,"adt1e.\-\\ \n]{0,32}"#,
        structured in any::<bool>(),
    ) {
        let mapping = mapped(
            "channel: batch:{$.a}\ntag t: {ce.type}\ndata: $.data\nkey: {$.d[0]}\nwhen: event.a != 1 || true",
            &["event.data == ce.id"],
        ).unwrap();
        for value in [bytes, text.into_bytes()] {
            let mut record = record("");
            record.value = Some(value.into());
            if structured {
                record = with_headers(record, &[("content-type", "application/cloudevents+json")]);
            }
            if let Ok(Some(event)) = mapping.apply(&record) {
                prop_assert!(serde_json::from_slice::<Value>(&event.data).is_ok());
                prop_assert!(!event.data.contains(&b'\n'));
            }
        }
    }
}
