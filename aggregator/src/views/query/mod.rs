//! Queries of views: parameters become statements, visibility is a part of them, and answers that still hold come from
//! memory. Who keeps the rows, and how, is not known here.
//!
//! 1. [`parameters`] are read against the view's [`shape`]; what cannot be meant is refused.
//! 2. With `min_offset` the query waits until the fold has come that far.
//! 3. `visibility` and parameters become `statement`s. Their text and values are the key of the answer in memory.
//! 4. Else a thread of `readers` carries them out, in one transaction: `execute`.
//! 5. `answer` adds validators and what is said of the view.

mod answer;
mod cursor;
mod execute;
mod operand;
pub mod parameters;
mod position;
mod readers;
mod refusal;
pub mod shape;
mod sql;
mod statement;
mod visibility;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use log::warn;
use rusqlite::ErrorCode;
use serde_json::Value;

use crate::asked::{Answer, Asked};
use crate::views::hot::Hot;
use crate::views::versions::{Offsets, State, Store, Versions};

use answer::{About, Kept};
use execute::Fault;
use parameters::{OfEach, Wanted};
use readers::Readers;
pub use refusal::Refusal;
use shape::Shape;
pub use statement::GROUPS_MAX;
use statement::Statements;

/// Answers queries of all views.
#[derive(Debug)]
pub struct Queries {
    readers: Readers,
    hot: Hot<Kept>,
    asked: AtomicU64,
    from_memory: AtomicU64,
}

/// A view that can be asked.
#[derive(Debug)]
pub struct Queryable {
    shape: Arc<Shape>,
    versions: Arc<Versions>,
    /// Tells its answers from those of another one of the same name.
    number: u64,
}

/// What a query has come to, before it is an answer.
#[derive(Debug)]
pub struct Outcome {
    kept: Kept,
    state: Arc<State>,
    lag: Option<u64>,
}

