//! A query as SQL: visibility, filters, order and place become the statements that answer it. They are run elsewhere.

use std::sync::Arc;

use sallyport_condition::{FieldPath, Order, Reads, Residual, Vars};
use serde_json::Value;

use super::parameters::{By, Filter, Range, Wanted};
use super::shape::Shape;
use super::sql::{Part, Sql, all, guard};
use super::visibility::{Visibility, visibility};
use crate::views::column::ColumnValue;
use crate::views::versions::{TAGS_MAX, Tag};

/// Groups of an answer. Of more, the first ones in their order.
pub const GROUPS_MAX: usize = 1000;

/// Pages that are looked up apart and put in order together, where a filter has several values and an index that begins
/// with its field gives the order.
const ARMS_MAX: usize = 16;

/// A query as SQL.
#[derive(Debug)]
pub(super) struct Statements {
    /// The page: statements that go on one behind the other until it is full. The columns are the key, the row, and what
    /// it is ordered by; `?1` is how many rows are still wanted. For one row there is a statement that gives the key and
    /// the row.
    pub(super) page: Vec<String>,
    /// How many rows there are.
    pub(super) count: Option<String>,
    /// Values of a field, and how many rows have each.
    pub(super) groups: Option<String>,
    /// What is bound to `?1`, `?2` and so on.
    pub(super) values: Vec<ColumnValue>,
    /// What the statements ask of rows.
    pub(super) parts: Arc<Parts>,
    /// Equalities that every row of the answer satisfies.
    pub(super) tags: Vec<Tag>,
}

/// Parts of `visible_to`, and the claims to ask them with.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) all: Vec<Part>,
    pub(super) claims: Option<Arc<Value>>,
}

impl Parts {
    /// Whether a part comes out as wanted for a row; errors are no.
    pub(super) fn holds(&self, part: usize, doc: &[u8]) -> bool {
        let Some(part) = self.all.get(part) else { return false };
        let Ok(row) = part.reads.read(doc) else { return false };
        let mut vars = Vars::new().bind("row", &row);
        if let Some(claims) = &self.claims {
            vars = vars.bind("claims", claims);
        }
        part.condition.holds(&vars) == Ok(part.wanted)
    }
}

/// What is left of `visible_to` for a client.
pub(super) fn residual(shape: &Shape, claims: Option<&Arc<Value>>) -> Residual {
    let vars = claims.map_or_else(Vars::new, |claims| Vars::new().bind("claims", claims));
    shape.visible_to.residual(&vars, "row")
}

impl Statements {
    /// The statements for a page, with what goes with it.
    pub(super) fn of_page(wanted: &Wanted, shape: &Shape, claims: Option<&Arc<Value>>) -> Self {
        let mut sql = Sql::default();
        // One more row than asked for tells whether there is another page.
        sql.bind(ColumnValue::Integer(wanted.limit as i64 + 1));
        let visibility = visibility(&residual(shape, claims), shape, &mut sql);
        let tags = tags(&visibility, &wanted.filters);
        let filters = visibility.lists.iter().chain(&wanted.filters).cloned().collect();
        let whole = Whole { shape, wanted, visibility, filters, sql };
        whole.statements(claims, tags)
    }

    /// The statement for the row of a key.
    pub(super) fn of_row(key: &str, shape: &Shape, claims: Option<&Arc<Value>>) -> Self {
        let mut sql = Sql::default();
        sql.bind(ColumnValue::Text(key.into()));
        let visibility = visibility(&residual(shape, claims), shape, &mut sql);
        let mut conditions = vec!["key = ?1".to_owned(), visibility.sql];
        for list in &visibility.lists {
            conditions.push(sql.equals(shape.sql(list.column), &list.values));
        }
        let page = format!("SELECT key, doc FROM rows WHERE {}", all(&conditions));
        Statements {
            page: vec![page],
            count: None,
            groups: None,
            values: sql.values,
            parts: parts(sql.parts, claims),
            tags: vec![Tag::key(key)],
        }
    }

    /// All that the answer depends on, beside what changes with the view. Two queries with the same have the same answer.
    pub(super) fn fingerprint(&self, into: &mut Vec<u8>) {
        for statement in self.page.iter().chain(&self.count).chain(&self.groups) {
            field(into, b's', statement.as_bytes());
        }
        for value in &self.values {
            match value {
                ColumnValue::Null => field(into, b'0', b""),
                ColumnValue::Bool(value) => field(into, b'b', &[u8::from(*value)]),
                ColumnValue::Integer(value) => field(into, b'i', &value.to_be_bytes()),
                ColumnValue::Real(value) => field(into, b'r', &value.to_bits().to_be_bytes()),
                ColumnValue::Text(text) => field(into, b't', text.as_bytes()),
            }
        }
        for part in &self.parts.all {
            field(into, b'p', part.condition.canonical().as_bytes());
            field(into, b'w', &[u8::from(part.wanted)]);
            let claims = self.parts.claims.as_deref();
            let reads = part.condition.reads("claims");
            if reads != Reads::Nothing {
                // A client with no such claim and one without claims differ: of the former `has` says false.
                field(into, b'n', &[u8::from(claims.is_some())]);
            }
            match reads {
                Reads::Nothing => {}
                Reads::Whole => field(into, b'c', json(claims).as_bytes()),
                Reads::Paths(paths) => {
                    // A claim counts as a whole: how far a path leads into it decides too.
                    for step in paths.iter().filter_map(|path| path.steps().first()) {
                        let claim = FieldPath::new([step.clone()]);
                        let found = claims.and_then(|claims| claim.find(claims));
                        field(into, b'c', json(found).as_bytes());
                    }
                }
            }
        }
    }
}

