//! A view's store as the fold has it: opened, checked, made anew. What a batch of events does to it is in `batch`.
//!
//! It is a file of SQLite with a write-ahead log. Rows, offsets and what is remembered of events are committed together,
//! with `synchronous = NORMAL`: a process that is killed loses nothing that was committed, and a machine that loses power
//! may lose the last commits as a whole. The offsets go with them, and what they stood for is read from Kafka again; so
//! either way each event counts once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, ToSql, TransactionBehavior, params};
use thiserror::Error;

use super::cache::Cache;
use super::plan::ViewPlan;
use super::row::Row;
use super::table::FORMAT;

/// Bytes of rows that are kept in memory for the fold, a view.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Kibibytes of pages that SQLite keeps in memory, a view.
const PAGES_KIB_MAX: usize = 32 * 1024;

/// Pages of the write-ahead log after which they are copied into the file.
const CHECKPOINT_PAGES: usize = 16_000;

/// Statements that are kept prepared.
const STATEMENTS_MAX: usize = 32;

/// The store of a view, open for writing. There is one at a time.
pub(super) struct Store {
    pub(super) plan: Arc<ViewPlan>,
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    pub(super) cache: Cache,
    /// Keys of rows that were changed and not yet written.
    pub(super) changed: Vec<Arc<str>>,
    /// Bytes of their texts, each counted as often as it has changed.
    pub(super) changed_bytes: usize,
    /// The next offset of each partition, and whether that was written.
    pub(super) offsets: BTreeMap<(Arc<str>, i32), (i64, bool)>,
    pub(super) rows: u64,
    /// Events that would have made one row too many.
    pub(super) left_out: u64,
    /// The number of the last event that is remembered.
    pub(super) seen: i64,
    /// Whether a transaction is open.
    pub(super) open: bool,
    pub(super) facts: Facts,
    /// Before these offsets, poison records were told before.
    pub(super) lettered: BTreeMap<(Arc<str>, i32), i64>,
}

/// Topics, partitions, and the offsets up to which poison records of them were told.
pub(super) type Lettered = Vec<(String, i32, i64)>;

/// What is noted in a store about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether all that was there when it was begun has been folded.
    pub(super) built: bool,
    /// Since when events are missing, milliseconds since 1970.
    pub(super) incomplete_since: Option<i64>,
}

/// What went wrong with a store.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    /// SQLite.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that the fold cannot have written.
    #[error("a row is not what the fold writes")]
    Row,
    /// Something is wrong in the file.
    #[error("{0}")]
    Damaged(String),
    /// Kafka cannot be read.
    #[error("{0}")]
    Kafka(String),
}

impl StoreError {
    /// Whether the file is no longer to be trusted. Else trying again may help: a full disk, a lack of rights.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            StoreError::Sqlite(error) => match error.sqlite_error_code() {
                // The last is that of a schema that does not go with the plan.
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => true,
                Some(_) => false,
                // Not SQLite complains, but who reads what it has: values of other types than the fold writes.
                None => !matches!(error, rusqlite::Error::InvalidPath(_) | rusqlite::Error::NulError(_)),
            },
            StoreError::Row | StoreError::Damaged(_) => true,
            StoreError::Kafka(_) => false,
        }
    }
}

/// What a store is fit for.
pub(super) enum Opened {
    /// It goes on from where it was.
    Ready(Box<Store>),
    /// It is of another format, or was folded by other rules: why, in words.
    Outdated(String),
}

impl Store {
    /// Opens a store, or makes a new one. What `lettered` says of poison records is noted in a new one.
    pub(super) fn open(
        path: &Path,
        plan: &Arc<ViewPlan>,
        lettered: &[(String, i32, i64)],
    ) -> Result<Opened, StoreError> {
        let mut db = connect(path)?;
        let is_new = !db.table_exists(None, "meta")?;
        if is_new {
            let begun = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            plan.table.create(&begun)?;
            put(&begun, "format", &FORMAT)?;
            put(&begun, "fingerprint", &&*plan.fingerprint)?;
            put(&begun, "shape", &shape(plan))?;
            put(&begun, "cluster", &&*plan.cluster)?;
            put(&begun, "visible_to", &plan.visible_to.source())?;
            for (topic, partition, next) in lettered {
                put(&begun, &format!("lettered/{partition}/{topic}"), next)?;
            }
            begun.commit()?;
        } else if let Some(why) = outdated(&db, plan)? {
            return Ok(Opened::Outdated(why));
        } else {
            if !find::<bool>(&db, "closed")?.unwrap_or_default() {
                check(&db)?;
            }
            if find::<String>(&db, "shape")?.as_deref() != Some(&*shape(plan)) {
                reshape(&mut db, plan)?;
            }
            put(&db, "visible_to", &plan.visible_to.source())?;
        }
        put(&db, "closed", &false)?;
        Store::load(db, path, plan).map(|store| Opened::Ready(Box::new(store)))
    }