impl Queryable {
    /// A view of this shape, whose rows are where `versions` says.
    pub fn new(shape: Shape, versions: Arc<Versions>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Queryable { shape: shape.into(), versions, number: NUMBERS.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Outcome {
    /// The document; `None` if there is no such row, or none that the client may see.
    pub fn body(&self) -> Option<&bytes::Bytes> {
        self.kept.document.as_ref().map(|(body, _)| body)
    }

    /// Whether the view has all of its rows.
    pub fn is_complete(&self) -> bool {
        self.state.complete
    }

    /// How far the rows have come. An answer from memory holds as of the last commit: none since has changed it. One that
    /// was just made may be of a commit that was not told of yet.
    fn offsets(&self) -> &Offsets {
        let (own, told) = (&self.kept.offsets, &self.state.offsets);
        // Both are in one order.
        let pairs = || own.0.iter().zip(&told.0);
        let newer = own.0.len() == told.0.len()
            && pairs().all(|((topic, partition, next), told)| {
                *topic == told.0 && *partition == told.1 && *next >= told.2
            });
        if newer { own } else { told }
    }
}

impl Queries {
    /// Starts the threads that ask stores. `hot_bytes` of answers are kept in memory.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn start(hot_bytes: usize) -> std::io::Result<Self> {
        let readers = Readers::start()?;
        Ok(Queries {
            readers,
            hot: Hot::new(hot_bytes),
            asked: AtomicU64::new(0),
            from_memory: AtomicU64::new(0),
        })
    }

    /// How many queries there were, and how many of them were answered from memory.
    pub fn counts(&self) -> (u64, u64) {
        (self.asked.load(Ordering::Relaxed), self.from_memory.load(Ordering::Relaxed))
    }

    /// Bytes of answers that are in memory.
    pub fn hot_bytes(&self) -> usize {
        self.hot.bytes()
    }

    /// Answers a request: with a page of rows, or with the row of a key.
    pub async fn answer(&self, view: &Queryable, asked: &Asked, key: Option<&str>) -> Answer {
        let outcome = match self.find(view, &asked.query, asked.claims.as_ref(), key).await {
            Ok(outcome) => outcome,
            Err(refusal) => return refusal.answer(&asked.request_id),
        };
        let about = About {
            offsets: outcome.offsets(),
            lag: outcome.lag,
            complete: outcome.state.complete,
            max_age: view.shape.query.max_age.into(),
        };
        match &outcome.kept.document {
            Some((body, tag)) => about.answer(body, tag, &asked.headers),
            None => {
                let mut answer = Refusal::no_row().answer(&asked.request_id);
                about.view(&mut answer.headers);
                answer
            }
        }
    }

    /// Finds a page of rows, or the row of a key, as a client with these claims may see it. The query is that of an URL,
    /// still encoded.
    ///
    /// # Errors
    ///
    /// What a client is told: see [`Refusal`].
    pub async fn find(
        &self,
        view: &Queryable,
        query: &str,
        claims: Option<&Arc<Value>>,
        key: Option<&str>,
    ) -> Result<Outcome, Refusal> {
        let shape = &*view.shape;
        let question = match key {
            Some(key) => {
                let of_each = OfEach::read(query, shape)?;
                Question { statements: Statements::of_row(key, shape, claims), of_each, page: None }
            }
            None => {
                let wanted = Wanted::read(query, shape)?;
                let statements = Statements::of_page(&wanted, shape, claims);
                Question { statements, of_each: wanted.of_each.clone(), page: Some(wanted) }
            }
        };
        self.asked.fetch_add(1, Ordering::Relaxed);
        let question = Arc::new(question);
        let mut state = view.reached(&question.of_each.min_offset).await?;
        loop {
            let store = state.store.clone().ok_or_else(being_built)?;
            let hot_key = question.hot_key(view, &store);
            if let Some(kept) = self.hot.find(&hot_key, &view.versions) {
                self.from_memory.fetch_add(1, Ordering::Relaxed);
                return Ok(Outcome { kept, state, lag: view.versions.lag() });
            }
            // Before the transaction: what is committed from here on counts as newer than the answer.
            let version = view.versions.note(&question.statements.tags);
            match self.ask(view, &store, question.clone()).await {
                Ok(kept) => {
                    self.hot.keep(&hot_key, version, kept.clone());
                    return Ok(Outcome { kept, state, lag: view.versions.lag() });
                }
                // The file may have gone because another one has taken its place meanwhile. That is seldom enough.
                Err(Fault::Store(_)) if view.versions.state().store.as_ref() != Some(&store) => {
                    state = view.versions.state();
                }
                Err(fault) => return Err(view.refusal(fault)),
            }
        }
    }

    async fn ask(&self, view: &Queryable, store: &Store, question: Arc<Question>) -> Result<Kept, Fault> {
        let shape = view.shape.clone();
        let timeout = view.shape.query.timeout.into();
        let parts = question.statements.parts.clone();
        let work = move |store: &rusqlite::Connection| {
            let Question { statements, of_each, page } = &*question;
            let found = match page {
                Some(wanted) => execute::page(store, statements, wanted, &shape)?,
                None => execute::row(store, statements, of_each, &shape)?,
            };
            Ok(Kept::new(found.body, found.offsets))
        };
        self.readers.ask(store, parts, timeout, work).await
    }
}

/// What is asked of a store.
struct Question {
    statements: Statements,
    of_each: OfEach,
    /// `None` for one row.
    page: Option<Wanted>,
}

impl Question {
    /// All that the answer depends on, beside the rows: clients for whom this is the same may have the same answer.
    fn hot_key(&self, view: &Queryable, store: &Store) -> Vec<u8> {
        let mut key = Vec::with_capacity(512);
        key.extend(view.number.to_be_bytes());
        key.extend(store.number.to_be_bytes());
        for field in &self.of_each.fields {
            key.extend(field.as_bytes());
            key.push(b',');
        }
        // No field has this in its name.
        key.push(b';');
        self.statements.fingerprint(&mut key);
        key
    }
}

impl Queryable {
    /// The state, once it has come as far as the client asks.
    async fn reached(&self, wanted: &Offsets) -> Result<Arc<State>, Refusal> {
        let state = self.versions.state();
        if wanted.0.is_empty() || state.offsets.are_beyond(wanted) {
            return Ok(state);
        }
        let wait = self.shape.query.wait.into();
        let reached = self.versions.reached(wait, |state| state.offsets.are_beyond(wanted)).await;
        reached.ok_or_else(Refusal::not_there_yet)
    }

    fn refusal(&self, fault: Fault) -> Refusal {
        match fault {
            Fault::Refused(refusal) => refusal,
            Fault::Store(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                Refusal::too_slow()
            }
            Fault::Store(error) => {
                if let Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) = error.sqlite_error_code()
                {
                    self.versions.doubt();
                }
                warn!("a query of view `{}` failed: {error}", self.shape.name);
                Refusal::unavailable("view-unavailable", "the view cannot be read")
            }
            Fault::Row => {
                self.versions.doubt();
                warn!("a row of view `{}` cannot be read: its store is damaged", self.shape.name);
                Refusal::unavailable("view-unavailable", "the view cannot be read")
            }
        }
    }
}

fn being_built() -> Refusal {
    Refusal::unavailable("view-being-built", "the view is being built from its events")
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
