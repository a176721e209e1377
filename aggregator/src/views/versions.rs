//! What of a view has changed, and how far it has come: told by the fold after each commit, asked by queries and hot answers.
//! Neither rows nor answers are kept here.
//!
//! The order in which both sides do things is what makes hot answers right:
//!
//! | | the fold | a query | a hot answer |
//! |---|---|---|---|
//! | 1 | commits to the store | notes the [`Version`]s of its tags | takes the state |
//! | 2 | counts the versions up | begins its transaction | compares the versions |
//! | 3 | publishes the state | keeps the answer under what it noted | is given with the state of 1 |
//!
//! A commit that comes between any two of these is either in the rows, or has counted the versions up by the time that the
//! state with it is published.

use std::hash::Hasher;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;
use tokio::sync::watch;

use super::column::ColumnValue;

/// Counters of a view, 512 KiB. Values that share one make each other's answers be fetched again, nothing worse.
const COUNTERS: usize = 1 << 16;

/// Equalities of a query that are looked at; of more, the first ones.
pub const TAGS_MAX: usize = 4;

/// The lag of a view whose topics' ends are not known.
const UNKNOWN: u64 = u64::MAX;

/// What queries know of a view that changes.
#[derive(Debug)]
pub struct Versions {
    counters: Box<[AtomicU64]>,
    /// Counts commits that changed any row.
    rows: AtomicU64,
    lag: AtomicU64,
    /// Whether a query has found what the fold cannot have written.
    doubted: AtomicBool,
    state: watch::Sender<Arc<State>>,
}

/// How far a view has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The store that queries read; `None` while there is none yet.
    pub store: Option<Store>,
    /// The next offset of each partition, as committed.
    pub offsets: Offsets,
    /// Whether all rows are there: false where rows were left out, such as beyond `rows_max`.
    pub complete: bool,
}

/// A file that queries read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Where it is.
    pub path: Arc<Path>,
    /// Another number for each opening of a store in this process, also if one takes the place of another under the same
    /// path.
    pub number: u64,
}

impl Store {
    /// The number of a store that was just opened.
    pub fn next_number() -> u64 {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        NUMBERS.fetch_add(1, Ordering::Relaxed)
    }
}

/// Next offsets by topic and partition, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets(pub Vec<(Arc<str>, i32, i64)>);

/// What a query's answer depends on: rows with one value in one column, or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(u16);

/// What was noted of an answer before its query: it is good as long as one of these has not moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(SmallVec<[(Option<Tag>, u64); TAGS_MAX]>);

/// What a commit changes, gathered by the fold while it writes.
#[derive(Debug, Default)]
pub struct Touched {
    tags: Vec<Tag>,
    any: bool,
    all: bool,
}

impl Tag {
    /// Rows whose column, by its position in the table, has this value. Values that a filter takes for equal have the
    /// same tag: the number 5 and the text `5`.
    pub fn column(column: usize, value: &ColumnValue) -> Tag {
        let mut hasher = hasher(column as u64 + 1);
        match value {
            ColumnValue::Null => hasher.write(b"tnull"),
            ColumnValue::Bool(value) => hasher.write(if *value { b"ttrue" } else { b"tfalse" }),
            ColumnValue::Integer(value) => number(&mut hasher, *value as f64),
            ColumnValue::Real(value) => number(&mut hasher, *value),
            ColumnValue::Text(text) => match text.parse::<f64>() {
                Ok(value) if looks_like_number(text) => number(&mut hasher, value),
                _ => {
                    hasher.write(b"t");
                    hasher.write(text.as_bytes());
                }
            },
        }
        Tag::of(&hasher)
    }

    /// The row of a key.
    pub fn key(key: &str) -> Tag {
        let mut hasher = hasher(0);
        hasher.write(key.as_bytes());
        Tag::of(&hasher)
    }

    fn of(hasher: &SipHasher13) -> Tag {
        // The lowest bits: there are as many counters as a u16 has values.
        Tag(hasher.finish() as u16)
    }
}

