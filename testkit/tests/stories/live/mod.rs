//! Events from Kafka to clients. Every story is told twice: with the bridge inside the edge, and with a bridge of its own
//! behind it. Kafka is the broker inside librdkafka; stories with a real one are in `tests/realtime`.

mod arrival;
mod identity;
mod limits;
mod slow;
mod changes;
mod kafka;
mod events;

use serde_json::{Value, json};

/// The section of a story: the topic `notes`, the public family `note`, with further lines for the section and further
/// settings for the family.
fn section(lines: &str, note: &str) -> String {
    format!(
        r#"  issuers: [main]
{lines}
  sources:
    - {{ topics: [notes], channel: "note:{{$.to}}" }}
  channels:
    note: {{ visible_to: "true", {note} }}
    own: {{ visible_to: claims.sub == event.to, subscribe_if: claims.sub == id }}
"#
    )
}

/// A note to `to`.
fn note(to: &str, n: u64) -> Value {
    json!({ "to": to, "n": n })
}

/// The number of a note.
fn number(publication: &Value) -> u64 {
    publication["data"]["n"].as_u64().unwrap_or_else(|| panic!("no note: {publication}"))
}

fn ended(code: u16, reason: &str) -> Option<(u16, String)> {
    Some((code, reason.to_owned()))
}

/// What brings back a client that was here: the position of what it saw last.
fn since(channel: &str, seen: &Value) -> Value {
    json!({ "channel": channel, "recover": true, "epoch": seen["epoch"], "offset": seen["offset"] })
}
