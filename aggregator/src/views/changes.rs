//! The changes of a view as lines, for this machine's bridge: where they begin, each row that has changed behind the commit
//! that it came with, and how far the view has come. The bridge reads them in `ws-bridge/src/changes`.
//!
//! ```json
//! {"edition":"5f1c","partitions":[{"topic":"batches","partition":0,"next":42}]}
//! {"topic":"batches","partition":0,"offset":42,"timestamp":1700000000000,"key":"b1","row":{"owner":"ann"}}
//! {"topic":"batches","partition":0,"offset":43,"timestamp":1700000000000,"key":"b1","row":null,"was":{"owner":"ann"}}
//! {"positions":[{"topic":"batches","partition":0,"next":47}]}
//! {"gap":true}
//! {}
//! ```
//!
//! Nothing is kept for who does not read: one that falls behind by more than the fold's queue is told of a gap, and where the
//! changes go on.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, unfold};
use hyper::body::{Body, Frame};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::batch::RowChange;
use super::versions::{Offsets, State, Versions};

/// How often positions are told that have moved without a change. A client that comes from another node is waited for no
/// longer than three times this.
const POSITIONS_EVERY: Duration = Duration::from_secs(1);

/// After so many of these without a line there is one that says nothing, so that both sides see that the other is there.
const QUIET_TICKS_MAX: u32 = 5;

/// Bytes of lines that are put together before they are sent.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the fold tells those who listen.
#[derive(Debug, Clone)]
pub enum News {
    /// A row has changed. Of one commit they come in the order of their records, each partition's.
    Row(Arc<RowChange>),
    /// All rows of a commit were told.
    Committed {
        /// How far the view has come with it.
        state: Arc<State>,
        /// Whether rows were told at all: not where nobody was listening when the commit began.
        whole: bool,
    },
}

/// The changes of a view from now on.
#[derive(Debug)]
pub struct Changes {
    /// Equal for stores that were folded by the same rules.
    pub(super) edition: Arc<str>,
    pub(super) versions: Arc<Versions>,
    pub(super) news: broadcast::Receiver<News>,
}

/// The view whose changes a request of this machine asks for, by its path: `/views/{name}/changes`.
pub fn asked_view(path: &str) -> Option<&str> {
    path.strip_prefix("/views/")?
        .strip_suffix("/changes")
        .filter(|name| !name.is_empty() && !name.contains('/'))
}

/// Puts the rows of a commit into the order of their records: who has heard of one has heard of those before it in its
/// partition, and can say so with its place alone.
pub(super) fn in_order(changed: &mut [Arc<RowChange>]) {
    changed.sort_by(|one, other| {
        let place = |change: &Arc<RowChange>| (change.place.partition, change.place.offset);
        one.place.topic.cmp(&other.place.topic).then_with(|| place(one).cmp(&place(other)))
    });
}

