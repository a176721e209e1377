//! From the parser's tree to nodes: names are resolved, calls checked, patterns compiled, and what is not part of the
//! language here is refused at its place.

use std::sync::Arc;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators};
use regex::RegexBuilder;
use sallyport_config::nearest;

use crate::node::{Arithmetic, Convert, Fold, FoldParts, Node, Order, TextTest};
use crate::path::{FieldPath, Place, Step};
use crate::refusal::Refusals;

/// How many parts a condition may have.
const NODES_MAX: usize = 1024;

/// How deep parts may be nested.
const DEPTH_MAX: usize = 64;

/// Bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// The functions and macros there are, as they are written.
const FUNCTIONS: [&str; 17] = [
    "has",
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "filter",
    "map",
];

/// Compiles a tree; `None` after a fault was told.
pub(crate) fn compile(
    tree: &IdedExpr,
    info: &SourceInfo,
    variables: &[&str],
    refusals: Refusals<'_>,
) -> Option<Node> {
    let mut compiler = Compiler { info, variables, refusals, locals: Vec::new(), nodes: 0, depth: 0 };
    let node = compiler.node(tree)?;
    if let Some(what) = node.never_boolean() {
        compiler.refuse(tree, format!("a condition is true or false; this is {what}"));
        return None;
    }
    Some(node)
}

struct Compiler<'a> {
    info: &'a SourceInfo,
    variables: &'a [&'a str],
    refusals: Refusals<'a>,
    locals: Vec<String>,
    nodes: usize,
    depth: usize,
}

