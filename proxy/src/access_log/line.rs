//! One line of the access log, and how it becomes JSON.
//!
//! Written by hand, because a line is written for every exchange: the names of the fields are literal bytes, and text is
//! copied as it is unless something in it must be escaped.

use std::time::{Duration, SystemTime};

/// One exchange. These are the fields of the log, in their order; those that do not apply are left out.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// When the request's head was complete; written as seconds since 1970, with microseconds.
    pub(crate) time: SystemTime,
    /// The request id, as in the X-Request-Id header.
    pub(crate) request_id: &'a str,
    /// The trace id (W3C Trace Context); left out where empty.
    pub(crate) trace_id: &'a str,
    /// The listener's name.
    pub(crate) listener: &'a str,
    /// The client's address, as trusted proxies tell it.
    pub(crate) client: &'a str,
    /// The request's method.
    pub(crate) method: &'a str,
    /// The host asked for.
    pub(crate) host: &'a str,
    /// The canonical path, without the query: queries carry secrets.
    pub(crate) path: &'a str,
    /// `HTTP/1.1`, for instance.
    pub(crate) protocol: &'a str,
    /// The route's name.
    pub(crate) route: Option<&'a str>,
    /// The subject of the client's identity.
    pub(crate) subject: Option<&'a str>,
    /// The status sent; absent if the client left before one was.
    pub(crate) status: Option<u16>,
    /// The last part of the problem's type, where the edge answered with one.
    pub(crate) problem: Option<&'a str>,
    /// The upstream's name.
    pub(crate) upstream: Option<&'a str>,
    /// The address of the target that was tried last.
    pub(crate) target: Option<&'a str>,
    /// Tries at upstreams after the first; left out where there was none.
    pub(crate) retries: u32,
    /// Bytes of the request's body; of a tunnel, those from the client.
    pub(crate) received_bytes: u64,
    /// Bytes of the response's body; of a tunnel, those to the client.
    pub(crate) sent_bytes: u64,
    /// From the complete head to the end; written as `took_ms`, in milliseconds.
    pub(crate) took: Duration,
    /// From the complete head to the upstream's response head; written as `upstream_ms`, in milliseconds.
    pub(crate) upstream_took: Option<Duration>,
    /// How a tunnel ended: `client`, `upstream`, `idle`, `age`, `drain` or `error`. Absent for all that was none.
    pub(crate) tunnel: Option<&'a str>,
    /// Why the exchange failed, for the operator.
    pub(crate) error: Option<&'a str>,
}

impl Line<'_> {
    /// Adds the line to a buffer, as a JSON object and the end of the line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut object = Object(out);
        object.fraction::<6>(b"{\"time\":", since);
        object.text(b",\"request_id\":", self.request_id);
        if !self.trace_id.is_empty() {
            object.text(b",\"trace_id\":", self.trace_id);
        }
        object.text(b",\"listener\":", self.listener);
        object.text(b",\"client\":", self.client);
        object.text(b",\"method\":", self.method);
        object.text(b",\"host\":", self.host);
        object.text(b",\"path\":", self.path);
        object.text(b",\"protocol\":", self.protocol);
        object.text_if_any(b",\"route\":", self.route);
        object.text_if_any(b",\"subject\":", self.subject);
        if let Some(status) = self.status {
            object.number(b",\"status\":", status);
        }
        object.text_if_any(b",\"problem\":", self.problem);
        object.text_if_any(b",\"upstream\":", self.upstream);
        object.text_if_any(b",\"target\":", self.target);
        if self.retries > 0 {
            object.number(b",\"retries\":", self.retries);
        }
        object.number(b",\"received_bytes\":", self.received_bytes);
        object.number(b",\"sent_bytes\":", self.sent_bytes);
        object.fraction::<3>(b",\"took_ms\":", self.took);
        if let Some(took) = self.upstream_took {
            object.fraction::<3>(b",\"upstream_ms\":", took);
        }
        object.text_if_any(b",\"tunnel\":", self.tunnel);
        object.text_if_any(b",\"error\":", self.error);
        out.extend_from_slice(b"}\n");
    }
}

