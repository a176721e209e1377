//! What a client wants of server-sent events: `?channel=a&channel=b`, or `?channels=a,b`, and where it was.

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use sallyport_sidecar::Refusal;

/// Channels that one request may name.
const CHANNELS_MAX: usize = 1024;
/// What EventSource sends when it comes back (WHATWG HTML, section 9.2.4).
const LAST_EVENT_ID: &str = "last-event-id";

/// What a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Each once.
    pub(super) channels: Vec<String>,
    /// The header's, or for a client that cannot set one, the parameter's.
    pub(super) last_event_id: Option<String>,
}

/// Reads a query; parameters with other names are nobody's. The header `Last-Event-ID` goes before the parameter: it is
/// newer, because EventSource repeats the address that it was given.
pub(super) fn wish(query: &str, headers: &HeaderMap) -> Result<Wish, Refusal> {
    let mut wish = Wish::default();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match decoded(name)?.as_str() {
            "channel" => wish.add(decoded(value)?)?,
            // Decoded behind the split, so that a name may contain a comma.
            "channels" => value.split(',').try_for_each(|channel| wish.add(decoded(channel)?))?,
            "last_event_id" => wish.last_event_id = Some(decoded(value)?),
            _ => {}
        }
    }
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        let id = std::str::from_utf8(id.as_bytes())
            .map_err(|_| Refusal::bad_request("Last-Event-ID is not UTF-8"))?;
        wish.last_event_id = Some(id.to_owned());
    }
    wish.last_event_id = wish.last_event_id.filter(|id| !id.is_empty());
    Ok(wish)
}

impl Wish {
    fn add(&mut self, channel: String) -> Result<(), Refusal> {
        if channel.is_empty() {
            return Err(Refusal::bad_request("a channel without a name is asked for"));
        }
        if self.channels.contains(&channel) {
            return Ok(());
        }
        if self.channels.len() == CHANNELS_MAX {
            return Err(Refusal::bad_request(format!("more than {CHANNELS_MAX} channels are asked for")));
        }
        self.channels.push(channel);
        Ok(())
    }
}

/// As `application/x-www-form-urlencoded` has it.
fn decoded(text: &str) -> Result<String, Refusal> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| Refusal::bad_request("the query is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(query: &str) -> Result<Wish, Refusal> {
        wish(query, &HeaderMap::new())
    }

    #[test]
    fn channels_are_named_one_by_one_or_in_a_list() {
        let rows: [(&str, &[&str]); 7] = [
            ("", &[]),
            ("other=1&&x", &[]),
            ("channel=a&channel=b&channel=a", &["a", "b"]),
            ("channels=a,b&channel=c", &["a", "b", "c"]),
            ("channel=batch%3A42&channel=a+b", &["batch:42", "a b"]),
            ("channel=a,b", &["a,b"]),
            ("channels=a%2Cb,%C3%A9", &["a,b", "é"]),
        ];
        for (query, channels) in rows {
            assert_eq!(of(query).unwrap().channels, channels, "{query}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for query in ["channel=", "channel", "channels=a,,b", "channels=", "channel=%ff", "%ff=a"] {
            assert!(of(query).is_err(), "{query}");
        }
        let many =
            |count: usize| of(&(0..count).map(|number| format!("channel={number}&")).collect::<String>());
        assert_eq!(many(CHANNELS_MAX).unwrap().channels.len(), CHANNELS_MAX);
        assert!(many(CHANNELS_MAX + 1).is_err());
    }

    #[test]
    fn the_header_says_last_where_the_client_was() {
        assert_eq!(of("last_event_id=a%3A1").unwrap().last_event_id.as_deref(), Some("a:1"));
        assert_eq!(of("last_event_id=").unwrap().last_event_id, None);
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(LAST_EVENT_ID),
            HeaderValue::from_static("b:2"),
        )]);
        let both = wish("last_event_id=a%3A1", &headers).unwrap();
        assert_eq!(both.last_event_id.as_deref(), Some("b:2"));
    }
}
