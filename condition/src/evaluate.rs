//! Deciding a condition: a walk over its nodes with a budget of steps.
//!
//! Errors follow CEL: `||` is true if either side is, whatever becomes of the other; `&&` is false if either side is;
//! `exists` and `all` likewise over their elements. Every other error goes up.

use crate::conversion::conversion;
use crate::error::EvaluationError;
use crate::node::{Arithmetic, Convert, Node, Order, TextTest};
use crate::path::{Place, Step};
use crate::value::{self, Val};
use crate::vars::{Found, Vars};

/// How many steps one evaluation may take: a step is a part of the condition, an element of a list or map that is
/// looked at, or 64 bytes of a text. Beyond, the condition does not hold. It bounds what nested `exists` over lists
/// from outside can cost to less than a millisecond or so.
pub const STEPS_MAX: u32 = 20_000;

/// How deep values are compared. JSON that was read with serde_json is never deeper.
const DEPTH_MAX: u32 = 128;

pub(crate) type Outcome<T> = Result<T, EvaluationError>;

/// Decides a condition.
pub(crate) fn holds(node: &Node, vars: &Vars<'_>) -> Outcome<bool> {
    let mut run = Run::new(vars);
    let result = run.evaluate(node);
    // An error is absorbed by `||`, `&&` and folds; having run out of steps never is.
    if run.exhausted() {
        return Err(EvaluationError::TooMuchWork);
    }
    match result? {
        Val::Bool(result) => Ok(result),
        other => Err(EvaluationError::NotBoolean(other.kind())),
    }
}

/// One evaluation.
pub(crate) struct Run<'a, 'v> {
    vars: &'a Vars<'v>,
    /// The variables of the folds around, outermost first.
    pub(crate) locals: Vec<Val<'a>>,
    /// Steps left; 0 is none, and stays so.
    steps: u32,
}

