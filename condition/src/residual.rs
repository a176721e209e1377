//! What is left of a condition when all of its variables but one are known: for those that turn conditions into queries
//! of a store. Nothing here knows a query language.

use serde_json::{Number, Value};

use crate::condition::Condition;
use crate::evaluate::Run;
use crate::node::{Node, Order};
use crate::path::{FieldPath, Step};
use crate::value::Val;
use crate::vars::Vars;

/// What is left of a condition. It comes out true, false or an error as the condition does, whatever the unknown variable
/// is bound to: `||` is true if one part is, `&&` false if one part is, whatever becomes of the others; every other error
/// goes up.
///
/// The parts that were decided on the way spent their steps then. Where a condition as a whole would have run out of
/// [`STEPS_MAX`](crate::STEPS_MAX), what is left of it may still be decided.
#[derive(Debug, Clone)]
pub enum Residual {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be decided. Take that for no.
    Error,
    /// Two or more, none of them true or false.
    And(Vec<Residual>),
    /// Two or more, none of them true or false.
    Or(Vec<Residual>),
    /// The opposite of what is neither true, false, nor an error.
    Not(Box<Residual>),
    /// Asks one field of the unknown variable.
    Test(Box<Test>),
    /// Anything else: a part of the condition, to be asked with all variables.
    Other(Condition),
}

/// A question about one field of the unknown variable. A field that is missing is an error, but for
/// [`Operation::Present`].
#[derive(Debug, Clone)]
pub struct Test {
    /// The way to the field; empty for the variable itself.
    pub field: FieldPath,
    /// What is asked.
    pub operation: Operation,
    /// The same question as a condition, to be asked with all variables.
    pub part: Condition,
}

/// What is asked of a field. The values are texts, numbers and booleans, never null, lists or objects.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Whether it equals this. A field of another type does not; numbers are equal by value.
    Equal(Value),
    /// Whether it equals one of these.
    In(Vec<Value>),
    /// How it stands to this: numbers to numbers, texts to texts by code point, `false` before `true`. A field of another
    /// type is an error.
    Ordered(Order, Value),
    /// Whether it is there, be it null. What is around it has to be an object, else that is an error.
    Present,
    /// Whether it is true. A field that is not a boolean is an error.
    Holds,
}

impl Condition {
    /// Decides whatever does not read the variable `unknown`, and tells what remains. What `vars` binds to that name does
    /// not count; other variables that are not bound are errors where they are read.
    ///
    /// ```
    /// # use sallyport_condition::{Condition, Residual, Vars};
    /// # use serde_json::json;
    /// # let source = sallyport_config::Located::nowhere("row.owner == claims.sub || 'admin' in claims.roles".to_owned());
    /// # let condition = Condition::compile(&source, &["claims", "row"], &mut Default::default()).unwrap();
    /// let clerk = json!({"sub": "u1", "roles": ["clerk"]});
    /// assert!(matches!(condition.residual(&Vars::new().bind("claims", &clerk), "row"), Residual::Test(_)));
    /// let admin = json!({"sub": "u2", "roles": ["admin"]});
    /// assert!(matches!(condition.residual(&Vars::new().bind("claims", &admin), "row"), Residual::True));
    /// ```
    pub fn residual(&self, vars: &Vars<'_>, unknown: &str) -> Residual {
        let mut known = Known { whole: self, unknown, run: Run::new(vars) };
        let residual = known.boolean(self.root());
        // As for the condition as a whole: having run out of steps is never absorbed.
        if known.run.exhausted() { Residual::Error } else { residual }
    }
}

/// A walk over a condition. Folds are never entered, so that no node has to do with a local variable.
struct Known<'a, 'v> {
    whole: &'a Condition,
    unknown: &'a str,
    run: Run<'a, 'v>,
}

