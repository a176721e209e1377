//! Everything a story over real sockets needs: an origin, an edge, a client, and the certificates and tokens between
//! them. A story reads in that order, and then asserts.
//!
//! A test kit fails by panicking, with a text that says what was expected. No sleep is used to wait for something:
//! every wait is for an event, and [`wait::PATIENCE`] only turns a hang into a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test kit fails by panicking")]

pub mod answer;
pub mod body;
pub mod certificates;
pub mod client;
pub mod client_h2;
pub mod composed;
pub mod edge;
pub mod keys;
pub mod live;
pub mod live_client;
pub mod mode;
pub mod origin;
mod origin_h1;
pub mod origin_h2;
pub mod response;
pub mod tokens;
pub mod wait;
pub mod websocket;
pub mod wire;

pub use answer::{Answer, Feed, Signal};
pub use certificates::{Certificates, Leaf};
pub use client::Client;
pub use client_h2::H2Client;
pub use composed::ComposedEdge;
pub use edge::{EdgeBuilder, EdgeUnderTest};
pub use keys::{Key, KeyKind};
pub use live::LiveEdge;
pub use live_client::LiveClient;
pub use mode::Mode;
pub use origin::{Origin, Received};
pub use origin_h2::H2Origin;
pub use response::Response;
pub use tokens::{TokenDraft, Tokens};
pub use websocket::{Upgrade, WebSocketClient, WebSocketOrigin};
