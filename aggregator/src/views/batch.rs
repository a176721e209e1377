//! What a batch of events does to a store: each is folded over rows in memory, then all of them are written in one
//! transaction, with the offsets that they have come to.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, ToSql, params};
use sallyport_kafka::{CloudEvent, Record};

use super::cache::{Place, Slot, Unwritten};
use super::column::ColumnValue;
use super::event::Event;
use super::fold::{After, carry_out, examine, is_late};
use super::poison::Poison;
use super::row::Row;
use super::store::{Store, StoreError, columns, insert_into, put};
use super::versions::Touched;

/// What became of an event that could be folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its rule was carried out.
    Folded,
    /// No rule is for it, or its rule makes no row where there is none.
    Passed,
    /// It was folded before.
    Duplicate,
    /// A later one was folded before.
    Late,
    /// It would have made one row too many.
    LeftOut,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 5] =
        [Outcome::Folded, Outcome::Passed, Outcome::Duplicate, Outcome::Late, Outcome::LeftOut];

    /// The outcome as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Folded => "folded",
            Outcome::Passed => "passed",
            Outcome::Duplicate => "duplicate",
            Outcome::Late => "late",
            Outcome::LeftOut => "left_out",
        }
    }
}

/// A row that a commit has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Its key.
    pub key: Arc<str>,
    /// The row as a JSON object; `None` if it is gone.
    pub doc: Option<Arc<str>>,
    /// If it is gone: the row as the commit before had it.
    pub was: Option<Arc<str>>,
    /// The last record that changed it. Changes by several records of one commit are told as one.
    pub place: Place,
}

/// Why an event was not folded.
enum Fault {
    Poison(Poison),
    Store(StoreError),
}

impl From<Poison> for Fault {
    fn from(poison: Poison) -> Self {
        Fault::Poison(poison)
    }
}

impl<E: Into<StoreError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault::Store(error.into())
    }
}

impl Store {
    /// Folds a record. Nothing of it is written before [`Store::commit`]. After an error of the store nothing of what was
    /// not committed can be relied on: it has to be opened again.
    pub(super) fn fold(&mut self, record: &Record) -> Result<Result<Outcome, Poison>, StoreError> {
        let plan = self.plan.clone();
        let judged = match self.judge(&plan, record) {
            Ok(outcome) => Ok(outcome),
            Err(Fault::Poison(poison)) => Err(poison),
            Err(Fault::Store(error)) => return Err(error),
        };
        self.position(&record.topic, record.partition, record.offset.saturating_add(1));
        Ok(judged)
    }

    /// Notes the next offset of a partition. It never goes back.
    pub(super) fn position(&mut self, topic: &Arc<str>, partition: i32, next: i64) {
        let noted = self.offsets.entry((topic.clone(), partition)).or_insert((next, false));
        if next > noted.0 {
            *noted = (next, false);
        }
    }

    fn judge(&mut self, plan: &super::plan::ViewPlan, record: &Record) -> Result<Outcome, Fault> {
        let cloud = match &record.value {
            Some(value) => CloudEvent::of(record, value).map_err(Poison::from)?,
            None => CloudEvent::of_headers(record),
        };
        let event = Event::new(plan, record, &cloud);
        let Some(due) = examine(plan, &event)? else { return Ok(Outcome::Passed) };
        if let Some(id) = &due.unique
            && self.has_seen(id)?
        {
            return Ok(Outcome::Duplicate);
        }
        let key = self.recall(&due.key)?;
        let Some(slot) = self.cache.find(&key) else { return Err(StoreError::Row.into()) };
        if let (Some(mark), Some(seen)) = (&due.mark, &slot.mark)
            && is_late(mark, seen)?
        {
            return Ok(Outcome::Late);
        }
        let after = match carry_out(plan, due.rule, &event, slot.row.as_ref())? {
            After::Nothing => return Ok(Outcome::Passed),
            After::Gone => None,
            After::Row(row) => Some(row),
        };
        match (&slot.row, &after) {
            (None, Some(_)) if self.rows >= plan.rows_max => {
                self.left_out += 1;
                return Ok(Outcome::LeftOut);
            }
            (None, Some(_)) => self.rows += 1,
            (Some(_), None) => self.rows = self.rows.saturating_sub(1),
            _ => {}
        }
        // A row that is gone leaves no mark: what comes later begins anew.
        slot.mark = due.mark.as_deref().filter(|_| after.is_some()).map(Box::from);
        let place = Place {
            topic: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
        };
        self.changed_bytes += key.len() + after.as_ref().map_or(0, |row| row.doc().len());
        let before = std::mem::replace(&mut slot.row, after);
        match &mut slot.unwritten {
            Some(unwritten) => unwritten.place = place,
            none => {
                *none = Some(Unwritten { before, place });
                self.changed.push(key);
            }
        }
        if let Some(id) = &due.unique {
            self.see(id)?;
        }
        Ok(Outcome::Folded)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if !self.open {
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
            self.open = true;
        }
        Ok(())
    }

    /// Sees to it that the cache knows what the store has under a key.
    fn recall(&mut self, key: &str) -> Result<Arc<str>, StoreError> {
        if let Some(key) = self.cache.touch(key) {
            return Ok(key);
        }
        self.begin()?;
        let mut select = self.db.prepare_cached("SELECT id, doc, ordered FROM rows WHERE key = ?")?;
        let fields = &self.plan.fields;
        let found = select.query_row([key], |row| {
            let parsed = row.get_ref(1)?.as_blob().ok().and_then(|doc| Row::parse(doc, fields));
            let mark: Option<String> = row.get(2)?;
            Ok((row.get(0)?, parsed, mark))
        });
        let slot = match found.optional()? {
            Some((_, None, _)) => return Err(StoreError::Row),
            Some((id, row, mark)) => Slot { row, mark: mark.map(Into::into), id: Some(id), unwritten: None },
            None => Slot::default(),
        };
        let key: Arc<str> = key.into();
        self.cache.insert(key.clone(), slot);
        Ok(key)
    }

