//! The values of CEL over borrowed JSON: what they are, and how they compare and count.

use std::cmp::Ordering;
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::error::EvaluationError;
use crate::node::Arithmetic;
use crate::vars::Found;

/// A value while a condition is decided.
#[derive(Debug, Clone)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(&'a str),
    /// A text made on the way.
    Made(Rc<str>),
    Array(&'a [Value]),
    Object(&'a Map<String, Value>),
    /// A list made on the way.
    List(Rc<[Val<'a>]>),
    /// A map literal.
    Map(Rc<[(Val<'a>, Val<'a>)]>),
}

impl<'a> From<&'a Value> for Val<'a> {
    /// Integers become `int`, those above its range `uint`, and every other number `double`.
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Val::Null,
            Value::Bool(value) => Val::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Val::Int(number),
                (None, Some(number)) => Val::UInt(number),
                (None, None) => Val::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Val::Text(text),
            Value::Array(list) => Val::Array(list),
            Value::Object(map) => Val::Object(map),
        }
    }
}

impl<'a> From<Found<'a>> for Val<'a> {
    fn from(found: Found<'a>) -> Self {
        match found {
            Found::Text(text) => Val::Text(text),
            Found::Json(value) => value.into(),
        }
    }
}

impl<'a> Val<'a> {
    /// CEL's name of the type.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Val::Null => "null",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::UInt(_) => "uint",
            Val::Double(_) => "double",
            Val::Text(_) | Val::Made(_) => "string",
            Val::Array(_) | Val::List(_) => "list",
            Val::Object(_) | Val::Map(_) => "map",
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Val::Text(text) => Some(text),
            Val::Made(text) => Some(text),
            _ => None,
        }
    }

    /// How many elements a list has.
    pub(crate) fn list_len(&self) -> Option<usize> {
        match self {
            Val::Array(list) => Some(list.len()),
            Val::List(list) => Some(list.len()),
            _ => None,
        }
    }

    /// An element of a list.
    pub(crate) fn element(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Val::Array(list) => list.get(index).map(Val::from),
            Val::List(list) => list.get(index).cloned(),
            _ => None,
        }
    }

    /// How many entries a map has.
    pub(crate) fn map_len(&self) -> Option<usize> {
        match self {
            Val::Object(map) => Some(map.len()),
            Val::Map(entries) => Some(entries.len()),
            _ => None,
        }
    }

    /// The keys of a map; empty for anything else.
    pub(crate) fn keys(&self) -> Vec<Val<'a>> {
        match self {
            Val::Object(map) => map.keys().map(|key| Val::Text(key)).collect(),
            Val::Map(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// An entry of a map by its name.
    pub(crate) fn member(&self, name: &str) -> Option<Val<'a>> {
        match self {
            Val::Object(map) => map.get(name).map(Val::from),
            Val::Map(entries) => {
                entries.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// An entry of a map by a key of any type that keys may have, or a whole double.
    pub(crate) fn entry(&self, key: &Val<'_>) -> Option<Val<'a>> {
        if let Some(name) = key.text() {
            return self.member(name);
        }
        match self {
            Val::Map(entries) => {
                entries.iter().find(|(known, _)| same_key(known, key)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// Whether it may be a key of a map literal.
    pub(crate) fn may_be_key(&self) -> bool {
        matches!(self, Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Text(_) | Val::Made(_))
    }

    /// A position in a list: a whole number of any numeric type. `Ok(None)` is outside of every list.
    pub(crate) fn position(&self) -> Option<Option<usize>> {
        match self {
            Val::Int(index) => Some(usize::try_from(*index).ok()),
            Val::UInt(index) => Some(usize::try_from(*index).ok()),
            Val::Double(index) => whole(*index).map(|index| usize::try_from(index).ok()),
            _ => None,
        }
    }
}

/// Whether two keys of maps are the same: numbers of different types are where no precision is lost.
pub(crate) fn same_key(one: &Val<'_>, other: &Val<'_>) -> bool {
    let number = |value: &Val<'_>| match value {
        Val::Int(number) => Some(i128::from(*number)),
        Val::UInt(number) => Some(i128::from(*number)),
        Val::Double(number) => whole(*number),
        _ => None,
    };
    match (one, other) {
        (Val::Bool(one), Val::Bool(other)) => one == other,
        _ => match (one.text(), other.text()) {
            (Some(one), Some(other)) => one == other,
            (None, None) => number(one).is_some_and(|one| number(other) == Some(one)),
            _ => false,
        },
    }
}

/// A double that is a whole number within the range of `int` and `uint`. As in cel-go the ends of the ranges are out.
fn whole(number: f64) -> Option<i128> {
    // 2^63 and 2^64: `as` would round the integers' ends to them.
    let inside = number > -9_223_372_036_854_775_808.0 && number < 18_446_744_073_709_551_616.0;
    (inside && number.fract() == 0.0).then_some(number as i128)
}

/// How two numbers stand to each other; `None` where one is not a number or NaN. Integers are compared with doubles as
/// doubles, as cel-go does.
pub(crate) fn order_numbers(one: &Val<'_>, other: &Val<'_>) -> Option<Ordering> {
    match (one, other) {
        (Val::Int(one), Val::Int(other)) => Some(one.cmp(other)),
        (Val::UInt(one), Val::UInt(other)) => Some(one.cmp(other)),
        (Val::Int(one), Val::UInt(other)) => Some(i128::from(*one).cmp(&i128::from(*other))),
        (Val::UInt(one), Val::Int(other)) => Some(i128::from(*one).cmp(&i128::from(*other))),
        (Val::Double(one), Val::Double(other)) => one.partial_cmp(other),
        (Val::Double(one), Val::Int(other)) => one.partial_cmp(&(*other as f64)),
        (Val::Int(one), Val::Double(other)) => (*one as f64).partial_cmp(other),
        (Val::Double(one), Val::UInt(other)) => one.partial_cmp(&(*other as f64)),
        (Val::UInt(one), Val::Double(other)) => (*one as f64).partial_cmp(other),
        _ => None,
    }
}

/// How two values stand to each other: numbers, texts by code point, `false` before `true`.
pub(crate) fn order(one: &Val<'_>, other: &Val<'_>) -> Option<Ordering> {
    match (one, other) {
        (Val::Bool(one), Val::Bool(other)) => Some(one.cmp(other)),
        _ => match (one.text(), other.text()) {
            (Some(one), Some(other)) => Some(one.cmp(other)),
            _ => order_numbers(one, other),
        },
    }
}

/// Arithmetic on two numbers of the same type; `None` where CEL has none for these types.
pub(crate) fn arithmetic(
    operator: Arithmetic,
    one: &Val<'_>,
    other: &Val<'_>,
) -> Option<Result<Val<'static>, EvaluationError>> {
    use Arithmetic as A;
    let by_zero = matches!(operator, A::Divide | A::Modulo) && matches!(other, Val::Int(0) | Val::UInt(0));
    match (one, other) {
        (Val::Int(_), Val::Int(_)) | (Val::UInt(_), Val::UInt(_)) if by_zero => {
            Some(Err(EvaluationError::DivisionByZero))
        }
        (Val::Int(one), Val::Int(other)) => {
            let (one, other) = (*one, *other);
            let result = match operator {
                A::Add => one.checked_add(other),
                A::Subtract => one.checked_sub(other),
                A::Multiply => one.checked_mul(other),
                A::Divide => one.checked_div(other),
                A::Modulo => one.checked_rem(other),
            };
            Some(result.map(Val::Int).ok_or(EvaluationError::Overflow))
        }
        (Val::UInt(one), Val::UInt(other)) => {
            let (one, other) = (*one, *other);
            let result = match operator {
                A::Add => one.checked_add(other),
                A::Subtract => one.checked_sub(other),
                A::Multiply => one.checked_mul(other),
                A::Divide => one.checked_div(other),
                A::Modulo => one.checked_rem(other),
            };
            Some(result.map(Val::UInt).ok_or(EvaluationError::Overflow))
        }
        (Val::Double(one), Val::Double(other)) => match operator {
            A::Add => Some(Ok(Val::Double(one + other))),
            A::Subtract => Some(Ok(Val::Double(one - other))),
            A::Multiply => Some(Ok(Val::Double(one * other))),
            A::Divide => Some(Ok(Val::Double(one / other))),
            A::Modulo => None,
        },
        _ => None,
    }
}
