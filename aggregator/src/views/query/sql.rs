//! A statement while it is written: its conditions, and the values that it is given. Values are always bound, never written
//! into the text.

use sallyport_condition::{Order, Projection};

use crate::views::column::ColumnValue;

/// Conditions and values of one query; its statements share the numbers of the values.
#[derive(Debug, Default)]
pub(super) struct Sql {
    /// `?1` is the first.
    pub(super) values: Vec<ColumnValue>,
    /// What only the condition itself can say; statements call them by position.
    pub(super) parts: Vec<Part>,
}

/// A part of `visible_to` that columns do not tell: it is asked with the row.
#[derive(Debug)]
pub(super) struct Part {
    /// The part.
    pub(super) condition: sallyport_condition::Condition,
    /// What it reads of the row.
    pub(super) reads: Projection,
    /// What it has to come out as.
    pub(super) wanted: bool,
}

/// The name of the function that asks a part: by its position, with the row.
pub(super) const ROW_HOLDS: &str = "row_holds";

impl Sql {
    /// The parameter that a value is bound to.
    pub(super) fn bind(&mut self, value: ColumnValue) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    /// Asks a part.
    pub(super) fn ask(&mut self, part: Part) -> String {
        self.parts.push(part);
        format!("{ROW_HOLDS}({}, doc)", self.parts.len() - 1)
    }

    /// That a column equals one of these.
    pub(super) fn equals(&mut self, column: &str, values: &[ColumnValue]) -> String {
        let mut all: Vec<String> = Vec::new();
        let others: Vec<String> = values
            .iter()
            .filter(|value| **value != ColumnValue::Null)
            .map(|value| self.bind(value.clone()))
            .collect();
        // Nothing equals null in SQL.
        if others.len() < values.len() {
            all.push(format!("{column} IS NULL"));
        }
        match others.as_slice() {
            [] => {}
            [one] => all.push(format!("{column} = {one}")),
            several => all.push(format!("{column} IN ({})", several.join(", "))),
        }
        either(&all)
    }

    /// That a column stands so to a value.
    pub(super) fn compares(&mut self, column: &str, order: Order, value: ColumnValue) -> String {
        let sign = match order {
            Order::Less => "<",
            Order::LessOrEqual => "<=",
            Order::Greater => ">",
            Order::GreaterOrEqual => ">=",
        };
        format!("{column} {sign} {}", self.bind(value))
    }
}

/// All of these; `1` if there are none.
pub(super) fn all(conditions: &[String]) -> String {
    if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") }
}

/// One of these; `0` if there are none.
pub(super) fn either(conditions: &[String]) -> String {
    match conditions {
        [] => "0".to_owned(),
        [one] => one.clone(),
        several => format!("({})", several.join(" OR ")),
    }
}

/// Keeps values of other kinds out that SQLite orders on the same side: null < numbers < texts < booleans, which are
/// BLOBs. `lower` asks for the end below.
pub(super) fn guard(column: &str, value: &ColumnValue, lower: bool) -> Option<String> {
    match (value, lower) {
        (ColumnValue::Text(_), true) => Some(format!("{column} >= ''")),
        (ColumnValue::Text(_), false) => Some(format!("{column} < x''")),
        // Comparing with null is never true.
        (ColumnValue::Integer(_) | ColumnValue::Real(_), true) => None,
        (ColumnValue::Integer(_) | ColumnValue::Real(_), false) => Some(format!("{column} < ''")),
        (ColumnValue::Bool(_), true) => Some(format!("{column} >= x''")),
        (ColumnValue::Bool(_) | ColumnValue::Null, _) => None,
    }
}
