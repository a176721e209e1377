//! A view and its store, for tests.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use sallyport_condition::Condition;
use sallyport_config::view::ViewQuery;
use sallyport_config::{Located, Report};
use serde_json::{Map, Value, json};

use super::shape::Shape;
use crate::views::column::ColumnValue;
use crate::views::table::Table;
use crate::views::versions::{Offsets, State, Store, Touched, Versions};

/// Columns owner, status, created_at and size in indexes, and `secret` beside; `title` is in no column.
pub(super) fn shape() -> Shape {
    shape_for("row.owner == claims.sub || 'admin' in claims.roles || row.secret == 'none'")
}

pub(super) fn shape_for(visible_to: &str) -> Shape {
    let mut report = Report::default();
    let condition =
        Condition::compile(&Located::nowhere(visible_to.to_owned()), &["row", "claims"], &mut report);
    let visible_to = condition.unwrap_or_else(|| panic!("{visible_to}: {report}"));
    let fields = ["title", "owner", "status", "created_at", "size", "secret"];
    let fields: Vec<Arc<str>> = fields.into_iter().map(Into::into).collect();
    let mut table = Table::default();
    let [owner, status, created, size] = [1, 2, 3, 4].map(|field: usize| table.add(&fields[field]));
    table.add(&fields[5]);
    table.indexes = vec![
        vec![owner],
        vec![status],
        vec![created],
        vec![owner, created],
        vec![status, created],
        vec![size],
    ];
    let topics = vec!["t".into()];
    Shape { name: "batches".into(), topics, fields, table, visible_to, query: ViewQuery::default() }
}

/// A store that is written as the fold writes it.
pub(super) struct Rows {
    pub(super) shape: Shape,
    pub(super) versions: Arc<Versions>,
    store: Connection,
    state: State,
}

impl Rows {
    pub(super) fn new(shape: Shape, path: &Path) -> Self {
        let store = Connection::open(path).unwrap();
        store.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
        shape.table.create(&store).unwrap();
        shape.table.create_indexes(&store).unwrap();
        store.execute("INSERT INTO offsets VALUES ('t', 0, 0)", ()).unwrap();
        let state = State {
            store: Some(Store { path: path.into(), number: 1 }),
            offsets: Offsets(vec![("t".into(), 0, 0)]),
            complete: true,
        };
        let versions = Arc::new(Versions::new());
        versions.committed(&Touched::default(), state.clone());
        Rows { shape, versions, store, state }
    }

    /// Writes rows, or deletes those without one, in one commit; it stands for one record.
    pub(super) fn commit(&mut self, rows: &[(String, Option<Value>)]) {
        let touched = self.write(rows);
        self.publish(&touched);
    }

    /// Commits without telling.
    pub(super) fn write(&mut self, rows: &[(String, Option<Value>)]) -> Touched {
        let mut touched = Touched::default();
        let transaction = self.store.unchecked_transaction().unwrap();
        for (key, row) in rows {
            touched.row(key);
            let doc = transaction
                .query_row("SELECT doc FROM rows WHERE key = ?1", [key], |row| row.get::<_, Vec<u8>>(0));
            let before: Option<Value> = doc.ok().map(|doc| serde_json::from_slice(&doc).unwrap());
            let value = |row: &Option<Value>, field: &str| {
                row.as_ref().map(|row| ColumnValue::of_field(row.get(field).map(Value::to_string).as_deref()))
            };
            transaction.execute("DELETE FROM rows WHERE key = ?1", [key]).unwrap();
            let mut names = String::new();
            let mut values: Vec<Box<dyn rusqlite::ToSql>> = vec![];
            for (number, column) in self.shape.table.columns.iter().enumerate() {
                let (before, after) = (value(&before, &column.field), value(row, &column.field));
                touched.column(number, before.as_ref(), after.as_ref());
                names.push_str(&format!(", {}", column.sql));
                values.push(Box::new(after.unwrap_or(ColumnValue::Null)));
            }
            let Some(row) = row else { continue };
            let places: String = (0..values.len()).map(|number| format!(", ?{}", number + 3)).collect();
            values.insert(0, Box::new(row.to_string().into_bytes()));
            values.insert(0, Box::new(key.clone()));
            let sql = format!("INSERT INTO rows(key, doc{names}) VALUES (?1, ?2{places})");
            transaction.execute(&sql, rusqlite::params_from_iter(&values)).unwrap();
        }
        transaction.execute("UPDATE offsets SET next = next + 1", ()).unwrap();
        transaction.commit().unwrap();
        self.state.offsets.0[0].2 += 1;
        touched
    }

    /// Tells of what was committed.
    pub(super) fn publish(&self, touched: &Touched) {
        self.versions.committed(touched, self.state.clone());
    }

    pub(super) fn state(&mut self) -> &mut State {
        &mut self.state
    }

    pub(super) fn store(&self) -> &Connection {
        &self.store
    }
}

/// A row of a batch.
pub(super) fn batch(owner: &str, status: &str, created_at: &str) -> Value {
    json!({"owner": owner, "status": status, "created_at": created_at, "title": format!("{status} of {owner}")})
}

/// A row with these members.
pub(super) fn row(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
