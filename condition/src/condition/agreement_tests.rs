//! Conditions of all kinds come out as the interpreter of the `cel` crate has them, and an index built from their
//! alternatives never misses a subscriber.

use std::collections::HashMap;

use cel::{Context, Program};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::node::Order;
use crate::path::{Place, Step};
use crate::residual::{Operation, Residual, Test};
use crate::vars::Found;

const VARIABLES: [&str; 2] = ["claims", "event"];

fn compiled(text: &str) -> Option<Condition> {
    Condition::compile(&Located::nowhere(text.to_owned()), &VARIABLES, &mut Report::default())
}

/// The same value for the interpreter. Its own conversion would make `uint` of positive integers.
fn for_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => cel::Value::Int(number),
            (None, Some(number)) => cel::Value::UInt(number),
            _ => cel::Value::Float(number.as_f64().unwrap()),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => list.iter().map(for_cel).collect::<Vec<cel::Value>>().into(),
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.clone(), for_cel(value))).collect::<HashMap<_, _>>().into()
        }
    }
}

fn by_cel(text: &str, claims: &Value, event: &Value) -> Option<bool> {
    let program = Program::compile(text).unwrap();
    let mut context = Context::default();
    context.add_variable_from_value("claims", for_cel(claims));
    context.add_variable_from_value("event", for_cel(event));
    match program.execute(&context) {
        Ok(cel::Value::Bool(result)) => Some(result),
        _ => None,
    }
}

/// Terms of any type, over the fields that values have or lack.
fn any_term() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("claims"),
        Just("event"),
        Just("claims.a"),
        Just("event.a"),
        Just("event.b"),
        Just("claims.b.a"),
        Just("event.b.a"),
        Just("event.a[0]"),
        Just("event['b']"),
        Just("event.b['a'][1]"),
        Just("event.missing"),
        Just("1"),
        Just("-1"),
        Just("0"),
        Just("2u"),
        Just("1.0"),
        Just("0.5"),
        Just("'a'"),
        Just("'b1'"),
        Just("''"),
        Just("true"),
        Just("false"),
        Just("null"),
        Just("[]"),
        Just("['a', 1]"),
        Just("{}"),
        Just("{'a': 1, 'b': [1]}"),
        Just("{1: 'a', 2u: 'b', true: 'c'}"),
        Just("9223372036854775807"),
        Just("18446744073709551615u"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let operator = prop_oneof![
            Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">="), Just("in"), Just("+"), Just("-"),
            Just("*"), Just("/"), Just("%"), Just("&&"), Just("||"),
        ];
        let method = prop_oneof![Just("startsWith"), Just("endsWith"), Just("contains")];
        let convert = prop_oneof![Just("int"), Just("uint"), Just("double"), Just("string"), Just("bool"), Just("size")];
        let fold = prop_oneof![Just("all"), Just("exists"), Just("exists_one"), Just("filter"), Just("map")];
        prop_oneof![
            6 => (two.clone(), operator).prop_map(|((l, r), operator)| format!("({l} {operator} {r})")),
            1 => inner.clone().prop_map(|term| format!("!({term})")),
            1 => inner.clone().prop_map(|term| format!("-({term})")),
            1 => inner.clone().prop_map(|term| format!("({term}).a")),
            1 => inner.clone().prop_map(|term| format!("has(({term}).a)")),
            1 => two.clone().prop_map(|(l, r)| format!("({l})[{r}]")),
            1 => two.clone().prop_map(|(l, r)| format!("[{l}, {r}]")),
            1 => two.clone().prop_map(|(l, r)| format!("{{'a': {l}, 'b': {r}}}")),
            1 => (two.clone(), inner.clone()).prop_map(|((c, y), n)| format!("(({c}) ? ({y}) : ({n}))")),
            1 => (two.clone(), method).prop_map(|((l, r), method)| format!("({l}).{method}({r})")),
            1 => inner.clone().prop_map(|term| format!("({term}).matches('^[a-b]+$')")),
            1 => (inner.clone(), convert).prop_map(|(term, convert)| format!("{convert}({term})")),
            2 => (two, fold, prop_oneof![Just("=="), Just("<"), Just("in"), Just("||"), Just("&&")])
                .prop_map(|((range, body), fold, operator)| format!("({range}).{fold}(x, x {operator} ({body}))")),
        ]
    })
}