impl<'a, 'v: 'a> Known<'a, 'v> {
    /// What remains of a part that has to be true or false.
    fn boolean(&mut self, node: &'a Node) -> Residual {
        if self.is_known(node) {
            return match self.run.evaluate(node) {
                Ok(Val::Bool(true)) => Residual::True,
                Ok(Val::Bool(false)) => Residual::False,
                Ok(_) | Err(_) => Residual::Error,
            };
        }
        let test = match node {
            Node::And(parts) => return self.all(parts, false),
            Node::Or(parts) => return self.all(parts, true),
            Node::Not(part) => return not(self.boolean(part)),
            Node::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                return match self.boolean(condition) {
                    Residual::True => self.boolean(yes),
                    Residual::False => self.boolean(no),
                    Residual::Error => Residual::Error,
                    _ => self.other(node),
                };
            }
            Node::Place(_) => self.field(node).map(|field| Ok((field, Operation::Holds))),
            Node::Has(operand, name) => {
                let there =
                    |field: FieldPath| Ok((field.then(Step::Name((**name).into())), Operation::Present));
                self.field(operand).map(there)
            }
            Node::Equal(parts) | Node::NotEqual(parts) => self
                .compared(parts)
                .map(|compared| compared.map(|(field, value, _)| (field, Operation::Equal(value)))),
            Node::Order(order, parts) => self.compared(parts).map(|compared| {
                compared.map(|(field, value, turned)| {
                    let order = if turned { order.turned() } else { *order };
                    (field, Operation::Ordered(order, value))
                })
            }),
            Node::In(parts) => self.contained(parts),
            _ => None,
        };
        match (test, node) {
            (None, _) => self.other(node),
            (Some(Err(Undecidable)), _) => Residual::Error,
            // Errors are the same on both sides of this.
            (Some(Ok(test)), Node::NotEqual(parts)) => not(self.test(test, Node::Equal(parts.clone()))),
            (Some(Ok(test)), _) => self.test(test, node.clone()),
        }
    }

    fn test(&self, (field, operation): (FieldPath, Operation), node: Node) -> Residual {
        Residual::Test(Box::new(Test { field, operation, part: self.whole.part(node) }))
    }

    fn other(&self, node: &Node) -> Residual {
        Residual::Other(self.whole.part(node.clone()))
    }

    /// The parts of `||` (`decisive` is true) and `&&` (`decisive` is false).
    fn all(&mut self, parts: &'a [Node], decisive: bool) -> Residual {
        let mut left = Vec::new();
        for part in parts {
            match self.boolean(part) {
                Residual::True if decisive => return Residual::True,
                Residual::False if !decisive => return Residual::False,
                Residual::True | Residual::False => {}
                // One error is as good as many.
                Residual::Error if left.iter().any(|part| matches!(part, Residual::Error)) => {}
                Residual::Or(inner) if decisive => left.extend(inner),
                Residual::And(inner) if !decisive => left.extend(inner),
                other => left.push(other),
            }
        }
        match left.len() {
            0 if decisive => Residual::False,
            0 => Residual::True,
            1 => left.remove(0),
            _ if decisive => Residual::Or(left),
            _ => Residual::And(left),
        }
    }

    /// A field of the unknown variable and the value that it is compared with; whether the field stands on the right.
    /// `None` if it is not as simple as that.
    fn compared(&mut self, parts: &'a [Node; 2]) -> Option<Result<(FieldPath, Value, bool), Undecidable>> {
        let [left, right] = parts;
        let (field, value, turned) = match (self.field(left), self.field(right)) {
            (Some(field), None) if self.is_known(right) => (field, right, false),
            (None, Some(field)) if self.is_known(left) => (field, left, true),
            _ => return None,
        };
        match self.run.evaluate(value) {
            Err(_) => Some(Err(Undecidable)),
            Ok(value) => scalar(&value).map(|value| Ok((field, value, turned))),
        }
    }

    fn contained(&mut self, parts: &'a [Node; 2]) -> Option<Result<(FieldPath, Operation), Undecidable>> {
        let [needle, whole] = parts;
        let field = self.field(needle).filter(|_| self.is_known(whole))?;
        let Ok(list) = self.run.evaluate(whole) else { return Some(Err(Undecidable)) };
        let values: Option<Vec<Value>> =
            (0..list.list_len()?).map(|at| list.element(at).and_then(|element| scalar(&element))).collect();
        values.map(|values| Ok((field, Operation::In(values))))
    }

    /// The way into the unknown variable, if the node is nothing else.
    fn field(&self, node: &Node) -> Option<FieldPath> {
        match node {
            Node::Place(place) if *place.variable == *self.unknown => Some(place.path.clone()),
            _ => None,
        }
    }

    fn is_known(&self, node: &Node) -> bool {
        match node {
            Node::Place(place) => *place.variable != *self.unknown,
            _ => {
                let mut known = true;
                node.each_part(&mut |part| known = known && self.is_known(part));
                known
            }
        }
    }
}

/// What the field is compared with is an error, and so is the comparison.
struct Undecidable;

fn not(residual: Residual) -> Residual {
    match residual {
        Residual::True => Residual::False,
        Residual::False => Residual::True,
        Residual::Error => Residual::Error,
        Residual::Not(inner) => *inner,
        other => Residual::Not(Box::new(other)),
    }
}

