//! What a client says: one JSON object a line, several lines a message. Texts are borrowed from the message; data is
//! not looked into.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::filter::FilterNode;

/// Commands of one message.
pub(crate) const COMMANDS_MAX: usize = 1024;

/// A command: an id that the reply repeats, and exactly one request. The empty object is a pong. Members that are
/// not known are ignored, because newer SDKs may send more.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Command<'a> {
    pub(crate) id: u32,
    #[serde(borrow)]
    pub(crate) connect: Option<Connect<'a>>,
    #[serde(borrow)]
    pub(crate) subscribe: Option<Subscribe<'a>>,
    #[serde(borrow)]
    pub(crate) unsubscribe: Option<OfChannel<'a>>,
    #[serde(borrow)]
    pub(crate) publish: Option<Publish<'a>>,
    #[serde(borrow)]
    pub(crate) presence: Option<OfChannel<'a>>,
    #[serde(borrow)]
    pub(crate) presence_stats: Option<OfChannel<'a>>,
    #[serde(borrow)]
    pub(crate) history: Option<History<'a>>,
    pub(crate) ping: Option<Empty>,
    pub(crate) send: Option<Empty>,
    #[serde(borrow)]
    pub(crate) rpc: Option<Rpc<'a>>,
    #[serde(borrow)]
    pub(crate) refresh: Option<Refresh<'a>>,
    #[serde(borrow)]
    pub(crate) sub_refresh: Option<SubRefresh<'a>>,
}

/// A request without members that matter.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Empty {}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Connect<'a> {
    #[serde(borrow)]
    pub(crate) token: Cow<'a, str>,
    /// Server-side subscriptions that the client had, with its positions.
    #[serde(borrow)]
    pub(crate) subs: BTreeMap<Cow<'a, str>, Subscribe<'a>>,
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Subscribe<'a> {
    #[serde(borrow)]
    pub(crate) channel: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) token: Cow<'a, str>,
    pub(crate) recover: bool,
    #[serde(borrow)]
    pub(crate) epoch: Cow<'a, str>,
    pub(crate) offset: u64,
    pub(crate) join_leave: bool,
    pub(crate) tf: Option<FilterNode>,
    /// Features by bit: 2 asks for an error instead of a subscription that could not recover.
    pub(crate) flag: i64,
    /// 0 is a stream; others are kinds of subscription that this server has not.
    #[serde(rename = "type")]
    pub(crate) kind: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OfChannel<'a> {
    #[serde(borrow)]
    pub(crate) channel: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Publish<'a> {
    #[serde(borrow)]
    pub(crate) channel: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(rename = "type")]
    pub(crate) kind: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct History<'a> {
    #[serde(borrow)]
    pub(crate) channel: Cow<'a, str>,
    /// The most publications: 0 asks for the position alone, below 0 for all.
    pub(crate) limit: i32,
    #[serde(borrow)]
    pub(crate) since: Option<Since<'a>>,
    pub(crate) reverse: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Since<'a> {
    pub(crate) offset: u64,
    #[serde(borrow)]
    pub(crate) epoch: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rpc<'a> {
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) data: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Refresh<'a> {
    #[serde(borrow)]
    pub(crate) token: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SubRefresh<'a> {
    #[serde(borrow)]
    pub(crate) channel: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) token: Cow<'a, str>,
    #[serde(rename = "type")]
    pub(crate) kind: i32,
}

/// A command that asks to be told if it could not recover, instead of starting anew.
pub(crate) const FLAG_REJECT_UNRECOVERED: i64 = 2;

/// The commands of a message, in order. An error is for the whole message: what stands behind it cannot be trusted.
pub(crate) fn commands(message: &str) -> impl Iterator<Item = Result<Command<'_>, serde_json::Error>> {
    message.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty()).map(|line| {
        // serde would take a list for an object whose members are all optional.
        if line.starts_with('{') {
            serde_json::from_str(line)
        } else {
            Err(serde::de::Error::custom("no object"))
        }
    })
}

impl Command<'_> {
    /// Whether this is a pong: nothing at all.
    pub(crate) fn is_pong(&self) -> bool {
        self.id == 0 && self.send.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Command<'_> {
        commands(text).next().unwrap().unwrap()
    }

    #[test]
    fn a_message_has_several_commands_and_pongs() {
        let text = "{\"id\":1,\"connect\":{\"name\":\"js\",\"new\":1}}\n{}\n\n{\"id\":2,\"ping\":{}}";
        let all: Vec<_> = commands(text).map(Result::unwrap).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].connect.as_ref().unwrap().name, "js");
        assert!(!all[0].is_pong() && all[1].is_pong() && all[2].ping.is_some());
    }

    #[test]
    fn data_stays_as_it_was_written() {
        let command = one(r#"{"id":1,"publish":{"channel":"a\u0062","data":{"n": 1.000 }}}"#);
        let publish = command.publish.unwrap();
        assert_eq!(publish.channel, "ab");
        assert_eq!(publish.data.unwrap().get(), r#"{"n": 1.000 }"#);
    }

    #[test]
    fn what_is_no_command_is_an_error() {
        for text in
            ["[]", "1", "{", "{\"id\":-1}", "{\"id\":\"1\"}", "{\"subscribe\":{\"channel\":1}}", "{}x"]
        {
            assert!(commands(text).next().unwrap().is_err(), "{text}");
        }
    }
}
