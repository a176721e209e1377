//! Clients of the bridge, or of Centrifugo, whose protocol it speaks: connect with a token, subscribe, read what comes, and
//! come back with their position as the official SDK does.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sallyport_testkit::Tokens;
use sallyport_testkit::live_client::{close, first_frame};
use sallyport_testkit::tokens::TokenDraft;
use sallyport_testkit::websocket::client_frame;
use sallyport_testkit::wire::Stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::load::{number, text};
use super::tally::Tally;
use crate::scenario::connect::Address;

/// What the system keeps for a client that does not read.
const STALLED_RECEIVE_BYTES: u32 = 4096;
/// As the SDK: the first pause before a connection is tried again, doubled each time up to the second.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// What clients have in common.
pub(super) struct Group {
    address: Address,
    path: String,
    channel: String,
    channels: usize,
    stalled: bool,
    returns: bool,
    draft: TokenDraft,
    secret: Vec<u8>,
    tally: Rc<Tally>,
    opening: Semaphore,
}

impl Group {
    /// Of clients that connect to a path of an address.
    pub(super) fn new(
        (address, path): (Address, String),
        command: &Value,
        secret: &[u8],
        tally: Rc<Tally>,
        opening: usize,
    ) -> Self {
        Group {
            address,
            path,
            channel: text(command, "channel"),
            channels: number(command, "channels"),
            stalled: command["stalled"] == true,
            returns: command["returns"] == true,
            draft: Tokens::new("https://id.test/", "platform").token().expires_in(7200),
            secret: secret.to_vec(),
            tally,
            opening: Semaphore::new(opening),
        }
    }
}

/// What a client brings along when it comes back.
#[derive(Default)]
struct Client {
    token: String,
    channel: String,
    epoch: Value,
    offset: Value,
    /// The number of the newest event.
    newest: Option<u64>,
    subscribed: bool,
}

/// A client's life.
pub(super) async fn live(group: Rc<Group>, n: usize) {
    let token = group.draft.clone().claim("sub", format!("u{n}")).sign_with_secret("HS256", &group.secret);
    let of = n.checked_rem(group.channels).unwrap_or(n);
    let channel = group.channel.replace("{n}", &of.to_string());
    let mut client = Client { token, channel, ..Client::default() };
    for attempt in 0.. {
        let Err(reason) = client.session(&group).await;
        if std::mem::take(&mut client.subscribed) {
            group.tally.opened(-1);
        }
        *group.tally.reason.borrow_mut() = reason.to_string();
        group.tally.add(&group.tally.failed);
        if !group.returns {
            return;
        }
        tokio::time::sleep(pause(n, attempt)).await;
    }
}

/// Up to the bound of this attempt, spread over the clients.
fn pause(n: usize, attempt: u32) -> Duration {
    let bound = PAUSE.saturating_mul(1 << attempt.min(6)).min(PAUSE_MAX);
    bound.mul_f64(
        (n.wrapping_mul(2_654_435_761).wrapping_add(attempt as usize * 40_503) % 1000) as f64 / 1000.0,
    )
}

impl Client {
    /// From the handshake to the end, and why it ended.
    async fn session(&mut self, group: &Group) -> io::Result<Infallible> {
        let mut opening = group.opening.acquire().await.ok();
        let receive_bytes = group.stalled.then_some(STALLED_RECEIVE_BYTES);
        let (mut stream, mut bytes) = group.address.websocket(&group.path, receive_bytes).await?;
        let connect = json!({ "id": 1, "connect": { "token": self.token } });
        send(&mut stream, &format!("{connect}\n{}", self.subscribe())).await?;
        loop {
            while let Some((opcode, payload, taken)) = first_frame(&bytes) {
                match opcode {
                    1 => self.message(group, &mut stream, payload).await?,
                    8 => {
                        let (code, reason) = close(payload);
                        return Err(io::Error::other(format!("{code} {reason}")));
                    }
                    _ => {}
                }
                bytes.drain(..taken);
            }
            if self.subscribed {
                drop(opening.take());
                if group.stalled {
                    std::future::pending::<()>().await;
                }
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::Error::other("closed without a Close"));
            }
        }
    }

    fn subscribe(&self) -> Value {
        let mut subscribe = json!({ "channel": self.channel, "recoverable": true });
        if !self.epoch.is_null() {
            subscribe["recover"] = true.into();
            subscribe["epoch"] = self.epoch.clone();
            subscribe["offset"] = self.offset.clone();
        }
        json!({ "id": 2, "subscribe": subscribe })
    }

    async fn message(
        &mut self,
        group: &Group,
        stream: &mut Box<dyn Stream>,
        message: &[u8],
    ) -> io::Result<()> {
        for line in message.split(|byte| *byte == b'\n') {
            if line == b"{}" {
                send(stream, "{}").await?;
            } else if line.starts_with(b"{\"push\":") {
                self.event(&group.tally, line);
                if group.returns {
                    let push: Value = serde_json::from_slice(line)?;
                    self.take_position(&push["push"]["pub"]);
                }
            } else {
                self.reply(group, stream, &serde_json::from_slice(line)?).await?;
            }
        }
        Ok(())
    }

    async fn reply(&mut self, group: &Group, stream: &mut Box<dyn Stream>, reply: &Value) -> io::Result<()> {
        if reply["error"]["code"] == 100 && reply["id"] == 2 {
            tokio::time::sleep(PAUSE).await;
            return send(stream, &self.subscribe().to_string()).await;
        }
        if reply.get("error").is_some() {
            return Err(io::Error::other(reply.to_string()));
        }
        if let Some(subscribed) = reply.get("subscribe") {
            if !self.epoch.is_null() {
                let tally = &group.tally;
                tally.add(if subscribed["recovered"] == true {
                    &tally.recovered
                } else {
                    &tally.not_recovered
                });
            }
            for event in subscribed["publications"].as_array().into_iter().flatten() {
                self.event(&group.tally, event.to_string().as_bytes());
            }
            self.take_position(subscribed);
            self.subscribed = true;
            group.tally.opened(1);
        }
        Ok(())
    }

    fn take_position(&mut self, of: &Value) {
        if let Some(offset) = of.get("offset") {
            self.offset = offset.clone();
        }
        if let Some(epoch) = of.get("epoch") {
            self.epoch = epoch.clone();
        }
    }

    fn event(&mut self, tally: &Tally, line: &[u8]) {
        let age = number_behind(line, b"\"sent\":").map(|sent| now_us().saturating_sub(sent));
        tally.ages.borrow_mut().extend(age.map(|age| age as u32));
        let n = number_behind(line, b"\"n\":");
        if let (Some(newest), Some(n)) = (self.newest, n)
            && !self.channel.ends_with('*')
            && n != newest + 1
        {
            tally.add(&tally.out_of_order);
        }
        self.newest = n;
        tally.add(&tally.received);
    }
}

async fn send(stream: &mut Box<dyn Stream>, message: &str) -> io::Result<()> {
    stream.write_all(&client_frame(message.as_bytes())).await?;
    stream.flush().await
}

/// The number behind `name` in a text of JSON; nothing is parsed, so that the client can keep up with the server.
fn number_behind(text: &[u8], name: &[u8]) -> Option<u64> {
    let at = text.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Microseconds since 1970.
pub(super) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