fn hasher(kind: u64) -> SipHasher13 {
    SipHasher13::new_with_keys(kind, 0)
}

fn number(hasher: &mut SipHasher13, value: f64) {
    hasher.write(b"n");
    // There are two zeros, which are equal.
    hasher.write_u64((value + 0.0).to_bits());
}

fn looks_like_number(text: &str) -> bool {
    matches!(text.as_bytes().first(), Some(b'-' | b'0'..=b'9'))
}

impl Touched {
    /// A row of this key is made, changed or deleted. Its columns have to be told, too.
    pub fn row(&mut self, key: &str) {
        self.any = true;
        self.tags.push(Tag::key(key));
    }

    /// A column of that row: its position in the table, the value before and the one after, also where they are the same.
    /// A row that was not there before, or is not there after, has no value on that side.
    pub fn column(&mut self, column: usize, before: Option<&ColumnValue>, after: Option<&ColumnValue>) {
        let before = before.map(|value| Tag::column(column, value));
        let after = after.map(|value| Tag::column(column, value)).filter(|after| Some(*after) != before);
        self.tags.extend(before.into_iter().chain(after));
    }

    /// Anything may have changed: the store is another one.
    pub fn everything(&mut self) {
        self.all = true;
    }

    /// Whether no row is touched.
    pub fn is_empty(&self) -> bool {
        !self.any && !self.all
    }
}

impl Default for Versions {
    fn default() -> Self {
        let counters = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        let (state, _) = watch::channel(Arc::default());
        Versions {
            counters,
            rows: AtomicU64::new(0),
            lag: AtomicU64::new(UNKNOWN),
            doubted: AtomicBool::new(false),
            state,
        }
    }
}

impl Versions {
    /// A view that has no store yet.
    pub fn new() -> Self {
        Versions::default()
    }

    /// Tells that a transaction of the fold was committed, and what it has changed; also that another store takes the
    /// place of the one before, with [`Touched::everything`]. To be called after the commit and before the next one.
    pub fn committed(&self, touched: &Touched, state: State) {
        if touched.all {
            self.counters.iter().for_each(up);
        } else {
            touched.tags.iter().for_each(|tag| up(self.counter(*tag)));
        }
        if !touched.is_empty() {
            up(&self.rows);
        }
        self.state.send_replace(Arc::new(state));
    }

