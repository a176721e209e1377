//! The parameters of a query route: what they are called, what they take, and what is refused.
//!
//! | parameter | meaning |
//! |---|---|
//! | `status=open` | rows whose field, one of an index, equals this; see `operand` |
//! | `status=open&status=held` | any of these |
//! | `created_at[gte]=…` | `gt`, `gte`, `lt`, `lte`: a range; `status[eq]=` is `status=`, for fields named like a word below |
//! | `order=created_at`, `order=-created_at` | ascending or descending, rows of equal values by key. Default: by key |
//! | `limit=20` | rows of a page, 0 to `max_page` |
//! | `cursor=…` | goes on behind a page: its `next`, with the same filters and order |
//! | `count=true` | how many rows there are in all |
//! | `group=status` | how many rows there are of each value |
//! | `fields=id,title` | only these members of a row |
//! | `min_offset=topic/0@41` | only if the view has folded these records; see `position` |

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use sallyport_condition::Order;
use sallyport_config::nearest;

use super::cursor::{self, Odd, Place};
use super::operand::{self, NotQuoted};
use super::position;
use super::refusal::Refusal;
use super::shape::Shape;
use crate::views::column::ColumnValue;
use crate::views::versions::Offsets;

/// Bytes of a query, still encoded.
pub const QUERY_BYTES_MAX: usize = 16 * 1024;
/// Parameters of a query.
pub const PARAMETERS_MAX: usize = 128;
/// Values that one field may have any of.
pub const VALUES_MAX: usize = 50;

const WORDS: [&str; 7] = ["order", "limit", "cursor", "count", "group", "fields", "min_offset"];
/// Those that a query of one row takes.
const WORDS_OF_ONE: [&str; 2] = ["fields", "min_offset"];

/// What a query of rows asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// By column.
    pub(super) filters: Vec<Filter>,
    /// By column.
    pub(super) ranges: Vec<Range>,
    pub(super) order: By,
    pub(super) limit: usize,
    pub(super) after: Option<Place>,
    pub(super) count: bool,
    pub(super) group: Option<usize>,
    pub(super) of_each: OfEach,
}

/// What is asked of each row, and of the view.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct OfEach {
    /// The members, in the order of the view's fields; all if there are none here.
    pub(super) fields: Vec<Box<str>>,
    /// What must be folded: next offsets.
    pub(super) min_offset: Offsets,
}

/// A field and what it has to equal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    pub(super) column: usize,
    /// Any of these; no two are equal.
    pub(super) values: Vec<ColumnValue>,
    /// Whether they are the meanings of one text.
    pub(super) single: bool,
}

/// A field and what it has to be between.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    pub(super) column: usize,
    /// Whether it may be equal, and to what.
    pub(super) lower: Option<(bool, ColumnValue)>,
    pub(super) upper: Option<(bool, ColumnValue)>,
}

/// What rows are ordered by before their keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct By {
    pub(super) column: Option<usize>,
    pub(super) descending: bool,
}

impl Wanted {
    /// Everything, in the order of the keys.
    fn all(shape: &Shape) -> Self {
        Wanted {
            filters: Vec::new(),
            ranges: Vec::new(),
            order: By::default(),
            limit: shape.query.page.min(shape.query.max_page),
            after: None,
            count: false,
            group: None,
            of_each: OfEach::default(),
        }
    }