/// An object under way. Keys come with all that stands before their values.
struct Object<'a>(&'a mut Vec<u8>);

impl Object<'_> {
    fn text(&mut self, key: &'static [u8], value: &str) {
        self.0.reserve(key.len() + value.len() + 2);
        self.0.extend_from_slice(key);
        if is_plain(value.as_bytes()) {
            self.0.push(b'"');
            self.0.extend_from_slice(value.as_bytes());
            self.0.push(b'"');
            return;
        }
        let before = self.0.len();
        // Text that is written to memory cannot fail; should it ever, the line stays JSON.
        if serde_json::to_writer(&mut *self.0, value).is_err() {
            self.0.truncate(before);
            self.0.extend_from_slice(b"null");
        }
    }

    fn text_if_any(&mut self, key: &'static [u8], value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &'static [u8], value: impl itoa::Integer) {
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A time to the microsecond, in the unit of which that is so many decimal places: 6 for seconds, 3 for milliseconds.
    fn fraction<const PLACES: usize>(&mut self, key: &'static [u8], time: Duration) {
        let unit = const { 10_u64.pow(PLACES as u32) };
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.number(key, micros / unit);
        let mut digits = [b'0'; PLACES];
        let mut rest = micros % unit;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789"[(rest % 10) as usize];
            rest /= 10;
        }
        self.0.push(b'.');
        self.0.extend_from_slice(&digits);
    }
}

