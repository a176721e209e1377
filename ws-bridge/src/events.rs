//! Server-sent events: the same subscriptions, without commands. The client names its channels in the query, the edge
//! says who it is, and `Last-Event-ID` where it was.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::StatusCode;
use sallyport_sidecar::Refusal;

use crate::bridge::Shared;
use crate::client::Kind;
use crate::clients::Full;
use crate::hub::Since;
use crate::protocol::ErrorCode;
use crate::protocol::reply::{self, json};
use crate::server::{EventStream, EventsRequest, event_block};
use crate::session::{Begun, Looked, Session, Wish};

/// Opens a stream of events.
pub(crate) fn open(shared: &Arc<Shared>, request: EventsRequest) -> Result<EventStream, Refusal> {
    let EventsRequest { hello, channels, last_event_id } = request;
    if hello.claims.is_none() && !shared.plan.settings.anonymous {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", "this stream needs an identity"));
    }
    let (client, place) = shared.enter(hello.client, Kind::Events).map_err(|(_, reason)| full(reason))?;
    let mut session = Session::new(shared.clone(), client, Some(place), hello.claims);
    let named: Vec<Arc<str>> = channels.iter().map(|channel| channel.as_str().into()).collect();
    let wishes = session.begin_events(&named).map_err(refusal)?;
    if wishes.is_empty() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad-request", "name a channel: `?channel=...`"));
    }
    let since = last_event_id.map(|epoch| Since { epoch, offset: 0 });
    let wishes = wishes.into_iter().map(|wish| Wish { since: since.clone(), ..wish }).collect();
    let hold = Held { session, _edge: hello.hold };
    // The first position is told only to who has none: who was here before keeps its own until it has what it missed.
    let first = since.is_none().then(|| shared.hub.whole_position());
    let beginning = stream::once(begin(hold, wishes, first)).flat_map(|(blocks, hold)| {
        let live = hold.map(live);
        stream::iter(blocks).chain(stream::iter(live).flatten())
    });
    Ok(Box::pin(beginning))
}

/// A session, and what the edge wants to be kept as long.
struct Held {
    session: Session,
    _edge: Box<dyn Send>,
}

/// Begins every subscription; what the stream begins with, and the session unless a subscription failed.
async fn begin(mut hold: Held, wishes: Vec<Wish>, first: Option<String>) -> (Vec<Bytes>, Option<Held>) {
    let mut blocks = Vec::new();
    for mut wish in wishes {
        let mut caught_up: Option<Looked> = None;
        loop {
            match hold.session.begin(wish, caught_up.take()) {
                Begun::Done(channel, result) => {
                    told(&mut blocks, &channel, &result, first.as_deref());
                    break;
                }
                Begun::Wait(again, wait) => {
                    wish = again;
                    caught_up = Some(wait.await);
                }
                Begun::Failed(error) => {
                    let data = json(&serde_json::json!({"code": error.code, "message": error.message}));
                    blocks.push(event_block(None, Some("error"), data.as_bytes()));
                    return (blocks, None);
                }
            }
        }
    }
    (blocks, Some(hold))
}

/// The block that tells of a subscription, and those of what was missed.
fn told(blocks: &mut Vec<Bytes>, channel: &str, result: &reply::Subscribed, first: Option<&str>) {
    let data = serde_json::json!({
        "channel": channel, "recovered": result.recovered, "was_recovering": result.was_recovering,
    });
    blocks.push(event_block(first, Some("subscribed"), json(&data).as_bytes()));
    for publication in &result.publications {
        let data = format!("{{\"channel\":{},\"pub\":{}}}", json(&channel), publication.get());
        blocks.push(event_block(None, None, data.as_bytes()));
    }
}

/// What comes from then on.
fn live(mut hold: Held) -> impl futures::Stream<Item = Bytes> + Send {
    let mut told_position = false;
    stream::poll_fn(move |cx| {
        let Held { session, .. } = &mut hold;
        session.client.waker.register(cx.waker());
        session.tick(true);
        // Taken before the queue is looked at: if nothing waits then, everything before this position was sent.
        let position = (!told_position).then(|| session.position());
        let mut next = None;
        let closes = session.client.take(
            {
                let mut taken = false;
                move |_| !std::mem::replace(&mut taken, true)
            },
            |item| next = Some(item.bytes),
        );
        if let Some(next) = next {
            return Poll::Ready(Some(next));
        }
        if closes.is_some() {
            return Poll::Ready(None);
        }
        match position {
            Some(position) => {
                told_position = true;
                Poll::Ready(Some(event_block(Some(&position), Some("ready"), b"{}")))
            }
            None => Poll::Pending,
        }
    })
}

fn full(full: Full) -> Refusal {
    match full {
        Full::Bridge => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "there are as many connections as there may be",
        ),
        Full::Address => Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "too many connections from this address",
        ),
    }
}

fn refusal((channel, error): (Arc<str>, ErrorCode)) -> Refusal {
    let detail = format!("`{channel}`: {}", error.message);
    match error {
        ErrorCode::UNKNOWN_CHANNEL => Refusal::new(StatusCode::NOT_FOUND, "not-found", detail),
        ErrorCode::PERMISSION_DENIED => Refusal::new(StatusCode::FORBIDDEN, "forbidden", detail),
        _ => Refusal::new(StatusCode::BAD_REQUEST, "bad-request", detail),
    }
}