    /// Reads a query of rows.
    pub(super) fn read(query: &str, shape: &Shape) -> Result<Self, Refusal> {
        let mut wanted = Wanted::all(shape);
        let mut words = Words::default();
        let mut cursor = None;
        for (name, value) in parameters(query)? {
            let name = &*name;
            let (field, operation) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
                Some((field, operation)) => (field, Some(operation)),
                None => (name, None),
            };
            if operation.is_none() && WORDS.contains(&name) {
                words.take(name)?;
                match name {
                    "order" => wanted.order = order(&value, shape)?,
                    "limit" => wanted.limit = limit(&value, shape)?,
                    "cursor" => cursor = Some(value),
                    "count" => wanted.count = flag(name, &value)?,
                    "group" => wanted.group = Some(column(name, &value, shape)?),
                    _ => wanted.of_each.word(name, &value, shape)?,
                }
                continue;
            }
            let column = shape.indexed(field).ok_or_else(|| unknown(name, field, shape))?;
            match operation {
                None | Some("eq") => wanted.filter(name, column, &value)?,
                Some(operation) => wanted.range(name, column, operation, &value)?,
            }
        }
        wanted.filters.sort_by_key(|filter| filter.column);
        wanted.ranges.sort_by_key(|range| range.column);
        wanted.after = cursor.map(|cursor| wanted.place(&cursor, shape)).transpose()?;
        Ok(wanted)
    }

    /// What a cursor belongs to.
    pub(super) fn fingerprint(&self, shape: &Shape) -> u64 {
        let filters = self.filters.iter().map(|filter| (shape.field(filter.column), &filter.values));
        let ranges = self.ranges.iter().map(|range| (shape.field(range.column), &range.lower, &range.upper));
        let order = (self.order.column.map(|column| shape.field(column)), self.order.descending);
        let query = format!("{:?}{:?}{order:?}", filters.collect::<Vec<_>>(), ranges.collect::<Vec<_>>());
        cursor::fingerprint(&shape.name, query.as_bytes())
    }

    fn place(&self, text: &str, shape: &Shape) -> Result<Place, Refusal> {
        let place = cursor::read(self.fingerprint(shape), text).map_err(|odd| {
            let detail = match odd {
                Odd::Malformed => "`cursor` is the `next` of an answer, as it was given; this is none",
                Odd::Foreign => "this cursor belongs to a query with other filters, or in another order",
            };
            Refusal::parameter("cursor", detail)
        })?;
        if self.order.column.is_none() && place.value != ColumnValue::Null {
            return Err(Refusal::parameter("cursor", "this cursor belongs to a query in another order"));
        }
        Ok(place)
    }

    fn filter(&mut self, name: &str, column: usize, text: &str) -> Result<(), Refusal> {
        let values = operand::equals(text).map_err(|NotQuoted| not_quoted(name))?;
        let position = self.filters.iter().position(|known| known.column == column);
        let Some(filter) = position.and_then(|position| self.filters.get_mut(position)) else {
            self.filters.push(Filter { column, values: values.into_vec(), single: true });
            return Ok(());
        };
        for value in values {
            if !filter.values.iter().any(|known| operand::same(known, &value)) {
                filter.values.push(value);
                filter.single = false;
            }
        }
        if filter.values.len() > VALUES_MAX {
            return Err(Refusal::parameter(name, format!("`{name}` has more than {VALUES_MAX} values")));
        }
        Ok(())
    }

    fn range(&mut self, name: &str, column: usize, operation: &str, text: &str) -> Result<(), Refusal> {
        let order = match operation {
            "gt" => Order::Greater,
            "gte" => Order::GreaterOrEqual,
            "lt" => Order::Less,
            "lte" => Order::LessOrEqual,
            _ => {
                let detail =
                    format!("`{name}` compares with an operation that there is not: eq, gt, gte, lt, lte");
                return Err(Refusal::parameter(name, detail));
            }
        };
        let value = operand::bound(text).map_err(|NotQuoted| not_quoted(name))?;
        let position = self.ranges.iter().position(|known| known.column == column).unwrap_or_else(|| {
            self.ranges.push(Range { column, lower: None, upper: None });
            self.ranges.len() - 1
        });
        let Some(range) = self.ranges.get_mut(position) else { return Ok(()) };
        let is_lower = matches!(order, Order::Greater | Order::GreaterOrEqual);
        let side = if is_lower { &mut range.lower } else { &mut range.upper };
        if side.is_some() {
            let pair = if is_lower { "`gt` and `gte`" } else { "`lt` and `lte`" };
            return Err(Refusal::parameter(name, format!("a field has one of {pair}, once")));
        }
        *side = Some((matches!(order, Order::GreaterOrEqual | Order::LessOrEqual), value));
        Ok(())
    }
}

