//! What queries have to know of a view, and no more: its name, its fields, its columns, and who may see its rows.

use std::sync::Arc;

use sallyport_condition::Condition;
use sallyport_config::view::ViewQuery;

use crate::views::ViewPlan;
use crate::views::table::Table;

/// What queries have to know of a view.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Its name.
    pub name: Arc<str>,
    /// The topics it reads.
    pub topics: Vec<Arc<str>>,
    /// The fields that rows may have.
    pub fields: Vec<Arc<str>>,
    /// Columns and indexes of its store.
    pub table: Table,
    /// Who may see a row: over `row` and `claims`.
    pub visible_to: Condition,
    /// How rows are asked for.
    pub query: ViewQuery,
}

impl Shape {
    /// The shape of a view.
    pub fn of(plan: &ViewPlan) -> Self {
        Shape {
            name: plan.name.clone(),
            topics: plan.topics.clone(),
            fields: plan.fields.names().to_vec(),
            table: plan.table.clone(),
            visible_to: plan.visible_to.clone(),
            query: plan.query.clone(),
        }
    }

    /// The column of a field that queries may filter, order and group by: one in an index.
    pub(super) fn indexed(&self, field: &str) -> Option<usize> {
        self.table
            .column(field)
            .filter(|column| self.table.indexes.iter().flatten().any(|known| known == column))
    }

    /// The fields that queries may filter, order and group by.
    pub(super) fn all_indexed(&self) -> impl Iterator<Item = &str> {
        self.table.columns.iter().map(|column| &*column.field).filter(|field| self.indexed(field).is_some())
    }

    /// The name of a column's field.
    pub(super) fn field(&self, column: usize) -> &str {
        self.table.columns.get(column).map_or("", |column| &column.field)
    }

    /// A column as it stands in SQL.
    pub(super) fn sql(&self, column: usize) -> &str {
        self.table.columns.get(column).map_or("NULL", |column| &column.sql)
    }

    /// Whether answers give rows a member `key`: unless they have a field of this name themselves.
    pub(super) fn adds_key(&self) -> bool {
        !self.fields.iter().any(|field| **field == *"key")
    }
}