/// Terms that mostly have the types that their operators want, so that many come out true or false.
fn any_typed() -> impl Strategy<Value = String> {
    let number = || {
        prop_oneof![
            Just("1"),
            Just("-1"),
            Just("2"),
            Just("0"),
            Just("2u"),
            Just("0.5"),
            Just("1.0"),
            Just("event.n"),
            Just("claims.n"),
            Just("event.half"),
            Just("event.big"),
            Just("event.list[1]"),
            Just("size(event.list)"),
            Just("int('7')"),
            Just("event.n + 1"),
            Just("event.n * 2 - 3"),
            Just("event.n % 2"),
            Just("claims.n / 2"),
            Just("double(event.n)"),
            Just("-event.n"),
            Just("uint(claims.n)"),
            Just("event.a"),
        ]
        .prop_map(str::to_owned)
    };
    let text = || {
        prop_oneof![
            Just("'a'"),
            Just("'b1'"),
            Just("''"),
            Just("claims.sub"),
            Just("event.owner"),
            Just("event.owner + '1'"),
            Just("string(event.n)"),
            Just("event['owner']"),
            Just("claims.roles[0]"),
            Just("event.a"),
            Just("{'a': 'b1', 'b': claims.sub}['a']"),
            Just("event.map.k"),
        ]
        .prop_map(str::to_owned)
    };
    let list = || {
        prop_oneof![
            Just("[]"),
            Just("['a', 1]"),
            Just("claims.roles"),
            Just("event.list"),
            Just("event.list + [2]"),
            Just("claims.roles + event.list"),
            Just("event.list.filter(f, f in claims.roles)"),
            Just("event.list.map(m, m)"),
            Just("claims.roles.map(r, r != 'a', r)"),
            Just("event.a"),
            Just("[claims.roles, []]"),
            Just("event.list.map(m, [m])"),
        ]
        .prop_map(str::to_owned)
    };
    let map = || {
        prop_oneof![
            Just("{}"),
            Just("event.map"),
            Just("claims"),
            Just("event"),
            Just("{'k': 'a'}"),
            Just("{1: 'a', 2u: 'b'}"),
            Just("{'k': claims.sub, 'l': [event.n]}"),
            Just("event.a"),
        ]
        .prop_map(str::to_owned)
    };
    let order = || prop_oneof![Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")];
    let equal = || prop_oneof![Just("=="), Just("!=")];
    let method = prop_oneof![Just("startsWith"), Just("endsWith"), Just("contains")];
    let any =
        || prop_oneof![number(), text(), list(), map(), Just("null".to_owned()), Just("true".to_owned())];
    let leaf = prop_oneof![
        3 => (number(), order(), number()).prop_map(|(l, o, r)| format!("({l} {o} {r})")),
        3 => (text(), order(), text()).prop_map(|(l, o, r)| format!("({l} {o} {r})")),
        2 => (list(), equal(), list()).prop_map(|(l, o, r)| format!("({l} {o} {r})")),
        2 => (map(), equal(), map()).prop_map(|(l, o, r)| format!("({l} {o} {r})")),
        2 => (any(), equal(), any()).prop_map(|(l, o, r)| format!("({l} {o} {r})")),
        2 => (any(), list()).prop_map(|(l, r)| format!("({l} in {r})")),
        2 => (any(), map()).prop_map(|(l, r)| format!("({l} in {r})")),
        2 => (text(), method, text()).prop_map(|(l, m, r)| format!("({l}).{m}({r})")),
        1 => text().prop_map(|l| format!("({l}).matches('^[ab]+')")),
        1 => map().prop_map(|l| format!("has(({l}).k)")),
        1 => (list(), number(), any()).prop_map(|(l, i, r)| format!("(({l})[{i}] == {r})")),
        1 => (map(), any(), any()).prop_map(|(l, i, r)| format!("(({l})[{i}] == {r})")),
        1 => Just("event.flag".to_owned()),
        1 => Just("event.a".to_owned()),
        1 => text().prop_map(|l| format!("bool({l})")),
    ];
    leaf.prop_recursive(3, 16, 3, move |inner| {
        let fold = prop_oneof![Just("all"), Just("exists"), Just("exists_one")];
        let body = prop_oneof![
            Just("x == 1"), Just("x in claims.roles"), Just("x < 2"), Just("x == claims.sub"), Just("x.k == 1"),
            Just("event.list.exists(y, y == x)"), Just("size(x) > 0"),
        ];
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} && {r})")),
            2 => (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} || {r})")),
            1 => inner.clone().prop_map(|l| format!("!{l}")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(c, y, n)| format!("({c} ? {y} : {n})")),
            2 => (list(), fold.clone(), body.clone()).prop_map(|(l, f, b)| format!("({l}).{f}(x, {b})")),
            1 => (map(), fold.clone(), body.clone()).prop_map(|(l, f, b)| format!("({l}).{f}(x, {b})")),
            1 => (list(), fold, inner).prop_map(|(l, f, b)| format!("({l}).{f}(x, {b} || x == 1)")),
        ]
    })
}