impl OfEach {
    /// Reads a query of one row.
    pub(super) fn read(query: &str, shape: &Shape) -> Result<Self, Refusal> {
        let mut of_each = OfEach::default();
        let mut words = Words::default();
        for (name, value) in parameters(query)? {
            if !WORDS_OF_ONE.contains(&&*name) {
                let detail =
                    format!("`{name}` means nothing for one row; there are: {}", WORDS_OF_ONE.join(", "));
                return Err(Refusal::parameter(&*name, detail));
            }
            words.take(&name)?;
            of_each.word(&name, &value, shape)?;
        }
        Ok(of_each)
    }

    fn word(&mut self, name: &str, value: &str, shape: &Shape) -> Result<(), Refusal> {
        if name == "min_offset" {
            return position::read(value, &shape.topics, &mut self.min_offset)
                .map_err(|detail| Refusal::parameter(name, detail));
        }
        let known = |field: &str| field == "key" || shape.fields.iter().any(|known| **known == *field);
        for field in value.split(',').map(|field| field.trim_matches(' ')) {
            if !known(field) {
                let meant = nearest(field, shape.fields.iter().map(|field| &**field));
                let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                return Err(Refusal::parameter(name, format!("rows have no field `{field}`{hint}")));
            }
        }
        let asked: Vec<&str> = value.split(',').map(|field| field.trim_matches(' ')).collect();
        // The order of the names makes no other answer.
        let all = ["key"]
            .into_iter()
            .chain(shape.fields.iter().map(|field| &**field).filter(|field| *field != "key"));
        self.fields = all.filter(|field| asked.contains(field)).map(Into::into).collect();
        Ok(())
    }
}

/// The words that have come.
#[derive(Default)]
struct Words(u8);

impl Words {
    fn take(&mut self, name: &str) -> Result<(), Refusal> {
        let bit = 1 << WORDS.iter().position(|word| *word == name).unwrap_or(WORDS.len());
        if self.0 & bit != 0 {
            return Err(Refusal::parameter(name, format!("`{name}` stands there twice")));
        }
        self.0 |= bit;
        Ok(())
    }
}

/// A name and a value.
type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Names and values of a query, decoded as `application/x-www-form-urlencoded` (WHATWG URL, section 5.1).
fn parameters(query: &str) -> Result<Vec<Parameter<'_>>, Refusal> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(Refusal::query(format!("a query has at most {QUERY_BYTES_MAX} bytes")));
    }
    let mut all = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        if all.len() == PARAMETERS_MAX {
            return Err(Refusal::query(format!("a query has at most {PARAMETERS_MAX} parameters")));
        }
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        all.push((decoded(name)?, decoded(value)?));
    }
    Ok(all)
}

fn decoded(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if !text.contains(['+', '%']) {
        return Ok(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(|text| Cow::Owned(text.into_owned())).map_err(|_| Refusal::query("the query is not UTF-8"))
}

fn order(value: &str, shape: &Shape) -> Result<By, Refusal> {
    let (field, descending) = match value.strip_prefix('-') {
        Some(field) => (field, true),
        None => (value, false),
    };
    if field == "key" && shape.adds_key() {
        return Ok(By { column: None, descending });
    }
    Ok(By { column: Some(column("order", field, shape)?), descending })
}

fn limit(value: &str, shape: &Shape) -> Result<usize, Refusal> {
    let max = shape.query.max_page;
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let limit = digits.then(|| value.parse().ok()).flatten().filter(|limit| *limit <= max);
    limit.ok_or_else(|| Refusal::parameter("limit", format!("`limit` is a number from 0 to {max}")))
}

fn flag(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal::parameter(name, format!("`{name}` is `true` or `false`"))),
    }
}