impl Compiler<'_> {
    fn refuse(&mut self, at: &IdedExpr, message: impl Into<String>) -> &mut sallyport_config::Diagnostic {
        self.refusals.part(self.info, at.id, message)
    }

    fn node(&mut self, tree: &IdedExpr) -> Option<Node> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.refuse(tree, format!("this condition has more than {NODES_MAX} parts"));
            return None;
        }
        if self.depth >= DEPTH_MAX {
            self.refuse(tree, format!("this condition is nested deeper than {DEPTH_MAX} levels"));
            return None;
        }
        self.depth += 1;
        let node = self.expression(tree);
        self.depth -= 1;
        node
    }

    fn expression(&mut self, tree: &IdedExpr) -> Option<Node> {
        match &tree.expr {
            Expr::Literal(literal) => self.literal(tree, literal),
            Expr::Ident(name) => self.name(tree, name),
            Expr::Select(select) if !select.test => {
                let operand = self.node(&select.operand)?;
                Some(step(operand, Step::Name(select.field.as_str().into())))
            }
            Expr::Call(call) => self.call(tree, call),
            Expr::List(list) => Some(Node::List(self.all(&list.elements)?)),
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return self.foreign(tree);
                    };
                    entries.push((self.node(&entry.key)?, self.node(&entry.value)?));
                }
                Some(Node::Map(entries))
            }
            Expr::Select(_) | Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
                self.foreign(tree)
            }
        }
    }

    fn foreign(&mut self, tree: &IdedExpr) -> Option<Node> {
        self.refuse(tree, "messages and their fields are not part of the language here");
        None
    }

    fn literal(&mut self, tree: &IdedExpr, literal: &LiteralValue) -> Option<Node> {
        Some(match literal {
            LiteralValue::Boolean(value) => Node::Bool(*value.inner()),
            LiteralValue::Int(value) => Node::Int(*value.inner()),
            LiteralValue::UInt(value) => Node::UInt(*value.inner()),
            LiteralValue::Double(value) => Node::Double(*value.inner()),
            LiteralValue::String(text) => Node::Text(text.inner().into()),
            LiteralValue::Null => Node::Null,
            LiteralValue::Bytes(_) => {
                self.refuse(tree, "bytes are not part of the language here").hint("write a text: 'abc'");
                return None;
            }
        })
    }

    fn name(&mut self, tree: &IdedExpr, name: &str) -> Option<Node> {
        if let Some(position) = self.locals.iter().rposition(|local| local == name) {
            return Some(Node::Local(position));
        }
        if let Some(variable) = self.variables.iter().find(|known| **known == name) {
            let place = Place { variable: Arc::from(*variable), path: FieldPath::default() };
            return Some(Node::Place(Arc::new(place)));
        }
        let known: Vec<&str> =
            self.variables.iter().copied().chain(self.locals.iter().map(String::as_str)).collect();
        let meant = nearest(name, known.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        let hint = meant.unwrap_or_else(|| {
            if known.is_empty() {
                "no variables may be used here".to_owned()
            } else {
                format!("there are: {}; a text stands in quotes", known.join(", "))
            }
        });
        self.refuse(tree, format!("unknown variable `{name}`")).hint(hint);
        None
    }

    fn all(&mut self, trees: &[IdedExpr]) -> Option<Vec<Node>> {
        trees.iter().map(|tree| self.node(tree)).collect()
    }

    fn two(&mut self, trees: &[IdedExpr]) -> Option<Box<[Node; 2]>> {
        let [left, right] = trees else { return None };
        Some(Box::new([self.node(left)?, self.node(right)?]))
    }

    fn call(&mut self, tree: &IdedExpr, call: &CallExpr) -> Option<Node> {
        let arguments = call.args.as_slice();
        let two = |order| move |parts| Node::Order(order, parts);
        let arithmetic = |operator| move |parts| Node::Arithmetic(operator, parts);
        match (call.func_name.as_str(), &call.target) {
            (operators::LOGICAL_AND, None) => {
                let parts = self.chain(operators::LOGICAL_AND, tree)?;
                Some(Node::And(parts))
            }
            (operators::LOGICAL_OR, None) => {
                let parts = self.chain(operators::LOGICAL_OR, tree)?;
                Some(Node::Or(parts))
            }
            (operators::LOGICAL_NOT, None) => Some(Node::Not(Box::new(self.node(arguments.first()?)?))),
            (operators::NEGATE, None) => Some(Node::Negate(Box::new(self.node(arguments.first()?)?))),
            (operators::CONDITIONAL, None) => {
                let [condition, yes, no] = arguments else { return self.foreign(tree) };
                Some(Node::Conditional(Box::new([self.node(condition)?, self.node(yes)?, self.node(no)?])))
            }
            (operators::EQUALS, None) => self.two(arguments).map(Node::Equal),
            (operators::NOT_EQUALS, None) => self.two(arguments).map(Node::NotEqual),
            (operators::LESS, None) => self.two(arguments).map(two(Order::Less)),
            (operators::LESS_EQUALS, None) => self.two(arguments).map(two(Order::LessOrEqual)),
            (operators::GREATER, None) => self.two(arguments).map(two(Order::Greater)),
            (operators::GREATER_EQUALS, None) => self.two(arguments).map(two(Order::GreaterOrEqual)),
            (operators::IN, None) => self.two(arguments).map(Node::In),
            (operators::ADD, None) => self.two(arguments).map(arithmetic(Arithmetic::Add)),
            (operators::SUBSTRACT, None) => self.two(arguments).map(arithmetic(Arithmetic::Subtract)),
            (operators::MULTIPLY, None) => self.two(arguments).map(arithmetic(Arithmetic::Multiply)),
            (operators::DIVIDE, None) => self.two(arguments).map(arithmetic(Arithmetic::Divide)),
            (operators::MODULO, None) => self.two(arguments).map(arithmetic(Arithmetic::Modulo)),
            (operators::INDEX, None) => {
                let [operand, index] = arguments else { return self.foreign(tree) };
                let (operand, index) = (self.node(operand)?, self.node(index)?);
                Some(index_into(operand, index))
            }
            (name, target) => self.function(tree, name, target.as_deref(), arguments),
        }
    }

    /// The parts of a chain of `&&` or `||`, however the parser nested them.
    fn chain(&mut self, operator: &str, tree: &IdedExpr) -> Option<Vec<Node>> {
        let mut parts = Vec::new();
        let mut waiting = vec![tree];
        while let Some(tree) = waiting.pop() {
            match &tree.expr {
                Expr::Call(call) if call.func_name == operator && call.target.is_none() => {
                    waiting.extend(call.args.iter().rev());
                }
                _ => parts.push(self.node(tree)?),
            }
        }
        Some(parts)
    }

    fn function(
        &mut self,
        tree: &IdedExpr,
        name: &str,
        target: Option<&IdedExpr>,
        arguments: &[IdedExpr],
    ) -> Option<Node> {
        match (name, target, arguments) {
            ("has", None, [argument]) => self.has(argument),
            ("size", None, [operand]) | ("size", Some(operand), []) => {
                Some(Node::Size(Box::new(self.node(operand)?)))
            }
            ("startsWith", Some(whole), [part]) => self.text_test(TextTest::StartsWith, whole, part),
            ("endsWith", Some(whole), [part]) => self.text_test(TextTest::EndsWith, whole, part),
            ("contains", Some(whole), [part]) => self.text_test(TextTest::Contains, whole, part),
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                self.matches(text, pattern)
            }
            ("bool", None, [operand]) => self.convert(Convert::Bool, operand),
            ("int", None, [operand]) => self.convert(Convert::Int, operand),
            ("uint", None, [operand]) => self.convert(Convert::UInt, operand),
            ("double", None, [operand]) => self.convert(Convert::Double, operand),
            ("string", None, [operand]) => self.convert(Convert::Text, operand),
            ("all", Some(range), [variable, body]) => self.fold(Fold::All, range, variable, None, body),
            ("exists", Some(range), [variable, body]) => self.fold(Fold::Exists, range, variable, None, body),
            ("exists_one" | "existsOne", Some(range), [variable, body]) => {
                self.fold(Fold::ExistsOne, range, variable, None, body)
            }
            ("filter", Some(range), [variable, body]) => self.fold(Fold::Filter, range, variable, None, body),
            ("map", Some(range), [variable, body]) => self.fold(Fold::Map, range, variable, None, body),
            ("map", Some(range), [variable, guard, body]) => {
                self.fold(Fold::Map, range, variable, Some(guard), body)
            }
            (known, ..) if FUNCTIONS.contains(&known) => {
                self.refuse(tree, format!("`{known}` is not called like this")).hint(usage(known));
                None
            }
            (unknown, ..) => {
                let hint = nearest(unknown, FUNCTIONS).map_or_else(
                    || format!("there are: {}", FUNCTIONS.join(", ")),
                    |name| format!("did you mean `{name}`?"),
                );
                self.refuse(tree, format!("unknown function `{unknown}`")).hint(hint);
                None
            }
        }
    }

    fn has(&mut self, argument: &IdedExpr) -> Option<Node> {
        match &argument.expr {
            Expr::Select(select) if !select.test => {
                Some(Node::Has(Box::new(self.node(&select.operand)?), select.field.as_str().into()))
            }
            _ => {
                self.refuse(argument, "`has` asks for a field").hint(usage("has"));
                None
            }
        }
    }

    fn text_test(&mut self, test: TextTest, whole: &IdedExpr, part: &IdedExpr) -> Option<Node> {
        Some(Node::TextTest(test, Box::new([self.node(whole)?, self.node(part)?])))
    }

    fn convert(&mut self, convert: Convert, operand: &IdedExpr) -> Option<Node> {
        Some(Node::Convert(convert, Box::new(self.node(operand)?)))
    }

    /// The pattern has to be a literal: it is compiled once, and never comes from outside.
    fn matches(&mut self, text: &IdedExpr, pattern: &IdedExpr) -> Option<Node> {
        let text = self.node(text)?;
        let Expr::Literal(LiteralValue::String(literal)) = &pattern.expr else {
            self.refuse(pattern, "the pattern of `matches` has to be a text in quotes")
                .hint(usage("matches"));
            return None;
        };
        match RegexBuilder::new(literal.inner()).size_limit(PATTERN_BYTES_MAX).build() {
            Ok(pattern) => Some(Node::Matches(Box::new(text), pattern)),
            Err(error) => {
                let error = error.to_string();
                let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.refuse(pattern, format!("this pattern cannot be read: {why}"))
                    .hint("patterns are those of RE2: no look-around, no back-references");
                None
            }
        }
    }

    fn fold(
        &mut self,
        fold: Fold,
        range: &IdedExpr,
        variable: &IdedExpr,
        guard: Option<&IdedExpr>,
        body: &IdedExpr,
    ) -> Option<Node> {
        let range = self.node(range)?;
        let Expr::Ident(name) = &variable.expr else {
            self.refuse(variable, "the first argument names the element").hint(usage("exists"));
            return None;
        };
        if self.variables.contains(&name.as_str()) || self.locals.contains(name) {
            self.refuse(variable, format!("`{name}` already is a variable")).hint("choose another name");
            return None;
        }
        self.locals.push(name.clone());
        let guard = match guard {
            Some(guard) => self.node(guard).map(Some),
            None => Some(None),
        };
        let body = self.node(body);
        self.locals.pop();
        Some(Node::Fold(fold, Box::new(FoldParts { range, guard: guard?, body: body? })))
    }
}