fn any_facts() -> impl Strategy<Value = (Value, Value)> {
    let number =
        || prop_oneof![3 => (-2i64..4).prop_map(Value::from), 1 => any::<i64>().prop_map(Value::from)];
    let text = || prop_oneof![Just("a"), Just("b1"), Just("b"), Just("")].prop_map(Value::from);
    let list =
        || prop::collection::vec(prop_oneof![number(), text(), any_value()], 0..4).prop_map(Value::from);
    let claims = (text(), number(), list());
    let event = (text(), number(), list(), any_value(), any::<bool>(), any::<f64>(), any::<u64>());
    (claims, event).prop_map(|((sub, n, roles), (owner, m, list, a, flag, half, big))| {
        let claims = json!({"sub": sub, "n": n, "roles": roles});
        let map = json!({"k": a, "l": list});
        (claims, json!({"owner": owner, "n": m, "list": list, "a": a, "flag": flag, "half": half, "big": big, "map": map}))
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!("a")),
        Just(json!("b1")),
        Just(json!("")),
        Just(json!(1)),
        Just(json!(-1)),
        Just(json!(2)),
        Just(json!(0.5)),
        Just(json!(1.0)),
        Just(json!(u64::MAX)),
        Just(json!(i64::MIN)),
        Just(json!("1")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[ab]", inner), 0..3).prop_map(|all| all.into_iter().collect::<Value>()),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Value> {
    (any_value(), any_value(), 0..4u8).prop_map(|(a, b, which)| match which {
        0 => json!({"a": a}),
        1 => json!({"b": b}),
        _ => json!({"a": a, "b": b}),
    })
}

/// Conditions as operators write them, so that alternatives of every kind come up.
fn any_rule() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => Just("claims.a == event.a".to_owned()),
        4 => Just("event.b == claims.a".to_owned()),
        2 => Just("claims.b == 'a'".to_owned()),
        2 => Just("has(claims.a)".to_owned()),
        1 => Just("event.a in claims.b".to_owned()),
        2 => any_term(),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let operator = prop_oneof![3 => Just("&&"), 3 => Just("||")];
        prop_oneof![
            4 => (inner.clone(), operator, inner.clone()).prop_map(|(l, operator, r)| format!("({l}) {operator} ({r})")),
            1 => inner.clone().prop_map(|rule| format!("!({rule})")),
            1 => (inner.clone(), inner).prop_map(|(c, y)| format!("({c}) ? ({y}) : false")),
        ]
    })
}

/// Whether the table at [`Alternative`] says that the part can be true.
fn can_be_true(alternative: &Alternative, vars: &Vars<'_>) -> bool {
    match alternative {
        Alternative::Other => true,
        Alternative::OfSubscriber(part) => part.holds(vars) == Ok(true),
        Alternative::Equal { left, right } => match (Place::find(left, vars), Place::find(right, vars)) {
            (Some(Found::Text(left)), Some(Found::Text(right))) => left == right,
            (Some(Found::Json(_)), Some(Found::Json(_))) => true,
            _ => false,
        },
    }
}

/// Decides what is left: `None` is an error.
fn left(residual: &Residual, vars: &Vars<'_>, event: &Value) -> Option<bool> {
    let all = |parts: &[Residual], decisive: bool| {
        let results: Vec<_> = parts.iter().map(|part| left(part, vars, event)).collect();
        match results {
            results if results.contains(&Some(decisive)) => Some(decisive),
            results if results.contains(&None) => None,
            _ => Some(!decisive),
        }
    };
    match residual {
        Residual::True => Some(true),
        Residual::False => Some(false),
        Residual::Error => None,
        Residual::And(parts) => all(parts, false),
        Residual::Or(parts) => all(parts, true),
        Residual::Not(part) => left(part, vars, event).map(|result| !result),
        Residual::Other(part) => part.holds(vars).ok(),
        Residual::Test(test) => {
            let found = asked(test, event);
            assert_eq!(found, test.part.holds(vars).ok(), "{test:?}");
            found
        }
    }
}