impl<'a, 'v: 'a> Run<'a, 'v> {
    pub(crate) fn new(vars: &'a Vars<'v>) -> Self {
        Run { vars, locals: Vec::new(), steps: STEPS_MAX }
    }

    /// Whether the steps are used up. Everything is an error from then on.
    pub(crate) fn exhausted(&self) -> bool {
        self.steps == 0
    }

    pub(crate) fn spend(&mut self, steps: usize) -> Outcome<()> {
        self.steps = self.steps.saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX));
        if self.steps == 0 { Err(EvaluationError::TooMuchWork) } else { Ok(()) }
    }

    fn spend_text(&mut self, text: &str) -> Outcome<()> {
        self.spend(text.len() / 64)
    }

    pub(crate) fn evaluate(&mut self, node: &'a Node) -> Outcome<Val<'a>> {
        self.spend(1)?;
        match node {
            Node::Null => Ok(Val::Null),
            Node::Bool(value) => Ok(Val::Bool(*value)),
            Node::Int(value) => Ok(Val::Int(*value)),
            Node::UInt(value) => Ok(Val::UInt(*value)),
            Node::Double(value) => Ok(Val::Double(*value)),
            Node::Text(text) => Ok(Val::Text(text)),
            Node::Place(place) => self.place(place),
            Node::Local(position) => self.locals.get(*position).cloned().ok_or(EvaluationError::NoSuchEntry),
            Node::Select(operand, name) => {
                let operand = self.evaluate(operand)?;
                match operand.map_len() {
                    Some(_) => operand.member(name).ok_or(EvaluationError::NoSuchEntry),
                    None => Err(types(".", &operand, None)),
                }
            }
            Node::Index(operand, index) => self.index(operand, index),
            Node::Has(operand, name) => {
                let operand = self.evaluate(operand)?;
                match operand.map_len() {
                    Some(_) => Ok(Val::Bool(operand.member(name).is_some())),
                    None => Err(types("has", &operand, None)),
                }
            }
            Node::Not(operand) => self.boolean(operand, "!").map(|value| Val::Bool(!value)),
            Node::Negate(operand) => match self.evaluate(operand)? {
                Val::Int(value) => value.checked_neg().map(Val::Int).ok_or(EvaluationError::Overflow),
                Val::Double(value) => Ok(Val::Double(-value)),
                other => Err(types("-", &other, None)),
            },
            Node::And(parts) => self.decide(parts, false, "&&"),
            Node::Or(parts) => self.decide(parts, true, "||"),
            Node::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                if self.boolean(condition, "?:")? { self.evaluate(yes) } else { self.evaluate(no) }
            }
            Node::Equal(parts) => self.pair(parts).and_then(|(l, r)| self.equal(&l, &r, 0)).map(Val::Bool),
            Node::NotEqual(parts) => {
                self.pair(parts).and_then(|(l, r)| self.equal(&l, &r, 0)).map(|equal| Val::Bool(!equal))
            }
            Node::Order(order, parts) => self.order(*order, parts),
            Node::In(parts) => self.contained(parts).map(Val::Bool),
            Node::Arithmetic(operator, parts) => self.arithmetic(*operator, parts),
            Node::List(parts) => {
                let list: Outcome<Vec<_>> = parts.iter().map(|part| self.evaluate(part)).collect();
                Ok(Val::List(list?.into()))
            }
            Node::Map(entries) => self.map(entries),
            Node::Size(operand) => self.size(operand),
            Node::TextTest(test, parts) => self.text_test(*test, parts),
            Node::Matches(operand, pattern) => {
                let operand = self.evaluate(operand)?;
                let text = operand.text().ok_or_else(|| types("matches", &operand, None))?;
                // A pattern is costlier than a comparison; `regex` is linear in the text, whatever the pattern.
                self.spend(text.len() / 16)?;
                Ok(Val::Bool(pattern.is_match(text)))
            }
            Node::Convert(convert, operand) => self.convert(*convert, operand),
            Node::Fold(fold, parts) => self.fold(*fold, parts),
        }
    }

    fn place(&mut self, place: &'a std::sync::Arc<Place>) -> Outcome<Val<'a>> {
        let missing = || EvaluationError::Missing(place.clone());
        let mut found: Val<'a> = match self.vars.find(&place.variable).ok_or_else(missing)? {
            Found::Text(text) => Val::Text(text),
            Found::Json(value) => value.into(),
        };
        for step in place.path.steps() {
            found = match (step, &found) {
                (Step::Name(name), Val::Object(map)) => {
                    map.get(&**name).map(Val::from).ok_or_else(missing)?
                }
                (Step::Index(index), Val::Array(list)) => {
                    list.get(*index).map(Val::from).ok_or_else(missing)?
                }
                (Step::Index(_), Val::Object(_)) => return Err(missing()),
                (Step::Name(_), other) => return Err(types(".", other, None)),
                (Step::Index(_), other) => return Err(types("[]", other, None)),
            };
        }
        Ok(found)
    }

    fn index(&mut self, operand: &'a Node, index: &'a Node) -> Outcome<Val<'a>> {
        let operand = self.evaluate(operand)?;
        let index = self.evaluate(index)?;
        if operand.list_len().is_some() {
            let position = index.position().ok_or_else(|| types("[]", &operand, Some(&index)))?;
            return position.and_then(|at| operand.element(at)).ok_or(EvaluationError::NoSuchEntry);
        }
        match operand.map_len() {
            Some(len) if index.may_be_key() || matches!(index, Val::Double(_)) => {
                if matches!(operand, Val::Map(_)) {
                    self.spend(len)?;
                }
                operand.entry(&index).ok_or(EvaluationError::NoSuchEntry)
            }
            _ => Err(types("[]", &operand, Some(&index))),
        }
    }

    pub(crate) fn boolean(&mut self, node: &'a Node, operation: &'static str) -> Outcome<bool> {
        match self.evaluate(node)? {
            Val::Bool(value) => Ok(value),
            other => Err(types(operation, &other, None)),
        }
    }

    /// `||` (`decisive` is true) and `&&` (`decisive` is false): the first decisive part decides, even behind errors;
    /// else the first error; else the opposite.
    fn decide(&mut self, parts: &'a [Node], decisive: bool, operation: &'static str) -> Outcome<Val<'a>> {
        let mut error = None;
        for part in parts {
            match self.boolean(part, operation) {
                Ok(value) if value == decisive => return Ok(Val::Bool(decisive)),
                Ok(_) => {}
                Err(EvaluationError::TooMuchWork) => return Err(EvaluationError::TooMuchWork),
                Err(first) => error = error.or(Some(first)),
            }
        }
        error.map_or(Ok(Val::Bool(!decisive)), Err)
    }

    fn pair(&mut self, parts: &'a [Node; 2]) -> Outcome<(Val<'a>, Val<'a>)> {
        let [left, right] = parts;
        Ok((self.evaluate(left)?, self.evaluate(right)?))
    }

    /// CEL's equality: values of different types are not equal, numbers are by value, lists and maps by content.
    fn equal(&mut self, one: &Val<'_>, other: &Val<'_>, depth: u32) -> Outcome<bool> {
        if depth > DEPTH_MAX {
            self.steps = 0;
            return Err(EvaluationError::TooMuchWork);
        }
        if let (Some(one), Some(other)) = (one.text(), other.text()) {
            if one.len() != other.len() {
                return Ok(false);
            }
            self.spend_text(one)?;
            return Ok(one == other);
        }
        if let (Some(len), Some(other_len)) = (one.list_len(), other.list_len()) {
            if len != other_len {
                return Ok(false);
            }
            for index in 0..len {
                self.spend(1)?;
                let (Some(one), Some(other)) = (one.element(index), other.element(index)) else {
                    return Ok(false);
                };
                if !self.equal(&one, &other, depth + 1)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        if let (Some(len), Some(other_len)) = (one.map_len(), other.map_len()) {
            if len != other_len {
                return Ok(false);
            }
            self.spend(len)?;
            for key in one.keys() {
                self.spend(1)?;
                let (Some(one), Some(other)) = (one.entry(&key), other.entry(&key)) else {
                    return Ok(false);
                };
                if !self.equal(&one, &other, depth + 1)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        Ok(match (one, other) {
            (Val::Null, Val::Null) => true,
            (Val::Bool(one), Val::Bool(other)) => one == other,
            _ => value::order_numbers(one, other) == Some(std::cmp::Ordering::Equal),
        })
    }

    fn order(&mut self, order: Order, parts: &'a [Node; 2]) -> Outcome<Val<'a>> {
        let (left, right) = self.pair(parts)?;
        if let (Some(left), Some(_)) = (left.text(), right.text()) {
            self.spend_text(left)?;
        }
        let found = value::order(&left, &right).ok_or_else(|| types("<", &left, Some(&right)))?;
        Ok(Val::Bool(match order {
            Order::Less => found.is_lt(),
            Order::LessOrEqual => found.is_le(),
            Order::Greater => found.is_gt(),
            Order::GreaterOrEqual => found.is_ge(),
        }))
    }

    fn contained(&mut self, parts: &'a [Node; 2]) -> Outcome<bool> {
        let (needle, whole) = self.pair(parts)?;
        if let Some(len) = whole.list_len() {
            for index in 0..len {
                self.spend(1)?;
                if let Some(element) = whole.element(index)
                    && self.equal(&element, &needle, 0)?
                {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        match whole.map_len() {
            Some(len) if needle.may_be_key() || matches!(needle, Val::Double(_)) => {
                if matches!(whole, Val::Map(_)) {
                    self.spend(len)?;
                }
                Ok(whole.entry(&needle).is_some())
            }
            _ => Err(types("in", &needle, Some(&whole))),
        }
    }

    fn arithmetic(&mut self, operator: Arithmetic, parts: &'a [Node; 2]) -> Outcome<Val<'a>> {
        let (left, right) = self.pair(parts)?;
        if let Some(result) = value::arithmetic(operator, &left, &right) {
            return result;
        }
        if operator == Arithmetic::Add {
            if let (Some(left), Some(right)) = (left.text(), right.text()) {
                self.spend_text(left)?;
                self.spend_text(right)?;
                let mut made = String::with_capacity(left.len() + right.len());
                made.push_str(left);
                made.push_str(right);
                return Ok(Val::Made(made.into()));
            }
            if let (Some(one), Some(other)) = (left.list_len(), right.list_len()) {
                self.spend(one.saturating_add(other))?;
                let all = (0..one).filter_map(|at| left.element(at));
                let list: Vec<Val<'a>> = all.chain((0..other).filter_map(|at| right.element(at))).collect();
                return Ok(Val::List(list.into()));
            }
        }
        let operation = match operator {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Modulo => "%",
        };
        Err(types(operation, &left, Some(&right)))
    }

    fn map(&mut self, nodes: &'a [(Node, Node)]) -> Outcome<Val<'a>> {
        let mut entries: Vec<(Val<'a>, Val<'a>)> = Vec::with_capacity(nodes.len());
        for (key, value) in nodes {
            let key = self.evaluate(key)?;
            if !key.may_be_key() {
                return Err(types("{}", &key, None));
            }
            let value = self.evaluate(value)?;
            self.spend(entries.len())?;
            if entries.iter().any(|(known, _)| value::same_key(known, &key)) {
                return Err(EvaluationError::RepeatedKey);
            }
            entries.push((key, value));
        }
        Ok(Val::Map(entries.into()))
    }

    fn size(&mut self, operand: &'a Node) -> Outcome<Val<'a>> {
        let operand = self.evaluate(operand)?;
        let size = match operand.text() {
            Some(text) => {
                self.spend_text(text)?;
                Some(text.chars().count())
            }
            None => operand.list_len().or(operand.map_len()),
        };
        let size = size.ok_or_else(|| types("size", &operand, None))?;
        i64::try_from(size).map(Val::Int).map_err(|_| EvaluationError::Overflow)
    }

    fn text_test(&mut self, test: TextTest, parts: &'a [Node; 2]) -> Outcome<Val<'a>> {
        let (whole, part) = self.pair(parts)?;
        let operation = match test {
            TextTest::StartsWith => "startsWith",
            TextTest::EndsWith => "endsWith",
            TextTest::Contains => "contains",
        };
        let (Some(text), Some(searched)) = (whole.text(), part.text()) else {
            return Err(types(operation, &whole, Some(&part)));
        };
        self.spend_text(text)?;
        self.spend_text(searched)?;
        Ok(Val::Bool(match test {
            TextTest::StartsWith => text.starts_with(searched),
            TextTest::EndsWith => text.ends_with(searched),
            TextTest::Contains => text.contains(searched),
        }))
    }

    fn convert(&mut self, convert: Convert, operand: &'a Node) -> Outcome<Val<'a>> {
        let operand = self.evaluate(operand)?;
        if let Some(text) = operand.text() {
            self.spend_text(text)?;
        }
        conversion(convert, operand)
    }
}

/// An operation that does not go with values of these types.
pub(crate) fn types(operation: &'static str, left: &Val<'_>, right: Option<&Val<'_>>) -> EvaluationError {
    EvaluationError::Types { operation, left: left.kind(), right: right.map_or("", Val::kind) }
}