    /// Tells how many records the view is behind the ends of its topics; `None` where that is not known.
    pub fn set_lag(&self, records: Option<u64>) {
        self.lag.store(records.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// How many records the view was behind when it was last looked at.
    pub fn lag(&self) -> Option<u64> {
        Some(self.lag.load(Ordering::Relaxed)).filter(|lag| *lag != UNKNOWN)
    }

    /// Tells the fold that a query has found the store damaged.
    pub fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Whether a query has found the store damaged since this was asked last.
    pub fn take_doubt(&self) -> bool {
        self.doubted.load(Ordering::Relaxed) && self.doubted.swap(false, Ordering::Relaxed)
    }

    /// How far the view has come.
    pub fn state(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// How far the view has come, from now on.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }

    /// Waits until a state satisfies a question, `wait` at the most; `None` after that.
    pub async fn reached(&self, wait: Duration, enough: impl Fn(&State) -> bool) -> Option<Arc<State>> {
        let mut changes = self.state.subscribe();
        let reached = tokio::time::timeout(wait, changes.wait_for(|state| enough(state))).await;
        reached.ok()?.ok().map(|state| state.clone())
    }

    /// What to note before a query with these equalities. Without any, each change of the view counts.
    pub fn note(&self, tags: &[Tag]) -> Version {
        let all = tags.iter().take(TAGS_MAX).map(|tag| (Some(*tag), self.count(Some(*tag))));
        let whole = tags.is_empty().then(|| (None, self.count(None)));
        Version(all.chain(whole).collect())
    }

    /// Whether an answer is still as the store has it. A row that matters to it has all of its values, before a change or
    /// after; so one value of which no row was touched is enough.
    pub fn holds(&self, version: &Version) -> bool {
        version.0.iter().any(|(tag, noted)| self.count(*tag) == *noted)
    }

    fn count(&self, tag: Option<Tag>) -> u64 {
        tag.map_or(&self.rows, |tag| self.counter(tag)).load(Ordering::Acquire)
    }

    fn counter(&self, tag: Tag) -> &AtomicU64 {
        // In range: there is one for each u16.
        &self.counters[usize::from(tag.0)]
    }
}

fn up(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::AcqRel);
}

impl Offsets {
    /// Whether the record at an offset has been folded.
    pub fn include(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let found = self.0.iter().find(|(known, number, _)| **known == *topic && *number == partition);
        found.is_some_and(|(_, _, next)| *next > offset)
    }

    /// Whether each partition of the other is here and has come at least as far.
    pub fn are_beyond(&self, other: &Offsets) -> bool {
        other.0.iter().all(|(topic, partition, next)| self.include(topic, *partition, next - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> ColumnValue {
        ColumnValue::Text(text.into())
    }

    #[test]
    fn equal_values_have_one_tag() {
        let all = [
            [ColumnValue::Integer(5), ColumnValue::Real(5.0)],
            [ColumnValue::Integer(5), text("5")],
            [ColumnValue::Integer(5), text("5.0")],
            [ColumnValue::Real(0.0), ColumnValue::Real(-0.0)],
            [ColumnValue::Integer(0), text("-0")],
            [ColumnValue::Integer(i64::MAX), text("9223372036854775807")],
            [ColumnValue::Bool(true), text("true")],
            [ColumnValue::Bool(false), text("false")],
            [ColumnValue::Null, text("null")],
        ];
        for [one, other] in all {
            assert_eq!(Tag::column(3, &one), Tag::column(3, &other), "{one:?} {other:?}");
        }
        assert_ne!(Tag::column(3, &text("inf")), Tag::column(3, &ColumnValue::Real(f64::INFINITY)));
        assert_ne!(Tag::column(3, &text("a")), Tag::column(4, &text("a")));
        assert_ne!(Tag::column(0, &text("a")), Tag::key("a"));
    }

    #[test]
    fn an_answer_holds_while_one_of_its_values_was_not_touched() {
        let versions = Versions::new();
        let (mine, open) = (Tag::column(0, &text("u1")), Tag::column(1, &text("open")));
        let noted = [versions.note(&[mine, open]), versions.note(&[open]), versions.note(&[])];
        let holds = || noted.each_ref().map(|version| versions.holds(version));
        let change = |owner: &str, before: Option<&str>, after: Option<&str>| {
            let mut touched = Touched::default();
            touched.row("k");
            touched.column(0, Some(&text(owner)), Some(&text(owner)));
            touched.column(1, before.map(text).as_ref(), after.map(text).as_ref());
            versions.committed(&touched, State::default());
        };
        versions.committed(&Touched::default(), State::default());
        assert_eq!(holds(), [true, true, true]);
        change("u2", Some("open"), Some("done"));
        assert_eq!(holds(), [true, false, false]);
        change("u1", Some("done"), Some("open"));
        assert_eq!(holds(), [false, false, false]);
        let noted = versions.note(&[Tag::key("another")]);
        change("u1", None, Some("open"));
        assert!(versions.holds(&noted));
        let mut touched = Touched::default();
        touched.everything();
        versions.committed(&touched, State::default());
        assert!(!versions.holds(&noted));
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_is_waited_for_as_long_as_was_said() {
        let versions = Versions::new();
        let at = |next| State { offsets: Offsets(vec![("t".into(), 0, next)]), ..State::default() };
        let enough = |state: &State| state.offsets.include("t", 0, 7);
        versions.committed(&Touched::default(), at(7));
        assert_eq!(versions.reached(Duration::from_secs(1), enough).await, None);
        let (reached, ()) = tokio::join!(versions.reached(Duration::from_secs(1), enough), async {
            tokio::task::yield_now().await;
            versions.committed(&Touched::default(), at(8));
        });
        assert_eq!(reached.unwrap().offsets, at(8).offsets);
    }
}