impl Changes {
    /// The lines. They end with the fold, or when `stop` says true, or its sender is gone.
    pub fn stream(self, stop: watch::Receiver<bool>) -> Lines {
        let Changes { edition, versions, news } = self;
        let mut ticks = interval(POSITIONS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let telling = Telling {
            edition,
            state: versions.watch(),
            news,
            stop,
            ticks,
            store: None,
            told: Topics::new(),
            reached: Topics::new(),
            quiet: 0,
            lines: Vec::new(),
            looked: false,
        };
        Lines(unfold(telling, Telling::next).boxed())
    }
}

/// A body of lines.
pub struct Lines(BoxStream<'static, Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_next_unpin(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// The next offset of each partition of each topic.
type Topics = BTreeMap<Arc<str>, Vec<i64>>;

/// What one stream has told.
struct Telling {
    edition: Arc<str>,
    state: watch::Receiver<Arc<State>>,
    news: broadcast::Receiver<News>,
    stop: watch::Receiver<bool>,
    ticks: Interval,
    /// The store whose changes are told; none while there is none, or after a gap.
    store: Option<u64>,
    /// The positions that the other side knows.
    told: Topics,
    /// Up to where everything was told.
    reached: Topics,
    /// Ticks without a line.
    quiet: u32,
    /// Lines that were not sent yet.
    lines: Vec<u8>,
    /// Whether the state was looked at at all.
    looked: bool,
}

/// The fold has ended.
struct Over;

impl Telling {
    /// The next lines, all that there are at once.
    async fn next(mut self) -> Option<(Bytes, Telling)> {
        if !std::mem::replace(&mut self.looked, true) && !*self.stop.borrow() {
            self.look();
        }
        while self.lines.is_empty() {
            tokio::select! {
                biased;
                () = told_to(&mut self.stop) => return None,
                _ = self.ticks.tick() => self.tick(),
                changed = self.state.changed() => {
                    changed.ok()?;
                    self.look();
                }
                news = self.news.recv(), if self.store.is_some() => self.hear(news).ok()?,
            }
        }
        while self.store.is_some() && self.lines.len() < CHUNK_BYTES {
            let news = match self.news.try_recv() {
                Ok(news) => Ok(news),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                // If it has ended, what was told before is sent first.
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
            self.hear(news).ok()?;
        }
        self.quiet = 0;
        Some((std::mem::take(&mut self.lines).into(), self))
    }

    fn hear(&mut self, news: Result<News, RecvError>) -> Result<(), Over> {
        // Another store takes over before its changes are told. What was heard just now is then of the one before, or in
        // what the new one begins with.
        let before = self.store;
        self.look();
        match news {
            Err(RecvError::Closed) => return Err(Over),
            _ if self.store != before => {}
            Err(RecvError::Lagged(_)) => self.gap(),
            Ok(News::Row(change)) => self.row(&change),
            Ok(News::Committed { state, whole }) => {
                let offsets = topics(&state.offsets);
                if !whole && is_beyond(&offsets, &self.told) {
                    self.gap();
                } else if has_more_partitions(&offsets, &self.told) {
                    self.begin(later(&offsets, &self.told));
                } else {
                    self.reached = later(&offsets, &self.told);
                }
            }
        }
        Ok(())
    }

    /// Looks whether there is a store, and the same one as before.
    fn look(&mut self) {
        let store = |state: &State| state.store.as_ref().map(|store| store.number);
        let now = store(&self.state.borrow_and_update());
        if self.store.is_some() && self.store != now {
            self.lines.extend_from_slice(b"{\"gap\":true}\n");
            self.store = None;
        }
        if self.store.is_none() && now.is_some() {
            // In this order: a commit that the state has not is told from here on.
            self.news = self.news.resubscribe();
            let state = self.state.borrow_and_update().clone();
            self.store = store(&state);
            self.begin(topics(&state.offsets));
        }
    }

    /// Changes were missed: the stream begins anew.
    fn gap(&mut self) {
        if self.store.take().is_some() {
            self.lines.extend_from_slice(b"{\"gap\":true}\n");
        }
        self.look();
    }

    /// Tells where the changes go on.
    fn begin(&mut self, topics: Topics) {
        // A text is always JSON.
        let edition = serde_json::to_string(&*self.edition).unwrap_or_default();
        self.write(format_args!("{{\"edition\":{edition},\"partitions\":["));
        positions(&mut self.lines, &topics, &Topics::new());
        self.lines.extend_from_slice(b"]}\n");
        self.reached = topics.clone();
        self.told = topics;
    }

    fn row(&mut self, change: &RowChange) {
        let RowChange { key, doc, was, place } = change;
        let Ok(index) = usize::try_from(place.partition) else { return };
        let known = self.told.get(&place.topic).and_then(|nexts| nexts.get(index));
        if known.is_some_and(|next| place.offset < *next) {
            return;
        }
        if known.is_none() {
            // It was not there when the stream began, so nothing was missed of it.
            let mut topics = self.told.clone();
            fill(topics.entry(place.topic.clone()).or_default(), index);
            self.begin(topics);
        }
        let (topic, partition, offset, timestamp) =
            (&place.topic, place.partition, place.offset, place.timestamp);
        let key = serde_json::to_string(&**key).unwrap_or_default();
        self.write(format_args!(
            "{{\"topic\":\"{topic}\",\"partition\":{partition},\"offset\":{offset},\"timestamp\":{timestamp},\"key\":{key},\"row\":"
        ));
        push_line(&mut self.lines, doc.as_deref().unwrap_or("null"));
        if let Some(was) = was {
            self.lines.extend_from_slice(b",\"was\":");
            push_line(&mut self.lines, was);
        }
        self.lines.extend_from_slice(b"}\n");
        if let Some(next) = self.told.get_mut(&place.topic).and_then(|nexts| nexts.get_mut(index)) {
            *next = offset.saturating_add(1);
        }
    }

    /// Tells positions that have moved, or at least that this side is there.
    fn tick(&mut self) {
        self.quiet += 1;
        if self.store.is_some() && is_beyond(&self.reached, &self.told) {
            self.lines.extend_from_slice(b"{\"positions\":[");
            positions(&mut self.lines, &self.reached, &self.told);
            self.lines.extend_from_slice(b"]}\n");
            self.told = later(&self.reached, &self.told);
        } else if self.quiet >= QUIET_TICKS_MAX {
            self.lines.extend_from_slice(b"{}\n");
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Memory takes all that is written.
        let _ = self.lines.write_fmt(text);
    }
}

/// Waits until somebody says to stop, or nobody is left who could.
async fn told_to(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Offsets by topic, partitions numbered from 0 without holes.
fn topics(offsets: &Offsets) -> Topics {
    let mut topics = Topics::new();
    for (topic, partition, next) in &offsets.0 {
        let Ok(index) = usize::try_from(*partition) else { continue };
        let nexts = topics.entry(topic.clone()).or_default();
        fill(nexts, index);
        nexts[index] = *next;
    }
    topics
}

/// Makes room for a partition, and for those before it.
fn fill(nexts: &mut Vec<i64>, index: usize) {
    if nexts.len() <= index {
        nexts.resize(index + 1, 0);
    }
}

/// Each partition with its next offset, where that is not what `told` has.
fn each_moved<'t>(topics: &'t Topics, told: &'t Topics) -> impl Iterator<Item = (&'t Arc<str>, usize, i64)> {
    topics.iter().flat_map(move |(topic, nexts)| {
        let told = told.get(topic).map_or(&[][..], Vec::as_slice);
        let moved =
            nexts.iter().enumerate().filter(|(index, next)| told.get(*index).is_none_or(|told| told < *next));
        moved.map(move |(index, next)| (topic, index, *next))
    })
}

fn is_beyond(topics: &Topics, told: &Topics) -> bool {
    each_moved(topics, told).next().is_some()
}

fn has_more_partitions(topics: &Topics, told: &Topics) -> bool {
    topics.iter().any(|(topic, nexts)| told.get(topic).is_none_or(|told| told.len() < nexts.len()))
}

/// Of each partition the later of two positions.
fn later(one: &Topics, other: &Topics) -> Topics {
    let mut later = other.clone();
    for (topic, index, next) in each_moved(one, other) {
        let nexts = later.entry(topic.clone()).or_default();
        fill(nexts, index);
        nexts[index] = next;
    }
    later
}

/// Positions as JSON, those that `told` has not, with commas between them. No name of a topic has anything to escape.
fn positions(lines: &mut Vec<u8>, topics: &Topics, told: &Topics) {
    for (number, (topic, partition, next)) in each_moved(topics, told).enumerate() {
        let comma = if number == 0 { "" } else { "," };
        // Memory takes all that is written.
        let _ = write!(lines, "{comma}{{\"topic\":\"{topic}\",\"partition\":{partition},\"next\":{next}}}");
    }
}

/// JSON on one line: line breaks in it are white space, since those in texts are escaped.
fn push_line(lines: &mut Vec<u8>, json: &str) {
    let begin = lines.len();
    lines.extend_from_slice(json.as_bytes());
    for byte in lines[begin..].iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

#[cfg(test)]
mod tests;