/// A text, number or boolean as JSON.
fn scalar(value: &Val<'_>) -> Option<Value> {
    match value {
        Val::Bool(value) => Some(Value::from(*value)),
        Val::Int(value) => Some(Value::from(*value)),
        Val::UInt(value) => Some(Value::from(*value)),
        // Neither NaN nor what is infinite is JSON.
        Val::Double(value) => Number::from_f64(*value).map(Value::from),
        other => other.text().map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use sallyport_config::{Located, Report};
    use serde_json::json;

    use super::*;

    fn residual(text: &str, claims: &Value) -> Residual {
        let condition = Condition::compile(
            &Located::nowhere(text.to_owned()),
            &["claims", "row"],
            &mut Report::default(),
        );
        condition.unwrap().residual(&Vars::new().bind("claims", claims), "row")
    }

    /// A short form for tables.
    fn shown(residual: &Residual) -> String {
        let all = |parts: &[Residual], sign: &str| {
            format!("({})", parts.iter().map(shown).collect::<Vec<_>>().join(sign))
        };
        match residual {
            Residual::True => "true".to_owned(),
            Residual::False => "false".to_owned(),
            Residual::Error => "error".to_owned(),
            Residual::And(parts) => all(parts, " & "),
            Residual::Or(parts) => all(parts, " | "),
            Residual::Not(part) => format!("!{}", shown(part)),
            Residual::Other(_) => "other".to_owned(),
            Residual::Test(test) => match &test.operation {
                Operation::Equal(value) => format!("{} = {value}", test.field),
                Operation::In(values) => format!("{} in {}", test.field, Value::from(values.clone())),
                Operation::Ordered(order, value) => format!("{} {order:?} {value}", test.field),
                Operation::Present => format!("has {}", test.field),
                Operation::Holds => format!("is {}", test.field),
            },
        }
    }

    #[test]
    fn what_is_known_is_decided() {
        let claims = json!({"sub": "u1", "roles": ["clerk"], "level": 3, "groups": ["a", 1], "odd": [null], "map": {}});
        for (text, expected) in [
            ("true", "true"),
            ("claims.sub == 'u2'", "false"),
            ("claims.missing == 'u1'", "error"),
            ("claims.level", "error"),
            ("row.owner == claims.sub || 'admin' in claims.roles", "owner = \"u1\""),
            ("row.owner == claims.sub || 'clerk' in claims.roles", "true"),
            ("row.owner == claims.sub && 'admin' in claims.roles", "false"),
            ("row.owner == claims.missing", "error"),
            ("row.owner == claims.missing || row.open", "(error | is open)"),
            ("claims.missing || row.open || claims.missing2", "(error | is open)"),
            ("!(row.a == 1 || row.b == 2) && !!row.c", "(!(a = 1 | b = 2) & is c)"),
            ("row.a == 1 && (row.b == 2 && claims.level == 3 && row.c == 3)", "(a = 1 & b = 2 & c = 3)"),
            ("row.a != 2u", "!a = 2"),
            (
                "claims.level < row.level && row.level <= claims.level + 1",
                "(level Greater 3 & level LessOrEqual 4)",
            ),
            ("row.group in claims.groups", "group in [\"a\",1]"),
            ("row.group in []", "group in []"),
            ("row.group in claims.missing", "error"),
            ("row.group in claims.odd", "other"),
            ("row.group in claims.map", "other"),
            ("claims.sub in row.readers", "other"),
            ("has(row.a) && has(row.a.b) && !has(claims.x)", "(has a & has a.b)"),
            ("row.a[0].b == true", "a[0].b = true"),
            (
                "row.a == null || row.a == [1] || row.a == row.b || row == 1",
                "(other | other | other | [] = 1)",
            ),
            ("row.a == 0.0 / 0.0", "other"),
            ("claims.level == 3 ? row.a : row.b", "is a"),
            ("claims.level == 4 ? row.a : row.b", "is b"),
            ("claims.missing ? row.a : row.b", "error"),
            ("row.c ? row.a : row.b", "other"),
            ("row.items.exists(i, i == claims.sub)", "other"),
            ("claims.groups.exists(g, g == row.group)", "other"),
            ("row.owner.startsWith(claims.sub)", "other"),
        ] {
            let found = shown(&residual(text, &claims));
            // The whole variable has no name of its own here.
            let expected = expected.replace("[] = 1", " = 1");
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn running_out_of_steps_is_an_error_that_nothing_absorbs() {
        let claims = json!({"list": (0..300).collect::<Vec<_>>()});
        let text = "claims.list.exists(a, claims.list.exists(b, a + b < 0)) || row.open || true";
        assert_eq!(shown(&residual(text, &claims)), "error");
    }
}