/// Each with its length, so that none runs into the next.
fn field(into: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    into.push(kind);
    into.extend((bytes.len() as u64).to_be_bytes());
    into.extend(bytes);
}

/// Nothing for a claim that is not there, which is not null.
fn json(value: Option<&Value>) -> String {
    value.map(Value::to_string).unwrap_or_default()
}

fn parts(all: Vec<Part>, claims: Option<&Arc<Value>>) -> Arc<Parts> {
    // Claims that nobody asks for need not be kept.
    let claims = claims.filter(|_| !all.is_empty()).cloned();
    Arc::new(Parts { all, claims })
}

fn tags(visibility: &Visibility, filters: &[Filter]) -> Vec<Tag> {
    let seen = visibility.equalities.iter().map(|(column, value)| Tag::column(*column, value));
    let asked = filters.iter().filter(|filter| filter.single);
    let asked =
        asked.filter_map(|filter| filter.values.first().map(|value| Tag::column(filter.column, value)));
    seen.chain(asked).take(TAGS_MAX).collect()
}

/// A query while it becomes SQL.
struct Whole<'a> {
    shape: &'a Shape,
    wanted: &'a Wanted,
    visibility: Visibility,
    /// The client's, and those that make rows visible.
    filters: Vec<Filter>,
    sql: Sql,
}