    fn has_seen(&mut self, id: &str) -> Result<bool, StoreError> {
        self.begin()?;
        let mut select = self.db.prepare_cached("SELECT 1 FROM seen WHERE id = ?")?;
        Ok(select.exists([id])?)
    }

    fn see(&mut self, id: &str) -> Result<(), StoreError> {
        self.begin()?;
        self.seen += 1;
        self.db.prepare_cached("INSERT INTO seen(at, id) VALUES (?, ?)")?.execute(params![self.seen, id])?;
        let keep = self.plan.unique.as_ref().map_or(0, |(_, keep)| i64::try_from(*keep).unwrap_or(i64::MAX));
        let mut forget = self.db.prepare_cached("DELETE FROM seen WHERE at <= ?")?;
        forget.execute([self.seen.saturating_sub(keep)])?;
        Ok(())
    }

    /// Whether something was not committed yet.
    pub(super) fn has_uncommitted(&self) -> bool {
        !self.changed.is_empty() || self.open || self.offsets.values().any(|(_, written)| !written)
    }

    /// Writes everything since the last commit in one transaction. Gives what it has touched; the changed rows go to `each`, by
    /// key.
    pub(super) fn commit(&mut self, mut each: impl FnMut(RowChange)) -> Result<Touched, StoreError> {
        self.begin()?;
        let mut touched = Touched::default();
        let mut changed = std::mem::take(&mut self.changed);
        self.changed_bytes = 0;
        // In the order of the index of keys, so that each of its pages is visited once.
        changed.sort_unstable();
        for key in &changed {
            let Some(slot) = self.cache.find(key) else { return Err(StoreError::Row) };
            let Some(unwritten) = slot.unwritten.take() else { continue };
            write(&self.plan, &self.db, key, slot, unwritten.before.as_ref(), &mut touched)?;
            if slot.row.is_some() || unwritten.before.is_some() {
                let doc: Option<Arc<str>> = slot.row.as_ref().map(|row| row.doc().into());
                let gone = unwritten.before.as_ref().filter(|_| doc.is_none());
                let was = gone.map(|row| row.doc().into());
                each(RowChange { key: key.clone(), doc, was, place: unwritten.place });
            }
        }
        let sql = "INSERT OR REPLACE INTO offsets(topic, partition, next) VALUES (?, ?, ?)";
        let mut note = self.db.prepare_cached(sql)?;
        for ((topic, partition), (next, written)) in &mut self.offsets {
            if !std::mem::replace(written, true) {
                note.execute(params![&**topic, partition, *next])?;
            }
        }
        drop(note);
        if !changed.is_empty() || self.left_out > 0 {
            put(&self.db, "rows", &self.rows)?;
            put(&self.db, "left_out", &self.left_out)?;
        }
        self.db.prepare_cached("COMMIT")?.execute(())?;
        self.open = false;
        self.cache.shrink();
        Ok(touched)
    }
}

/// Writes a row as it is now over what the store has.
fn write(
    plan: &super::plan::ViewPlan,
    db: &rusqlite::Connection,
    key: &Arc<str>,
    slot: &mut Slot,
    before: Option<&Row>,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    let old = before.map(|row| columns(plan, row));
    let new = slot.row.as_ref().map(|row| columns(plan, row));
    match (&slot.row, slot.id) {
        (None, None) => return Ok(()),
        (None, Some(id)) => {
            db.prepare_cached("DELETE FROM rows WHERE id = ?")?.execute([id])?;
            slot.id = None;
        }
        (Some(row), id) => {
            let mark = slot.mark.as_deref();
            let (key, doc) = (&**key, row.doc().as_bytes());
            let mut values: Vec<&dyn ToSql> = vec![&id, &key, &doc, &mark];
            let list = new.as_deref().unwrap_or_default();
            match id {
                // Nothing that an index has: the indexes are not even looked at.
                Some(id) if old == new => {
                    let mut update =
                        db.prepare_cached("UPDATE rows SET doc = ?, ordered = ? WHERE id = ?")?;
                    update.execute(params![doc, mark, id])?;
                }
                Some(_) => {
                    values.extend(list.iter().map(|value| value as &dyn ToSql));
                    values.remove(1);
                    db.prepare_cached(&update_all(plan))?.execute(&*values)?;
                }
                None => {
                    values.extend(list.iter().map(|value| value as &dyn ToSql));
                    db.prepare_cached(&insert_into("rows", list.len()))?.execute(&*values)?;
                    slot.id = Some(db.last_insert_rowid());
                }
            }
        }
    }
    touched.row(key);
    for column in 0..plan.table.columns.len() {
        let of = |values: &Option<Vec<ColumnValue>>| {
            values.as_ref().and_then(|values| values.get(column)).cloned()
        };
        touched.column(column, of(&old).as_ref(), of(&new).as_ref());
    }
    Ok(())
}

/// The statement that changes a row: its number, its text, its mark, its columns.
fn update_all(plan: &super::plan::ViewPlan) -> String {
    let mut sql = "UPDATE rows SET doc = ?2, ordered = ?3".to_owned();
    for (number, column) in plan.table.columns.iter().enumerate() {
        sql.push_str(&format!(", {} = ?{}", column.sql, number + 4));
    }
    sql.push_str(" WHERE id = ?1");
    sql
}
