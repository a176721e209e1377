//! Centrifugo's client protocol in its JSON form, which its official SDKs for JavaScript speak: what a client may say,
//! what it is told, and the codes for what goes wrong. The schema is `client.proto` of the project centrifugal/protocol.
//!
//! Nothing here knows a connection or a channel's events.

pub(crate) mod codes;
pub(crate) mod command;
pub(crate) mod filter;
pub(crate) mod reply;

pub(crate) use codes::{Close, ErrorCode, Unsubscribed};
pub(crate) use command::Command;
pub(crate) use filter::TagFilter;
