//! What a client is told: replies to its commands and pushes. JSON texts without line breaks; frames are put around
//! them elsewhere.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::codes::{ErrorCode, Unsubscribed};

/// The ping of the protocol, and the pong.
pub(crate) const PING: &str = "{}";

/// What a connection begins with.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Connected {
    pub(crate) client: String,
    pub(crate) version: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) expires: bool,
    /// Seconds until the token has to be refreshed.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) ttl: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) subs: BTreeMap<String, Box<RawValue>>,
    /// Seconds between two pings.
    pub(crate) ping: u64,
    pub(crate) pong: bool,
    pub(crate) node: String,
}

/// What a subscription begins with.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Subscribed {
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) expires: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) ttl: u64,
    pub(crate) recoverable: bool,
    pub(crate) epoch: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) publications: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) recovered: bool,
    pub(crate) offset: u64,
    pub(crate) positioned: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) was_recovering: bool,
}

/// What was sent before.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    pub(crate) publications: Vec<Box<RawValue>>,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

/// Who a client is, to others.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClientInfo {
    pub(crate) user: String,
    pub(crate) client: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Presence {
    pub(crate) presence: BTreeMap<String, ClientInfo>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PresenceStats {
    pub(crate) num_clients: usize,
    pub(crate) num_users: usize,
}

/// How long a refreshed token is good for.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Refreshed {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) client: String,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) expires: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) ttl: u64,
}

/// A result without members.
#[derive(Debug, Serialize)]
pub(crate) struct Nothing {}

/// What a procedure answered.
#[derive(Debug, Serialize)]
pub(crate) struct RpcAnswer<T> {
    pub(crate) data: T,
}

/// The reply to a command: its id and its result, under the command's name.
pub(crate) fn result(id: u32, command: &'static str, result: &impl Serialize) -> String {
    json(&Reply { id, member: command, value: result })
}

/// The reply to a command that failed.
pub(crate) fn error(id: u32, error: ErrorCode) -> String {
    #[derive(Serialize)]
    struct Body {
        code: u32,
        message: &'static str,
        #[serde(skip_serializing_if = "is_false")]
        temporary: bool,
    }
    let ErrorCode { code, message, temporary } = error;
    json(&Reply { id, member: "error", value: &Body { code, message, temporary } })
}

/// The end of a subscription that the client did not ask for.
pub(crate) fn unsubscribed(channel: &str, why: Unsubscribed) -> String {
    #[derive(Serialize)]
    struct Body {
        code: u32,
        reason: &'static str,
    }
    push(channel, "unsubscribe", &Body { code: why.code, reason: why.reason })
}

/// Somebody came (`join`) or went (`leave`).
pub(crate) fn presence_change(channel: &str, what: &'static str, info: &ClientInfo) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        info: &'a ClientInfo,
    }
    push(channel, what, &Body { info })
}

/// Events were left out for a client that reads too slowly: a message of the protocol, whose data says how many of which
/// channel.
pub(crate) fn gap(channel: &str, events: u64) -> String {
    #[derive(Serialize)]
    struct Gap<'a> {
        channel: &'a str,
        events: u64,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        data: Data<'a>,
    }
    #[derive(Serialize)]
    struct Data<'a> {
        gap: Gap<'a>,
    }
    push(channel, "message", &Body { data: Data { gap: Gap { channel, events } } })
}

fn push(channel: &str, kind: &'static str, body: &impl Serialize) -> String {
    struct Push<'a, T>(&'a str, &'static str, &'a T);
    impl<T: Serialize> Serialize for Push<'_, T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(2))?;
            map.serialize_entry("channel", self.0)?;
            map.serialize_entry(self.1, self.2)?;
            map.end()
        }
    }
    #[derive(Serialize)]
    struct Outer<T> {
        push: T,
    }
    json(&Outer { push: Push(channel, kind, body) })
}

struct Reply<'a, T> {
    id: u32,
    member: &'static str,
    value: &'a T,
}

impl<T: Serialize> Serialize for Reply<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry(self.member, self.value)?;
        map.end()
    }
}

/// A JSON text. Our own types cannot fail to be one.
pub(crate) fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| PING.to_owned())
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_what_the_sdk_reads() {
        assert_eq!(result(3, "publish", &Nothing {}), r#"{"id":3,"publish":{}}"#);
        assert_eq!(
            error(1, ErrorCode::NOT_READY),
            r#"{"id":1,"error":{"code":100,"message":"not ready","temporary":true}}"#
        );
        assert_eq!(
            unsubscribed("a\"b", Unsubscribed::EXPIRED),
            r#"{"push":{"channel":"a\"b","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#
        );
        assert_eq!(
            gap("a", 3),
            r#"{"push":{"channel":"a","message":{"data":{"gap":{"channel":"a","events":3}}}}}"#
        );
    }
}