/// Whether text can stand between quotes as it is (RFC 8259, section 7): neither a quote, nor a backslash, nor a control
/// character is in it. Looks at eight bytes at a time.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 0xFF;
    const TOPS: u64 = ONES << 7;
    // Has the top bit of some byte set exactly if a byte of the word is less than `limit`, which is 128 at most.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & TOPS;
    let special = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        let quotes = word ^ (ONES * u64::from(b'"'));
        let backslashes = word ^ (ONES * u64::from(b'\\'));
        below(word, 0x20) | below(quotes, 1) | below(backslashes, 1)
    };
    let Some(last) = text.last_chunk() else {
        return text.iter().all(|byte| !matches!(byte, 0..0x20 | b'"' | b'\\'));
    };
    // The last eight bytes overlap those before; looking at some twice is cheaper than at the rest one by one.
    let (words, _) = text.as_chunks();
    words.iter().fold(special(last), |found, word| found | special(word)) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn line<'a>() -> Line<'a> {
        Line {
            time: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_042_999),
            request_id: "id",
            trace_id: "",
            listener: "public",
            client: "192.0.2.1",
            method: "GET",
            host: "a.example",
            path: "/",
            protocol: "HTTP/1.1",
            route: None,
            subject: None,
            status: None,
            problem: None,
            upstream: None,
            target: None,
            retries: 0,
            received_bytes: 0,
            sent_bytes: 0,
            took: Duration::ZERO,
            upstream_took: None,
            tunnel: None,
            error: None,
        }
    }

    fn written(line: &Line<'_>) -> String {
        let mut out = Vec::new();
        line.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let expected = concat!(
            r#"{"time":1700000000.000042,"request_id":"id","listener":"public","client":"192.0.2.1","#,
            r#""method":"GET","host":"a.example","path":"/","protocol":"HTTP/1.1","received_bytes":0,"#,
            r#""sent_bytes":0,"took_ms":0.000}"#,
            "\n"
        );
        assert_eq!(written(&line()), expected);
    }

    #[test]
    fn what_applies_is_written_in_order() {
        let full = Line {
            trace_id: "4bf9",
            route: Some("r"),
            subject: Some("ann"),
            status: Some(502),
            problem: Some("bad-gateway"),
            upstream: Some("u"),
            target: Some("[::1]:80"),
            retries: 2,
            received_bytes: u64::MAX,
            sent_bytes: 7,
            took: Duration::from_micros(12_034),
            upstream_took: Some(Duration::from_micros(5)),
            tunnel: Some("idle"),
            error: Some("broken"),
            ..line()
        };
        let expected = concat!(
            r#"{"time":1700000000.000042,"request_id":"id","trace_id":"4bf9","listener":"public","#,
            r#""client":"192.0.2.1","method":"GET","host":"a.example","path":"/","protocol":"HTTP/1.1","#,
            r#""route":"r","subject":"ann","status":502,"problem":"bad-gateway","upstream":"u","#,
            r#""target":"[::1]:80","retries":2,"received_bytes":18446744073709551615,"sent_bytes":7,"#,
            r#""took_ms":12.034,"upstream_ms":0.005,"tunnel":"idle","error":"broken"}"#,
            "\n"
        );
        assert_eq!(written(&full), expected);
    }

    #[test]
    fn a_clock_before_1970_is_1970() {
        let time = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert!(written(&Line { time, ..line() }).starts_with(r#"{"time":0.000000,"#));
    }

    /// RFC 8259, section 7: a log line that a client could end would let it write lines of its own.
    #[test]
    fn nothing_ends_a_string_or_the_line() {
        for byte in 0..=0x7F_u8 {
            for place in 0..17 {
                let mut text = "x".repeat(place);
                text.push(char::from(byte));
                text.push_str("yyyyyyyyy");
                let line = written(&Line { path: &text, ..line() });
                assert_eq!(line.matches('\n').count(), 1, "{text:?}");
                let value: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(value["path"], text.as_str());
            }
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[ -~]{0,40}", "[\\x00-\\x22\\\\]{0,9}"]
    }

    proptest! {
        /// Whatever stands in a line, JSON says the same.
        #[test]
        fn any_line_is_json_that_says_the_same(
            texts in prop::collection::vec(text(), 14),
            present in any::<u8>(),
            (status, retries, received, sent) in any::<(u16, u32, u64, u64)>(),
            (micros, took) in (0..=u64::MAX / 4096, any::<u32>()),
        ) {
            let option = |bit: u8, index: usize| (present >> bit & 1 == 1).then(|| texts[index].as_str());
            let line = Line {
                time: SystemTime::UNIX_EPOCH + Duration::from_micros(micros),
                request_id: &texts[0],
                trace_id: &texts[1],
                listener: &texts[2],
                client: &texts[3],
                method: &texts[4],
                host: &texts[5],
                path: &texts[6],
                protocol: &texts[7],
                route: option(0, 8),
                subject: option(1, 9),
                status: (present & 4 > 0).then_some(status),
                problem: option(3, 10),
                upstream: option(4, 11),
                target: option(5, 12),
                retries,
                received_bytes: received,
                sent_bytes: sent,
                took: Duration::from_micros(u64::from(took)),
                upstream_took: (present & 64 > 0).then(|| Duration::from_micros(u64::from(took) / 2)),
                tunnel: None,
                error: option(7, 13),
            };
            let value: Value = serde_json::from_str(&written(&line)).unwrap();
            for (name, text) in [
                ("request_id", Some(line.request_id)),
                ("trace_id", Some(line.trace_id).filter(|id| !id.is_empty())),
                ("listener", Some(line.listener)),
                ("client", Some(line.client)),
                ("method", Some(line.method)),
                ("host", Some(line.host)),
                ("path", Some(line.path)),
                ("protocol", Some(line.protocol)),
                ("route", line.route),
                ("subject", line.subject),
                ("problem", line.problem),
                ("upstream", line.upstream),
                ("target", line.target),
                ("error", line.error),
            ] {
                prop_assert_eq!(value.get(name).and_then(Value::as_str), text, "{}", name);
            }
            prop_assert_eq!(value.get("status").and_then(Value::as_u64), line.status.map(u64::from));
            prop_assert_eq!(value.get("retries").map_or(Some(0), Value::as_u64), Some(u64::from(retries)));
            prop_assert_eq!(value["received_bytes"].as_u64(), Some(received));
            prop_assert_eq!(value["sent_bytes"].as_u64(), Some(sent));
            let close = |name: &str, exact: f64| (value[name].as_f64().unwrap() - exact).abs() < 1e-3;
            prop_assert!(close("time", micros as f64 / 1e6));
            prop_assert!(close("took_ms", f64::from(took) / 1e3));
        }
    }
}