fn column(name: &str, field: &str, shape: &Shape) -> Result<usize, Refusal> {
    shape.indexed(field).ok_or_else(|| {
        let all: Vec<&str> = shape.all_indexed().collect();
        let detail = match nearest(field, all.iter().copied()) {
            Some(meant) => format!("`{name}` names a field of an index; did you mean `{meant}`?"),
            None if all.is_empty() => format!("`{name}` names a field of an index; this view has none"),
            None => format!("`{name}` names a field of an index: {}", all.join(", ")),
        };
        Refusal::parameter(name, detail)
    })
}

fn unknown(name: &str, field: &str, shape: &Shape) -> Refusal {
    if shape.fields.iter().any(|known| **known == *field) {
        let detail = format!("rows cannot be filtered by `{field}`: it is in no index of this view");
        return Refusal::parameter(name, detail);
    }
    let all: Vec<&str> = shape.all_indexed().chain(WORDS).collect();
    let detail = match nearest(field, all.iter().copied()) {
        Some(meant) => format!("there is no parameter `{name}`; did you mean `{meant}`?"),
        None => format!("there is no parameter `{name}`; there are: {}", all.join(", ")),
    };
    Refusal::parameter(name, detail)
}

fn not_quoted(name: &str) -> Refusal {
    let detail =
        format!("`{name}` begins with a quotation mark: then it has to be a JSON string, \"like this\"");
    Refusal::parameter(name, detail)
}

#[cfg(test)]
mod tests {
    use super::super::testing::shape;
    use super::*;

    fn of(query: &str) -> Result<Wanted, Refusal> {
        Wanted::read(query, &shape())
    }

    fn text(text: &str) -> ColumnValue {
        ColumnValue::Text(text.into())
    }

    #[test]
    fn a_query_without_parameters_is_the_first_page() {
        let wanted = of("&&").unwrap();
        assert_eq!(wanted, Wanted::all(&shape()));
        assert_eq!((wanted.limit, wanted.order), (50, By { column: None, descending: false }));
    }

