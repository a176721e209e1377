//! A client of the bridge that speaks its protocol, JSON, by hand, so that it can be slow or wrong; and a server's frames,
//! for stories that look at every byte.

use std::collections::VecDeque;
use std::time::Duration;

use fastwebsockets::OpCode;
use serde_json::{Value, json};

use crate::wait::within;
use crate::websocket::WebSocketClient;

/// A client that speaks the protocol.
pub struct LiveClient {
    socket: WebSocketClient,
    last_id: u64,
    /// Pushes that came before the reply that was waited for.
    pushes: VecDeque<Value>,
}

impl LiveClient {
    /// A client that has not said anything.
    pub fn new(socket: WebSocketClient) -> Self {
        LiveClient { socket, last_id: 0, pushes: VecDeque::new() }
    }

    /// The subprotocol that was chosen.
    pub fn subprotocol(&self) -> Option<&str> {
        self.socket.head.value("sec-websocket-protocol")
    }

    /// Sends a text as it is.
    pub async fn send(&mut self, text: &str) {
        self.socket.send(text).await;
    }

    /// Closes as a client does; the code that comes back.
    pub async fn leave(mut self) -> Option<u16> {
        self.socket.close(1000).await
    }

    /// Connects; the result.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn connect(&mut self, token: &str) -> Value {
        let connect = if token.is_empty() { json!({}) } else { json!({ "token": token }) };
        self.succeed("connect", connect).await
    }

    /// Subscribes, again and again until the topics have been read; the result.
    ///
    /// # Panics
    /// When it is refused for another reason.
    pub async fn subscribe(&mut self, subscribe: Value) -> Value {
        within("a subscription", async {
            // The pause bounds the cost of asking, and keeps to the rate of messages.
            let mut pause = tokio::time::interval(Duration::from_millis(50));
            loop {
                pause.tick().await;
                let mut reply = self.call("subscribe", subscribe.clone()).await;
                if reply["error"]["code"] != 100 {
                    assert!(reply.get("error").is_none(), "{reply}");
                    return reply["subscribe"].take();
                }
            }
        })
        .await
    }

    /// Subscribes to a channel from now on.
    pub async fn join(&mut self, channel: &str) -> Value {
        self.subscribe(json!({ "channel": channel })).await
    }

    /// Sends a command; its result.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn succeed(&mut self, name: &str, command: Value) -> Value {
        let mut reply = self.call(name, command).await;
        assert!(reply.get(name).is_some(), "{name}: {reply}");
        reply[name].take()
    }

    /// Sends a command; its reply, good or bad. Pushes that come before are kept.
    pub async fn call(&mut self, name: &str, command: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "id": id, name: command }).to_string()).await;
        loop {
            let reply = self.message().await;
            if reply["id"] == id {
                return reply;
            }
            self.pushes.push_back(reply);
        }
    }

    /// The next push, or reply nobody waited for.
    pub async fn push(&mut self) -> Value {
        match self.pushes.pop_front() {
            Some(push) => push,
            None => self.message().await,
        }
    }

    /// The next publication: channel and publication.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn publication(&mut self) -> (String, Value) {
        let mut push = self.push().await;
        assert!(push["push"]["pub"].is_object(), "no publication: {push}");
        (push["push"]["channel"].as_str().expect("a channel").to_owned(), push["push"]["pub"].take())
    }

    /// The next message; pings are answered.
    async fn message(&mut self) -> Value {
        loop {
            match self.socket.next().await {
                Some((OpCode::Text, text)) if text == b"{}" => self.socket.send("{}").await,
                Some((OpCode::Text, text)) => return serde_json::from_slice(&text).expect("JSON"),
                Some((OpCode::Close, payload)) => panic!("closed: {:?}", close(&payload)),
                other => panic!("no message: {other:?}"),
            }
        }
    }

    /// Waits for the end; the code and the reason of the Close, what came before is dropped. `None` without a Close.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        self.rest().await.1
    }

    /// Everything up to the end, pings left out, and the Close.
    pub async fn rest(&mut self) -> (Vec<Value>, Option<(u16, String)>) {
        let mut messages: Vec<Value> = self.pushes.drain(..).collect();
        loop {
            match self.socket.next().await {
                Some((OpCode::Text, text)) if text == b"{}" => {}
                Some((OpCode::Text, text)) => messages.push(serde_json::from_slice(&text).expect("JSON")),
                Some((OpCode::Close, payload)) => return (messages, Some(close(&payload))),
                Some(_) => {}
                None => return (messages, None),
            }
        }
    }
}

/// Code and reason of a Close frame; 1005 where it has none (RFC 6455, section 7.1.5).
///
/// # Panics
/// When the reason is not UTF-8.
pub fn close(payload: &[u8]) -> (u16, String) {
    match payload {
        [high, low, reason @ ..] => {
            (u16::from_be_bytes([*high, *low]), String::from_utf8(reason.to_vec()).expect("UTF-8"))
        }
        _ => (1005, String::new()),
    }
}

/// Opcode and payload of the first of a server's frames in `bytes`, and how long it is in all; `None` while it is not whole
/// (RFC 6455, section 5.2).
///
/// # Panics
/// When it is masked.
pub fn first_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "RFC 6455, section 5.1: a server does not mask");
    let (length, head) = match second {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        length => (u64::from(length), 2),
    };
    let end = usize::try_from(length).ok()?.checked_add(head)?;
    Some((first & 0x0f, bytes.get(head..end)?, end))
}

/// The Closes among a server's frames: code and reason of each.
///
/// # Panics
/// When a frame is masked, or not whole.
pub fn closes(mut bytes: &[u8]) -> Vec<(u16, String)> {
    let mut closes = Vec::new();
    while let Some((opcode, payload, end)) = first_frame(bytes) {
        if opcode == 8 {
            closes.push(close(payload));
        }
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty(), "half a frame");
    closes
}
