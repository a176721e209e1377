//! A condition in the form in which it is decided: names resolved, paths folded, patterns compiled.

use std::sync::Arc;

use regex::Regex;

use crate::path::{FieldPath, Place};

/// A part of a condition.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(Arc<str>),
    /// A variable, or a field of one by constant steps.
    Place(Arc<Place>),
    /// The variable of a fold, by its position among those in scope.
    Local(usize),
    Select(Box<Node>, Arc<str>),
    Index(Box<Node>, Box<Node>),
    /// `has(operand.name)`.
    Has(Box<Node>, Arc<str>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Two or more, in the order of the text: `&&` is associative, errors included.
    And(Vec<Node>),
    /// Two or more; as `And`.
    Or(Vec<Node>),
    Conditional(Box<[Node; 3]>),
    Equal(Box<[Node; 2]>),
    NotEqual(Box<[Node; 2]>),
    Order(Order, Box<[Node; 2]>),
    In(Box<[Node; 2]>),
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Size(Box<Node>),
    TextTest(TextTest, Box<[Node; 2]>),
    Matches(Box<Node>, Regex),
    Convert(Convert, Box<Node>),
    Fold(Fold, Box<FoldParts>),
}

/// How one value has to stand to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Order {
    /// The same with the sides exchanged.
    pub(crate) fn turned(self) -> Self {
        match self {
            Order::Less => Order::Greater,
            Order::LessOrEqual => Order::GreaterOrEqual,
            Order::Greater => Order::Less,
            Order::GreaterOrEqual => Order::LessOrEqual,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convert {
    Bool,
    Int,
    UInt,
    Double,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// What a fold goes over, and what it asks of each element.
#[derive(Debug, Clone)]
pub(crate) struct FoldParts {
    pub(crate) range: Node,
    /// The predicate of `map(x, predicate, body)`.
    pub(crate) guard: Option<Node>,
    pub(crate) body: Node,
}

impl Node {
    /// Tells every place that is read, whole or by constant steps.
    pub(crate) fn each_place(&self, tell: &mut dyn FnMut(&Arc<str>, FieldPath)) {
        match self {
            Node::Place(place) => tell(&place.variable, place.path.clone()),
            // Only whether the member is there is asked: the object around it need not be read.
            Node::Has(operand, name) => match &**operand {
                Node::Place(place) => {
                    tell(&place.variable, place.path.then(crate::path::Step::Name((**name).into())));
                }
                other => other.each_place(tell),
            },
            _ => self.each_part(&mut |part| part.each_place(tell)),
        }
    }

    /// Tells the parts one level further in.
    pub(crate) fn each_part(&self, tell: &mut dyn FnMut(&Node)) {
        match self {
            Node::Null
            | Node::Bool(_)
            | Node::Int(_)
            | Node::UInt(_)
            | Node::Double(_)
            | Node::Text(_)
            | Node::Place(_)
            | Node::Local(_) => {}
            Node::Select(part, _)
            | Node::Has(part, _)
            | Node::Not(part)
            | Node::Negate(part)
            | Node::Size(part)
            | Node::Matches(part, _)
            | Node::Convert(_, part) => tell(part),
            Node::Index(operand, index) => {
                tell(operand);
                tell(index);
            }
            Node::And(parts) | Node::Or(parts) | Node::List(parts) => parts.iter().for_each(tell),
            Node::Conditional(parts) => parts.iter().for_each(tell),
            Node::Equal(parts)
            | Node::NotEqual(parts)
            | Node::Order(_, parts)
            | Node::In(parts)
            | Node::Arithmetic(_, parts)
            | Node::TextTest(_, parts) => parts.iter().for_each(tell),
            Node::Map(entries) => {
                for (key, value) in entries {
                    tell(key);
                    tell(value);
                }
            }
            Node::Fold(_, parts) => {
                tell(&parts.range);
                parts.guard.iter().for_each(&mut *tell);
                tell(&parts.body);
            }
        }
    }

    /// What it is if it cannot be a boolean.
    pub(crate) fn never_boolean(&self) -> Option<&'static str> {
        match self {
            Node::Null => Some("null"),
            Node::Int(_) | Node::UInt(_) | Node::Double(_) | Node::Negate(_) | Node::Size(_) => {
                Some("a number")
            }
            Node::Arithmetic(Arithmetic::Add, _) => Some("a sum"),
            Node::Arithmetic(..) => Some("a number"),
            Node::Text(_) | Node::Convert(Convert::Text, _) => Some("a text"),
            Node::Convert(Convert::Int | Convert::UInt | Convert::Double, _) => Some("a number"),
            Node::List(_) | Node::Fold(Fold::Filter | Fold::Map, _) => Some("a list"),
            Node::Map(_) => Some("a map"),
            _ => None,
        }
    }
}
