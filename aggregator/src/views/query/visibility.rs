//! Who may see a row, as a condition of the query itself: what is left of `visible_to` with the client's claims becomes SQL.
//!
//! The condition has to come out true; false and errors alike mean no. So `!` is moved inwards until each test is asked
//! whether it is true, or whether it is false, and behind that no third answer matters. A column of null is a row whose
//! field is null, a list, an object or not there at all; where that makes a difference, and for everything that columns
//! cannot tell, the condition itself is asked with the row, inside the query.

use sallyport_condition::{Condition, Operation, Order, Projection, Reads, Residual, Step, Test};
use serde_json::Value;

use super::operand::same;
use super::parameters::Filter;
use super::shape::Shape;
use super::sql::{Part, Sql, all, either, guard};
use crate::views::column::ColumnValue;

/// Values of a list that become parameters. Beyond, rows are asked one by one.
const LIST_MAX: usize = 256;

/// Numbers from here on are not exact as doubles, and CEL compares them otherwise than SQLite does: 2^53.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// What every row must satisfy.
#[derive(Debug)]
pub(super) struct Visibility {
    /// A condition of SQL.
    pub(super) sql: String,
    /// Columns, and what they equal in every row that is visible.
    pub(super) equalities: Vec<(usize, ColumnValue)>,
    /// The rest of it: columns that have to equal one of several values, as a client's own filters may ask. An index finds
    /// them one by one.
    pub(super) lists: Vec<Filter>,
}

/// What of the rows a client may see, by what is left of `visible_to`.
pub(super) fn visibility(residual: &Residual, shape: &Shape, sql: &mut Sql) -> Visibility {
    let (mut equalities, mut lists, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
    let needed = match residual {
        Residual::And(parts) => parts.as_slice(),
        single => std::slice::from_ref(single),
    };
    for part in needed {
        if let Some(list) = list(part, shape) {
            lists.push(list);
            continue;
        }
        conditions.push(Writer { shape, sql }.write(part, true));
        let Residual::Test(test) = part else { continue };
        let value = match &test.operation {
            Operation::Equal(value) => comparable(value),
            Operation::Holds => Some(ColumnValue::Bool(true)),
            _ => None,
        };
        equalities.extend(column(test, shape).zip(value));
    }
    Visibility { sql: all(&conditions), equalities, lists }
}

/// A test for one of several values.
fn list(residual: &Residual, shape: &Shape) -> Option<Filter> {
    let Residual::Test(test) = residual else { return None };
    let Operation::In(values) = &test.operation else { return None };
    let column = column(test, shape)?;
    let mut distinct: Vec<ColumnValue> = Vec::new();
    for value in values.iter().take(LIST_MAX + 1) {
        let value = comparable(value)?;
        if !distinct.iter().any(|known| same(known, &value)) {
            distinct.push(value);
        }
    }
    (1..=LIST_MAX).contains(&values.len()).then_some(Filter { column, values: distinct, single: false })
}

struct Writer<'a> {
    shape: &'a Shape,
    sql: &'a mut Sql,
}

impl Writer<'_> {
    /// SQL that is true where the residual comes out as wanted, and not true elsewhere.
    fn write(&mut self, residual: &Residual, wanted: bool) -> String {
        match residual {
            Residual::True => u8::from(wanted).to_string(),
            Residual::False => u8::from(!wanted).to_string(),
            Residual::Error => "0".to_owned(),
            Residual::Not(inner) => self.write(inner, !wanted),
            Residual::And(parts) | Residual::Or(parts) => {
                let is_and = matches!(residual, Residual::And(_));
                let parts: Vec<String> = parts.iter().map(|part| self.write(part, wanted)).collect();
                // De Morgan: `&&` is false where one part is.
                if is_and == wanted { format!("({})", all(&parts)) } else { either(&parts) }
            }
            Residual::Other(condition) => self.ask(condition, wanted),
            Residual::Test(test) => self.test(test, wanted).unwrap_or_else(|| self.ask(&test.part, wanted)),
        }
    }

    /// `None` where columns do not tell.
    fn test(&mut self, test: &Test, wanted: bool) -> Option<String> {
        let shape = self.shape;
        let column = shape.sql(column(test, shape)?);
        Some(match &test.operation {
            Operation::Equal(value) => self.one_of(column, &[comparable(value)?], test, wanted),
            Operation::In(values) if values.len() <= LIST_MAX => {
                let values: Option<Vec<_>> = values.iter().map(comparable).collect();
                self.one_of(column, &values?, test, wanted)
            }
            Operation::In(_) => return None,
            Operation::Ordered(order, value) => {
                let order = if wanted { *order } else { opposite(*order) };
                let value = comparable(value)?;
                let guard = guard(column, &value, matches!(order, Order::Less | Order::LessOrEqual));
                let mut conditions = vec![self.sql.compares(column, order, value)];
                conditions.extend(guard);
                format!("({})", all(&conditions))
            }
            Operation::Present if wanted => {
                format!("({column} IS NOT NULL OR {})", self.ask(&test.part, true))
            }
            Operation::Present => format!("({column} IS NULL AND {})", self.ask(&test.part, false)),
            Operation::Holds => self.sql.equals(column, &[ColumnValue::Bool(wanted)]),
        })
    }

    fn one_of(&mut self, column: &str, values: &[ColumnValue], test: &Test, wanted: bool) -> String {
        if wanted {
            return self.sql.equals(column, values);
        }
        let none: Vec<String> = values.iter().map(|value| self.sql.bind(value.clone())).collect();
        let differs = match none.as_slice() {
            [] => format!("{column} IS NOT NULL"),
            [one] => format!("{column} <> {one}"),
            several => format!("{column} NOT IN ({})", several.join(", ")),
        };
        // Null differs from all of them; a field that is not there is an error.
        format!("({differs} OR ({column} IS NULL AND {}))", self.ask(&test.part, false))
    }

    fn ask(&mut self, condition: &Condition, wanted: bool) -> String {
        let reads = match condition.reads("row") {
            Reads::Nothing => Projection::default(),
            Reads::Paths(paths) => Projection::new(paths),
            Reads::Whole => Projection::new([Default::default()]),
        };
        self.sql.ask(Part { condition: condition.clone(), reads, wanted })
    }
}

fn column(test: &Test, shape: &Shape) -> Option<usize> {
    match test.field.steps() {
        [Step::Name(name)] => shape.table.column(name),
        _ => None,
    }
}

fn opposite(order: Order) -> Order {
    match order {
        Order::Less => Order::GreaterOrEqual,
        Order::LessOrEqual => Order::Greater,
        Order::Greater => Order::LessOrEqual,
        Order::GreaterOrEqual => Order::Less,
    }
}

/// A value that SQLite compares with columns as CEL does with fields.
fn comparable(value: &Value) -> Option<ColumnValue> {
    match value {
        Value::Bool(value) => Some(ColumnValue::Bool(*value)),
        Value::String(text) => Some(ColumnValue::Text(text.as_str().into())),
        Value::Number(number) => {
            let exact = number.as_f64().is_some_and(|number| number.abs() < EXACT_BELOW);
            let value = number.as_i64().map(ColumnValue::Integer);
            value.or_else(|| number.as_f64().map(ColumnValue::Real)).filter(|_| exact)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