impl Whole<'_> {
    fn statements(mut self, claims: Option<&Arc<Value>>, tags: Vec<Tag>) -> Statements {
        let wanted = self.wanted;
        let apart = self.apart();
        let filters = std::mem::take(&mut self.filters);
        let (split, whole): (Vec<&Filter>, Vec<&Filter>) =
            filters.iter().partition(|filter| apart.contains(&filter.column));
        let mut base = vec![self.visibility.sql.clone()];
        for filter in whole {
            base.push(self.sql.equals(self.shape.sql(filter.column), &filter.values));
        }
        let arms = self.arms(&split);
        let counted = self.counted(&base, &split);
        let page = self.page(&base, &arms);
        let group = wanted.group.map(|column| self.shape.sql(column));
        Statements {
            page,
            count: wanted.count.then(|| format!("SELECT count(*) FROM rows WHERE {counted}")),
            groups: group.map(|column| {
                let most = GROUPS_MAX + 1;
                format!("SELECT {column}, count(*) FROM rows WHERE {counted} GROUP BY {column} ORDER BY {column} LIMIT {most}")
            }),
            values: self.sql.values,
            parts: parts(self.sql.parts, claims),
            tags,
        }
    }

    /// The columns of filters with several values whose values are looked up apart: those before the order in an index
    /// that gives it.
    fn apart(&self) -> Vec<usize> {
        let order = self.wanted.order.column;
        let equal = |column: &usize| {
            self.filters.iter().any(|filter| filter.column == *column)
                || self.visibility.equalities.iter().any(|(known, _)| known == column)
        };
        let fits = |index: &&Vec<usize>| {
            let (before, behind) = index.split_at(index.iter().take_while(|column| equal(column)).count());
            // The key ends each index.
            let ordered = order.is_none_or(|order| before.contains(&order));
            (behind.is_empty() && ordered) || order.is_some_and(|order| *behind == [order])
        };
        let several = |column: &usize| {
            self.filters.iter().any(|filter| filter.column == *column && filter.values.len() > 1)
        };
        // Of an index that ends with the order itself, what comes before it.
        let before =
            |index: &Vec<usize>| index.iter().filter(|column| equal(column)).copied().collect::<Vec<_>>();
        let best = self.shape.table.indexes.iter().filter(fits).map(before).max_by_key(Vec::len);
        let mut apart: Vec<usize> = best.unwrap_or_default().into_iter().filter(several).collect();
        let arms = |columns: &[usize]| {
            let filters = self.filters.iter().filter(|filter| columns.contains(&filter.column));
            filters.map(|filter| filter.values.len()).product::<usize>()
        };
        while arms(&apart) > ARMS_MAX {
            apart.pop();
        }
        apart
    }

    /// One condition for each combination of the values.
    fn arms(&mut self, split: &[&Filter]) -> Vec<Vec<String>> {
        let mut arms = vec![Vec::new()];
        for filter in split {
            let column = self.shape.sql(filter.column);
            let values: Vec<String> = filter
                .values
                .iter()
                .map(|value| self.sql.equals(column, std::slice::from_ref(value)))
                .collect();
            arms = arms
                .into_iter()
                .flat_map(|arm| {
                    values.iter().map(move |value| [arm.as_slice(), std::slice::from_ref(value)].concat())
                })
                .collect();
        }
        arms
    }

    /// The condition of all rows, wherever the page begins.
    fn counted(&mut self, base: &[String], split: &[&Filter]) -> String {
        if !self.wanted.count && self.wanted.group.is_none() {
            return String::new();
        }
        let mut conditions = base.to_vec();
        for filter in split {
            conditions.push(self.sql.equals(self.shape.sql(filter.column), &filter.values));
        }
        for range in &self.wanted.ranges {
            conditions.extend(range_conditions(&mut self.sql, self.shape, range, true, true));
        }
        all(&conditions)
    }

    fn page(&mut self, base: &[String], arms: &[Vec<String>]) -> Vec<String> {
        let By { column, descending } = self.wanted.order;
        let after = self.wanted.after.as_ref().is_some_and(|after| after.value != ColumnValue::Null);
        let mut ranges = Vec::new();
        for range in &self.wanted.ranges {
            // The place is a bound of its own, a closer one. SQLite uses one on each side.
            let placed = after && column == Some(range.column);
            let (lower, upper) = (!placed || descending, !placed || !descending);
            ranges.extend(range_conditions(&mut self.sql, self.shape, range, lower, upper));
        }
        let column = column.map(|column| self.shape.sql(column));
        let (ordered, direction) = (column.unwrap_or("NULL"), if descending { " DESC" } else { "" });
        let order = column.map_or_else(String::new, |column| format!("{column}{direction}, "));
        let mut statements = Vec::new();
        for place in self.places(column, descending) {
            let one = |arm: &Vec<String>| {
                let conditions = [base, arm, &ranges, &place].concat();
                format!(
                    "SELECT key, doc, {ordered} AS ordered FROM rows WHERE {} ORDER BY {order}key{direction} LIMIT ?1",
                    all(&conditions)
                )
            };
            statements.push(match arms {
                [arm] => one(arm),
                arms => {
                    let arms: Vec<String> =
                        arms.iter().map(|arm| format!("SELECT * FROM ({})", one(arm))).collect();
                    format!("{} ORDER BY 3{direction}, 1{direction} LIMIT ?1", arms.join(" UNION ALL "))
                }
            });
        }
        statements
    }

    /// What is behind the place where the page before ended, in steps: null has no place among the others for SQL.
    fn places(&mut self, column: Option<&str>, descending: bool) -> Vec<Vec<String>> {
        let Some(after) = &self.wanted.after else { return vec![Vec::new()] };
        let sign = if descending { '<' } else { '>' };
        let order = self.wanted.order.column;
        // A field that is null is in no range.
        let with_null = !self.wanted.ranges.iter().any(|range| Some(range.column) == order);
        let key = self.sql.bind(ColumnValue::Text(after.key.as_str().into()));
        let key = format!("key {sign} {key}");
        match (column, &after.value) {
            (None, _) => vec![vec![key]],
            (Some(column), ColumnValue::Null) => {
                let mut places = vec![vec![format!("{column} IS NULL"), key]];
                // Null comes before everything else.
                places.extend((!descending).then(|| vec![format!("{column} IS NOT NULL")]));
                places
            }
            (Some(column), value) => {
                let value = self.sql.bind(value.clone());
                // The key's parameter is the one before.
                let behind = format!("({column}, key) {sign} ({value}, ?{})", self.sql.values.len() - 1);
                let mut places = vec![vec![behind]];
                places.extend((descending && with_null).then(|| vec![format!("{column} IS NULL")]));
                places
            }
        }
    }
}

fn range_conditions(sql: &mut Sql, shape: &Shape, range: &Range, lower: bool, upper: bool) -> Vec<String> {
    let column = shape.sql(range.column);
    let mut conditions = Vec::new();
    let of_kind = |value: &ColumnValue, other: &Option<(bool, ColumnValue)>| {
        other.as_ref().is_some_and(|(_, other)| kind(other) == kind(value))
    };
    if let Some((equal, value)) = &range.lower {
        if lower {
            let order = if *equal { Order::GreaterOrEqual } else { Order::Greater };
            conditions.push(sql.compares(column, order, value.clone()));
        }
        // A bound of the same kind on the other side keeps other kinds out.
        if upper && !of_kind(value, &range.upper) {
            conditions.extend(guard(column, value, false));
        }
    }
    if let Some((equal, value)) = &range.upper {
        if upper {
            let order = if *equal { Order::LessOrEqual } else { Order::Less };
            conditions.push(sql.compares(column, order, value.clone()));
        }
        if lower && !of_kind(value, &range.lower) {
            conditions.extend(guard(column, value, true));
        }
    }
    conditions
}

/// Kinds that SQLite orders one behind the other.
fn kind(value: &ColumnValue) -> u8 {
    match value {
        ColumnValue::Null => 0,
        ColumnValue::Integer(_) | ColumnValue::Real(_) => 1,
        ColumnValue::Text(_) => 2,
        ColumnValue::Bool(_) => 3,
    }
}