/// One constant step further in; a place takes it up.
fn step(operand: Node, step: Step) -> Node {
    match (operand, step) {
        (Node::Place(place), step) => {
            Node::Place(Arc::new(Place { variable: place.variable.clone(), path: place.path.then(step) }))
        }
        (operand, Step::Name(name)) => Node::Select(Box::new(operand), name.into()),
        (operand, Step::Index(index)) => {
            let index = i64::try_from(index).unwrap_or(i64::MAX);
            Node::Index(Box::new(operand), Box::new(Node::Int(index)))
        }
    }
}

fn index_into(operand: Node, index: Node) -> Node {
    let constant = match (&operand, &index) {
        (Node::Place(_), Node::Text(name)) => Some(Step::Name((**name).into())),
        (Node::Place(_), Node::Int(index)) => usize::try_from(*index).ok().map(Step::Index),
        (Node::Place(_), Node::UInt(index)) => usize::try_from(*index).ok().map(Step::Index),
        _ => None,
    };
    match constant {
        Some(constant) => step(operand, constant),
        None => Node::Index(Box::new(operand), Box::new(index)),
    }
}

fn usage(function: &str) -> &'static str {
    match function {
        "has" => "write `has(event.owner)`",
        "size" => "write `size(event.items)` or `event.items.size()`",
        "startsWith" => "write `event.path.startsWith('/a')`",
        "endsWith" => "write `event.path.endsWith('.pdf')`",
        "contains" => "write `event.text.contains('a')`; for lists: `'a' in event.list`",
        "matches" => "write `event.id.matches('^[a-z]+$')`",
        "bool" => "write `bool(event.flag)`",
        "int" => "write `int(event.level)`",
        "uint" => "write `uint(event.level)`",
        "double" => "write `double(event.level)`",
        "string" => "write `string(event.level)`",
        "all" => "write `event.items.all(item, item.open)`",
        "filter" => "write `size(event.items.filter(item, item.open)) > 0`",
        "map" => "write `'a' in event.items.map(item, item.id)`",
        _ => "write `event.items.exists(item, item.owner == claims.sub)`",
    }
}
