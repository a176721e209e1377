//! A user's live connection: the events of one's batches, each once, and nobody else's.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sallyport_testkit::live_client::{close, first_frame};
use sallyport_testkit::websocket::client_frame;
use sallyport_testkit::wire::Stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::user::{User, this_run};
use super::users::Seen;

const CHANNEL: &str = "batch:*";
/// The platform tells of the registration, of each of five essays, and of the end.
pub(super) const EVENTS_OF_BATCH: u32 = 7;
/// The pause before a subscription is asked for again that the bridge was not ready for.
const AGAIN: Duration = Duration::from_millis(200);

/// Watches until something is wrong.
pub(super) async fn watch(user: &User, seen: &Seen, subscribed: oneshot::Sender<()>) -> Result<Infallible> {
    let token = user.line.token();
    let edge = user.line.edge().context("there is no live connection without the edge")?;
    let (mut stream, mut bytes) = edge.websocket("/connection/websocket", None).await?;
    send(&mut stream, &format!("{}\n{}", json!({ "id": 1, "connect": { "token": token } }), subscribe()))
        .await?;
    let mut subscribed = Some(subscribed);
    let mut events: HashMap<u64, u32> = HashMap::new();
    loop {
        while let Some((opcode, payload, taken)) = first_frame(&bytes) {
            match opcode {
                1 => {
                    for line in payload.split(|byte| *byte == b'\n') {
                        let message: Value = serde_json::from_slice(line)?;
                        if line == b"{}" {
                            send(&mut stream, "{}").await?;
                        } else if message["push"]["channel"] == CHANNEL {
                            event(user, seen, &message["push"]["pub"], &mut events)?;
                        } else if message["error"]["code"] == 100 {
                            tokio::time::sleep(AGAIN).await;
                            send(&mut stream, &subscribe().to_string()).await?;
                        } else if !message["error"].is_null() {
                            bail!("{}: {message}", user.line.user());
                        } else if message["subscribe"].is_object() {
                            // Nobody waits any longer where the run is over.
                            let _ = subscribed.take().map(|tell| tell.send(()));
                        }
                    }
                }
                8 => bail!("{}: the live connection was closed: {:?}", user.line.user(), close(payload)),
                _ => {}
            }
            bytes.drain(..taken);
        }
        ensure!(stream.read_buf(&mut bytes).await? > 0, "{}: the live connection ended", user.line.user());
    }
}

fn subscribe() -> Value {
    json!({ "id": 2, "subscribe": { "channel": CHANNEL } })
}

async fn send(stream: &mut Box<dyn Stream>, message: &str) -> Result<()> {
    stream.write_all(&client_frame(message.as_bytes())).await?;
    Ok(stream.flush().await?)
}

fn event(user: &User, seen: &Seen, event: &Value, events: &mut HashMap<u64, u32>) -> Result<()> {
    let data = &event["data"];
    ensure!(data["owner"] == user.line.user(), "{} saw an event of somebody else: {event}", user.line.user());
    let title = data["title"].as_str().context("an event without a title")?;
    if !title.ends_with(&this_run()) {
        return Ok(());
    }
    if event["tags"]["type"] == "batch.registered" {
        let sent = user
            .registered
            .borrow_mut()
            .remove(title)
            .with_context(|| format!("twice, or never: {title}"))?;
        seen.registered(sent, Instant::now());
    }
    let count = events.entry(data["batch_id"].as_u64().context("an event without a batch")?).or_default();
    *count += 1;
    ensure!(
        *count <= EVENTS_OF_BATCH,
        "{}: more events of a batch than there are: {event}",
        user.line.user()
    );
    seen.event();
    Ok(())
}