    fn load(db: Connection, path: &Path, plan: &Arc<ViewPlan>) -> Result<Store, StoreError> {
        let offsets = super::table::read_offsets(&db)?;
        // The topics' names are shared with the plan, as those of records are with the reader.
        let named = |topic: String| {
            plan.topics.iter().find(|known| ***known == *topic).cloned().unwrap_or_else(|| topic.into())
        };
        let offsets = offsets
            .into_iter()
            .map(|(topic, partition, next)| ((named(topic), partition), (next, true)))
            .collect();
        let facts = Facts {
            built: find(&db, "built")?.unwrap_or_default(),
            incomplete_since: find(&db, "incomplete_since")?,
        };
        let lettered = lettered(&db)?
            .into_iter()
            .map(|(topic, partition, next)| ((named(topic), partition), next))
            .collect();
        Ok(Store {
            plan: plan.clone(),
            rows: find(&db, "rows")?.unwrap_or_default(),
            left_out: find(&db, "left_out")?.unwrap_or_default(),
            seen: db.query_row("SELECT coalesce(max(at), 0) FROM seen", (), |row| row.get(0))?,
            path: path.to_owned(),
            cache: Cache::new(CACHE_BYTES_MAX),
            changed: Vec::new(),
            changed_bytes: 0,
            offsets,
            open: false,
            facts,
            lettered,
            db,
        })
    }

    /// The next offset of a partition, if something of it was read.
    pub(super) fn next(&self, topic: &str, partition: i32) -> Option<i64> {
        let of = |((known, number), (next, _)): (&(Arc<str>, i32), &(i64, bool))| {
            (**known == *topic && *number == partition).then_some(*next)
        };
        self.offsets.iter().find_map(of)
    }

    /// Notes that the store is built: everything up to here is committed. Only now it gets its indexes: queries could not
    /// use them before, and of all rows at once they are made many times faster than row by row.
    pub(super) fn set_built(&mut self) -> Result<(), StoreError> {
        let begun = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.plan.table.create_indexes(&begun)?;
        put(&begun, "built", &true)?;
        begun.commit()?;
        self.facts.built = true;
        Ok(())
    }

    /// Notes since when events are missing, unless there are older ones.
    pub(super) fn set_incomplete(&mut self, since: i64) -> Result<(), StoreError> {
        if self.facts.incomplete_since.is_none() {
            self.facts.incomplete_since = Some(since);
            put(&self.db, "incomplete_since", &since)?;
        }
        Ok(())
    }

    /// Notes a topic's id. `false` if it is not the one that was noted before.
    pub(super) fn know(&mut self, topic: &str, id: &str) -> Result<bool, StoreError> {
        let name = format!("topic/{topic}");
        match find::<String>(&self.db, &name)? {
            Some(known) => Ok(known == id),
            None => put(&self.db, &name, &id).map(|()| true),
        }
    }

    /// Reads all of the file, and each row.
    pub(super) fn check_rows(&self) -> Result<(), StoreError> {
        check(&self.db)?;
        let mut select = self.db.prepare("SELECT doc FROM rows")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let doc = row.get_ref(0)?.as_blob().ok();
            doc.and_then(|doc| Row::parse(doc, &self.plan.fields)).ok_or(StoreError::Row)?;
        }
        Ok(())
    }

    /// Closes the store; what was not committed is lost, and read again at the next start. The file alone is then all of
    /// it, unless a query is under way.
    pub(super) fn close(self) -> Result<(), StoreError> {
        if self.open {
            self.db.execute_batch("ROLLBACK")?;
        }
        put(&self.db, "closed", &true)?;
        // Connections of queries may still be open, so that closing this one would leave the log behind.
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        self.db.close().map_err(|(_, error)| error.into())
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open(path)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF;
         PRAGMA cache_size = -{PAGES_KIB_MAX}; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    ))?;
    Ok(db)
}