    #[test]
    fn parameters_are_read() {
        let query = "status=open&status=a+b%26c&status=open&created_at%5Bgte%5D=2026&created_at[lt]=2027&owner[eq]=5\
                     &order=-created_at&limit=0&count=true&group=status&fields=title,%20key,title&min_offset=t/0@7";
        let wanted = of(query).unwrap();
        let shape = shape();
        let (owner, status) = (shape.indexed("owner").unwrap(), shape.indexed("status").unwrap());
        let created = shape.indexed("created_at").unwrap();
        assert_eq!(
            wanted.filters,
            [
                Filter { column: owner, values: vec![ColumnValue::Integer(5), text("5")], single: true },
                Filter { column: status, values: vec![text("open"), text("a b&c")], single: false },
            ]
        );
        let range = Range {
            column: created,
            lower: Some((true, ColumnValue::Integer(2026))),
            upper: Some((false, ColumnValue::Integer(2027))),
        };
        assert_eq!(wanted.ranges, [range]);
        assert_eq!(wanted.order, By { column: Some(created), descending: true });
        assert_eq!((wanted.limit, wanted.count, wanted.group), (0, true, Some(status)));
        assert_eq!(wanted.of_each.fields, ["key".into(), "title".into()]);
        assert_eq!(wanted.of_each.min_offset.0, [("t".into(), 0, 8)]);
        assert_eq!(of("order=-key").unwrap().order, By { column: None, descending: true });
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_parameter() {
        let long = format!("status={}", "a".repeat(QUERY_BYTES_MAX));
        let many = "status=a&".repeat(PARAMETERS_MAX + 1);
        let values = (0..=VALUES_MAX).map(|number| format!("status=v{number}&")).collect::<String>();
        for (query, parameter, detail) in [
            ("statu=open", "statu", "there is no parameter `statu`; did you mean `status`?"),
            (
                "wombat=1",
                "wombat",
                "there is no parameter `wombat`; there are: owner, status, created_at, size, order, limit, cursor, count, group, fields, min_offset",
            ),
            ("title=a", "title", "rows cannot be filtered by `title`: it is in no index of this view"),
            ("secret=a", "secret", "rows cannot be filtered by `secret`: it is in no index of this view"),
            (
                "status[like]=a",
                "status[like]",
                "`status[like]` compares with an operation that there is not: eq, gt, gte, lt, lte",
            ),
            ("status[gt]=a&status[gte]=b", "status[gte]", "a field has one of `gt` and `gte`, once"),
            ("status[lt]=a&status[lt]=a", "status[lt]", "a field has one of `lt` and `lte`, once"),
            (
                "status=%22open",
                "status",
                "`status` begins with a quotation mark: then it has to be a JSON string, \"like this\"",
            ),
            (&values, "status", "`status` has more than 50 values"),
            ("limit=201", "limit", "`limit` is a number from 0 to 200"),
            ("limit=-1", "limit", "`limit` is a number from 0 to 200"),
            ("limit=", "limit", "`limit` is a number from 0 to 200"),
            ("limit=99999999999999999999999", "limit", "`limit` is a number from 0 to 200"),
            ("limit=1&limit=2", "limit", "`limit` stands there twice"),
            ("order=title", "order", "`order` names a field of an index: owner, status, created_at, size"),
            ("order=", "order", "`order` names a field of an index: owner, status, created_at, size"),
            ("order=-create_at", "order", "`order` names a field of an index; did you mean `created_at`?"),
            ("group=secret", "group", "`group` names a field of an index: owner, status, created_at, size"),
            ("count=1", "count", "`count` is `true` or `false`"),
            ("cursor=%3f", "cursor", "`cursor` is the `next` of an answer, as it was given; this is none"),
            ("cursor=", "cursor", "`cursor` is the `next` of an answer, as it was given; this is none"),
            ("fields=titel", "fields", "rows have no field `titel`; did you mean `title`?"),
            ("fields=", "fields", "rows have no field ``"),
            (
                "min_offset=7",
                "min_offset",
                "`min_offset` is `topic/partition@offset`, several with commas, as `View-Offsets` says them",
            ),
            ("min_offset=u/0@7", "min_offset", "`min_offset` names a topic that this view does not read"),
            (&long, "", "a query has at most 16384 bytes"),
            (&many, "", "a query has at most 128 parameters"),
            ("a=%ff", "", "the query is not UTF-8"),
        ] {
            let refusal = of(query).unwrap_err();
            assert_eq!(refusal.status, 400, "{query}");
            assert_eq!(
                (refusal.parameter.as_deref().unwrap_or_default(), &*refusal.detail),
                (parameter, detail),
                "{query}"
            );
        }
        for query in ["status=a", "limit=1", "cursor=a"] {
            assert!(OfEach::read(query, &shape()).unwrap_err().detail.contains("one row"), "{query}");
        }
        assert!(OfEach::read("fields=a&fields=b", &shape()).is_err());
    }

    #[test]
    fn a_cursor_belongs_to_its_filters_and_its_order() {
        let shape = shape();
        let place = Place { value: ColumnValue::Null, key: "k".to_owned() };
        let cursor = cursor::write(of("status=open&owner=a").unwrap().fingerprint(&shape), &place).unwrap();
        let after = |query: &str| of(&format!("{query}&cursor={cursor}")).map(|wanted| wanted.after);
        for query in
            ["owner=a&status=open", "status=open&owner=a&limit=3&count=true&group=owner&fields=title"]
        {
            assert_eq!(after(query), Ok(Some(place.clone())), "{query}");
        }
        for query in [
            "status=open",
            "status=open&owner=b",
            "status=open&owner=a&order=status",
            "status=open&owner=a&order=-key",
            "status=open&owner=a&owner=b",
            "status=open&owner=a&created_at[gt]=1",
        ] {
            let refusal = after(query).unwrap_err();
            assert_eq!(
                refusal.detail, "this cursor belongs to a query with other filters, or in another order",
                "{query}"
            );
        }
    }
}
