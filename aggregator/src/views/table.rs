//! The tables of a view's store: what they are called, how they are made and opened. What is written into them is not
//! known here.
//!
//! ```sql
//! rows(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, doc BLOB NOT NULL, ordered TEXT, "f_<field>" …)
//! offsets(topic TEXT, partition INTEGER, next INTEGER, PRIMARY KEY(topic, partition))
//! meta(name TEXT PRIMARY KEY, value)
//! seen(at INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE)
//! ```
//!
//! `doc` is the row as a JSON object, each value byte for byte as it came. `ordered` is the largest value of `ordered_by`
//! that the row has seen, as JSON. A column `f_<field>` has no declared type and holds a [`ColumnValue`] of the field in
//! `doc`. Every index ends with `key`, so that the order it gives is total.
//!
//! [`ColumnValue`]: super::column::ColumnValue

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// The version of all this; a store of another one is built anew.
pub const FORMAT: i64 = 1;

/// Statements that a connection keeps prepared.
const STATEMENTS_MAX: usize = 64;

/// A column for a field of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The field's name.
    pub field: Arc<str>,
    /// The column's name as it stands in SQL, in quotes.
    pub sql: Arc<str>,
}

/// Which columns and indexes a view's rows have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The columns, in the order in which the store has them.
    pub columns: Vec<Column>,
    /// The indexes: positions in `columns`. Each ends with the row's key, which is not listed.
    pub indexes: Vec<Vec<usize>>,
}

impl Table {
    /// The position of a field's column.
    pub fn column(&self, field: &str) -> Option<usize> {
        self.columns.iter().position(|column| *column.field == *field)
    }

    /// Adds a column for a field unless there is one. Gives its position. The name was checked: letters, digits and `_`.
    pub fn add(&mut self, field: &Arc<str>) -> usize {
        self.column(field).unwrap_or_else(|| {
            self.columns.push(Column { field: field.clone(), sql: format!("\"f_{field}\"").into() });
            self.columns.len() - 1
        })
    }

    /// Makes the tables in an empty store; not yet their indexes.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub fn create(&self, store: &Connection) -> rusqlite::Result<()> {
        store.execute_batch(
            "CREATE TABLE offsets(topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
                 PRIMARY KEY(topic, partition)) WITHOUT ROWID;
             CREATE TABLE meta(name TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID;
             CREATE TABLE seen(at INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);",
        )?;
        self.create_rows(store, "rows")
    }

    /// Makes the table of the rows under a name.
    pub(super) fn create_rows(&self, store: &Connection, name: &str) -> rusqlite::Result<()> {
        let mut sql = format!(
            "CREATE TABLE {name}(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, doc BLOB NOT NULL, ordered TEXT"
        );
        for column in &self.columns {
            // Writing to a string cannot fail.
            let _ = write!(sql, ", {}", column.sql);
        }
        sql.push(')');
        store.execute_batch(&sql)
    }

    /// Makes the indexes of the rows, unless they are there.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub fn create_indexes(&self, store: &Connection) -> rusqlite::Result<()> {
        for (number, index) in self.indexes.iter().enumerate() {
            let mut sql = format!("CREATE INDEX IF NOT EXISTS index_{number} ON rows(");
            for column in index {
                let _ = write!(sql, "{}, ", self.columns[*column].sql);
            }
            sql.push_str("key)");
            store.execute_batch(&sql)?;
        }
        Ok(())
    }
}

/// Opens a store for queries: nothing can be written through this connection. The tables are seen as of the last commit
/// when a statement or transaction begins; the fold is not held up.
///
/// # Errors
///
/// Those of SQLite; also if there is no such file.
pub fn open_for_queries(path: &Path) -> rusqlite::Result<Connection> {
    // Not read-only: the last reader of a write-ahead log that a killed process left must be able to make its index.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let store = Connection::open_with_flags(path, flags)?;
    store.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    leave_files_alone(&store)?;
    store.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;")?;
    Ok(store)
}

/// Makes a connection leave the write-ahead log where it is when it closes. The last one to close would remove it by its
/// name; when the store was renamed meanwhile, that is another store's.
pub(super) fn leave_files_alone(store: &Connection) -> rusqlite::Result<()> {
    store.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(|_| ())
}

/// The next offset of each partition, as of the rows that the connection sees: topic, partition, next.
///
/// # Errors
///
/// Those of SQLite.
pub fn read_offsets(store: &Connection) -> rusqlite::Result<Vec<(String, i32, i64)>> {
    let mut statement =
        store.prepare_cached("SELECT topic, partition, next FROM offsets ORDER BY topic, partition")?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_columns_and_its_indexes() {
        let mut table = Table::default();
        let (owner, created) = (table.add(&"owner".into()), table.add(&"created_at".into()));
        assert_eq!((owner, created, table.add(&"owner".into())), (0, 1, 0));
        table.indexes = vec![vec![owner], vec![owner, created]];
        let store = Connection::open_in_memory().unwrap();
        table.create(&store).unwrap();
        table.create_indexes(&store).unwrap();
        table.create_indexes(&store).unwrap();
        let plan: String = store
            .query_row(
                "EXPLAIN QUERY PLAN SELECT doc FROM rows WHERE f_owner = 'u' ORDER BY f_created_at, key",
                (),
                |row| row.get(3),
            )
            .unwrap();
        assert_eq!(plan, "SEARCH rows USING INDEX index_1 (f_owner=?)");
        store.execute("INSERT INTO offsets VALUES ('b', 0, 7), ('a', 1, 5)", ()).unwrap();
        assert_eq!(read_offsets(&store).unwrap(), [("a".to_owned(), 1, 5), ("b".to_owned(), 0, 7)]);
    }

    #[test]
    fn queries_cannot_write_and_make_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        assert!(open_for_queries(&path).is_err());
        assert!(!path.exists());
        Table::default().create(&Connection::open(&path).unwrap()).unwrap();
        let store = open_for_queries(&path).unwrap();
        assert!(store.execute("DELETE FROM rows", ()).is_err());
        assert_eq!(read_offsets(&store).unwrap(), []);
    }
}