/// Why a store cannot go on, if it cannot.
pub(super) fn outdated(db: &Connection, plan: &ViewPlan) -> Result<Option<String>, StoreError> {
    let format = find::<i64>(db, "format")?;
    if format != Some(FORMAT) {
        let format = format.map_or_else(|| "none".to_owned(), |format| format.to_string());
        return Ok(Some(format!("it has format {format}, this program writes format {FORMAT}")));
    }
    let same = find::<String>(db, "fingerprint")?.as_deref() == Some(&*plan.fingerprint);
    Ok((!same).then(|| "it was folded by other rules than the configuration has now".to_owned()))
}

/// Reads all of the file; an error says what is wrong in it.
pub(super) fn check(db: &Connection) -> Result<(), StoreError> {
    let found: String = db.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Damaged(found)) }
}

/// Columns and indexes in one text.
pub(super) fn shape(plan: &ViewPlan) -> String {
    let columns: Vec<&str> = plan.table.columns.iter().map(|column| &*column.field).collect();
    serde_json::json!({ "columns": columns, "indexes": plan.table.indexes }).to_string()
}

/// Gives rows other columns and indexes; what is in them stays.
fn reshape(db: &mut Connection, plan: &ViewPlan) -> Result<(), StoreError> {
    log::info!("view `{}`: its rows get other indexes", plan.name);
    let begun = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    plan.table.create_rows(&begun, "reshaped")?;
    {
        let mut insert = begun.prepare(&insert_into("reshaped", plan.table.columns.len()))?;
        let mut select = begun.prepare("SELECT key, doc, ordered, id FROM rows")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let (key, doc) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_blob());
            let (Ok(key), Ok(doc)) = (key, doc) else { return Err(StoreError::Row) };
            let parsed = Row::parse(doc, &plan.fields).ok_or(StoreError::Row)?;
            let (mark, id): (Option<String>, i64) = (row.get(2)?, row.get(3)?);
            let columns = columns(plan, &parsed);
            let mut values: Vec<&dyn ToSql> = vec![&id, &key, &doc, &mark];
            values.extend(columns.iter().map(|column| column as &dyn ToSql));
            insert.execute(&*values)?;
        }
    }
    begun.execute_batch("DROP TABLE rows; ALTER TABLE reshaped RENAME TO rows;")?;
    if find::<bool>(&begun, "built")?.unwrap_or_default() {
        plan.table.create_indexes(&begun)?;
    }
    put(&begun, "shape", &shape(plan))?;
    begun.commit()?;
    Ok(())
}

/// The statement that adds a row: its number, its key, its text, its mark, its columns.
pub(super) fn insert_into(table: &str, columns: usize) -> String {
    format!("INSERT INTO {table} VALUES (?, ?, ?, ?{})", ", ?".repeat(columns))
}

/// The values of a row's columns.
pub(super) fn columns(plan: &ViewPlan, row: &Row) -> Vec<super::column::ColumnValue> {
    let field = |column: &super::table::Column| plan.fields.number(&column.field).unwrap_or(usize::MAX);
    plan.table.columns.iter().map(|column| row.column(field(column))).collect()
}

/// What is noted under a name.
pub(super) fn find<T: rusqlite::types::FromSql>(
    db: &Connection,
    name: &str,
) -> Result<Option<T>, StoreError> {
    let mut statement = db.prepare_cached("SELECT value FROM meta WHERE name = ?")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// Notes something under a name.
pub(super) fn put(db: &Connection, name: &str, value: &dyn ToSql) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO meta(name, value) VALUES (?, ?)")?;
    statement.execute(params![name, value])?;
    Ok(())
}

/// Up to where poison records were told before the store was made.
pub(super) fn lettered(db: &Connection) -> Result<Lettered, StoreError> {
    let mut statement = db.prepare("SELECT name, value FROM meta WHERE name GLOB 'lettered/*'")?;
    let rows = statement.query_map((), |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    let mut all = Vec::new();
    for row in rows {
        let (name, next): (String, i64) = row?;
        let mut parts = name.splitn(3, '/').skip(1);
        if let (Some(Ok(partition)), Some(topic)) = (parts.next().map(str::parse), parts.next()) {
            all.push((topic.to_owned(), partition, next));
        }
    }
    Ok(all)
}