/// A test as its documentation has it.
fn asked(test: &Test, event: &Value) -> Option<bool> {
    let found = test.field.find(event);
    let equal = |one: &Value, other: &Value| match (one, other) {
        (Value::Number(_), Value::Number(_)) => compared(one, other) == Some(std::cmp::Ordering::Equal),
        _ => one == other,
    };
    match &test.operation {
        Operation::Equal(value) => found.map(|found| equal(found, value)),
        Operation::In(values) => found.map(|found| values.iter().any(|value| equal(found, value))),
        Operation::Ordered(order, value) => compared(found?, value).map(|found| match order {
            Order::Less => found.is_lt(),
            Order::LessOrEqual => found.is_le(),
            Order::Greater => found.is_gt(),
            Order::GreaterOrEqual => found.is_ge(),
        }),
        Operation::Present => {
            let (last, around) = test.field.steps().split_last()?;
            let around = FieldPath::new(around.iter().cloned()).find(event)?.as_object()?;
            let Step::Name(name) = last else { return None };
            Some(around.contains_key(&**name))
        }
        Operation::Holds => found?.as_bool(),
    }
}

fn compared(one: &Value, other: &Value) -> Option<std::cmp::Ordering> {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => match (whole(one), whole(other)) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
        },
        _ => None,
    }
}

fn whole(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or(number.as_u64().map(i128::from))
}

fn residual_agrees(text: &str, claims: &Value, event: &Value) -> Result<(), TestCaseError> {
    let Some(condition) = compiled(text) else { return Ok(()) };
    let vars = Vars::new().bind("claims", claims).bind("event", event);
    let residual = condition.residual(&Vars::new().bind("claims", claims), "event");
    prop_assert_eq!(left(&residual, &vars, event), condition.holds(&vars).ok(), "{} is {:?}", text, residual);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_left_comes_out_as_the_whole_does(text in any_term(), claims in any_object(), event in any_object()) {
        residual_agrees(&text, &claims, &event)?;
    }

    #[test]
    fn what_is_left_of_rules_comes_out_as_the_whole_does(text in any_rule(), claims in any_object(), event in any_object()) {
        residual_agrees(&text, &claims, &event)?;
    }

    #[test]
    fn what_is_left_of_typed_terms_comes_out_as_the_whole_does(text in any_typed(), (claims, event) in any_facts()) {
        residual_agrees(&text, &claims, &event)?;
    }

    #[test]
    fn terms_come_out_as_by_the_interpreter(text in any_term(), claims in any_object(), event in any_object()) {
        // Refused are those that never are boolean, and variables that hide others.
        let Some(condition) = compiled(&text) else { return Ok(()) };
        let ours = condition.holds(&Vars::new().bind("claims", &claims).bind("event", &event)).ok();
        prop_assert_eq!(ours, by_cel(&text, &claims, &event), "{} with claims {} event {}", text, claims, event);
    }

    #[test]
    fn typed_terms_come_out_as_by_the_interpreter(text in any_typed(), (claims, event) in any_facts()) {
        let Some(condition) = compiled(&text) else { return Ok(()) };
        let ours = condition.holds(&Vars::new().bind("claims", &claims).bind("event", &event)).ok();
        prop_assert_eq!(ours, by_cel(&text, &claims, &event), "{} with claims {} event {}", text, claims, event);
    }

    #[test]
    fn an_index_never_misses_a_subscriber(text in any_rule(), claims in any_object(), event in any_object()) {
        let Some(condition) = compiled(&text) else { return Ok(()) };
        let vars = Vars::new().bind("claims", &claims).bind("event", &event);
        let alternatives = condition.alternatives(&["claims"]);
        if condition.holds(&vars) == Ok(true) {
            prop_assert!(alternatives.iter().any(|alternative| can_be_true(alternative, &vars)), "{}", text);
        }
    }

    #[test]
    fn pruned_values_come_out_like_whole_ones(text in any_rule(), claims in any_object(), event in any_object()) {
        let Some(condition) = compiled(&text) else { return Ok(()) };
        let paths = match condition.reads("event") {
            Reads::Nothing => Vec::new(),
            Reads::Paths(paths) => paths,
            Reads::Whole => vec![FieldPath::default()],
        };
        let pruned = crate::Projection::new(paths).read(event.to_string().as_bytes()).unwrap();
        let whole = condition.holds(&Vars::new().bind("claims", &claims).bind("event", &event));
        let part = condition.holds(&Vars::new().bind("claims", &claims).bind("event", &pruned));
        prop_assert_eq!(whole.ok(), part.ok(), "{}", text);
    }

    #[test]
    fn no_text_does_harm(text in r#"[a-z.'"()\[\]{}?:!=<>&|+\-*/%0-9 ,\\\n]{0,60}"#) {
        let _ = compiled(&text).map(|condition| condition.holds(&Vars::new()));
    }
}
