//! What SQL shows is what the condition allows, row by row.

use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::Connection;
use sallyport_condition::Vars;
use serde_json::json;

use super::super::parameters::Wanted;
use super::super::readers::add_row_holds;
use super::super::shape::Shape;
use super::super::statement::Statements;
use super::super::testing::shape_for;
use super::*;
use crate::views::table::Table;

/// Columns for a, b and c; d is read, and has none.
fn view(visible_to: &str) -> Shape {
    let mut shape = shape_for(visible_to);
    shape.fields = ["a", "b", "c", "d"].map(Into::into).into();
    shape.table = Table::default();
    for field in &shape.fields[..3] {
        shape.table.add(field);
    }
    shape.table.indexes = vec![vec![0]];
    shape
}

fn store(shape: &Shape, rows: &[Value]) -> Connection {
    let store = Connection::open_in_memory().unwrap();
    shape.table.create(&store).unwrap();
    shape.table.create_indexes(&store).unwrap();
    for (number, row) in rows.iter().enumerate() {
        let columns = ["a", "b", "c"]
            .map(|field| ColumnValue::of_field(row.get(field).map(Value::to_string).as_deref()));
        let [a, b, c] = columns;
        let sql = "INSERT INTO rows(key, doc, f_a, f_b, f_c) VALUES (?1, ?2, ?3, ?4, ?5)";
        store.execute(sql, (number.to_string(), row.to_string().into_bytes(), a, b, c)).unwrap();
    }
    store
}

/// The rows that a page of all rows shows, and the number that it counts.
fn shown(store: &Connection, shape: &Shape, claims: Option<&Arc<Value>>) -> (Vec<usize>, usize, String) {
    let wanted = Wanted::read("limit=200&count=true", shape).unwrap();
    let statements = Statements::of_page(&wanted, shape, claims);
    let parts = statements.parts.clone();
    add_row_holds(store, move |part, doc| parts.holds(part, doc)).unwrap();
    let params = |sql: &str| {
        let count = store.prepare(sql).unwrap().parameter_count();
        rusqlite::params_from_iter(statements.values[..count].to_vec())
    };
    let sql = &statements.page[0];
    let mut statement = store.prepare(sql).unwrap();
    let keys = statement.query_map(params(sql), |row| row.get::<_, String>(0)).unwrap();
    let mut keys: Vec<usize> = keys.map(|key| key.unwrap().parse().unwrap()).collect();
    keys.sort_unstable();
    let count = statements.count.as_ref().unwrap();
    let count = store.query_row(count, params(count), |row| row.get(0)).unwrap();
    (keys, count, sql.clone())
}

fn hot_key(shape: &Shape, claims: Option<&Arc<Value>>) -> Vec<u8> {
    let mut key = Vec::new();
    Statements::of_page(&Wanted::read("", shape).unwrap(), shape, claims).fingerprint(&mut key);
    key
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!("a")),
        Just(json!("b")),
        Just(json!("")),
        Just(json!("1")),
        Just(json!("é\u{0}")),
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(-1)),
        Just(json!(1.0)),
        Just(json!(0.5)),
        Just(json!(9_007_199_254_740_992_i64)),
        Just(json!(9_007_199_254_740_993_i64)),
        Just(json!(9_007_199_254_740_992.0)),
        Just(json!(i64::MIN)),
        Just(json!(u64::MAX)),
        Just(json!(u64::MAX - 1)),
    ];
    prop_oneof![
        6 => scalar.clone(),
        1 => prop::collection::vec(scalar.clone(), 0..3).prop_map(Value::from),
        1 => scalar.prop_map(|value| json!({"k": value})),
    ]
}

fn any_object() -> impl Strategy<Value = Value> {
    prop::collection::vec((prop::sample::select(vec!["a", "b", "c", "d"]), any_value()), 0..5)
        .prop_map(|all| all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn any_condition() -> impl Strategy<Value = String> {
    let field = || prop::sample::select(vec!["row.a", "row.b", "row.c", "row.d", "row.a.k", "row.b[0]"]);
    let known = || {
        prop::sample::select(vec![
            "claims.a",
            "claims.b",
            "claims.c",
            "'a'",
            "''",
            "'é\\u0000'",
            "1",
            "0",
            "0.5",
            "1.0",
            "2u",
            "true",
            "false",
            "null",
            "9007199254740992",
            "9007199254740993",
            "9007199254740992.0",
            "18446744073709551615u",
            "-1",
            "claims.a + 1",
            "[1]",
            "{'k': 1}",
            "0.0 / 0.0",
        ])
    };
    let operator = || prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let list = || {
        prop::sample::select(vec![
            "claims.a",
            "claims.b",
            "['a', 1]",
            "[]",
            "['a']",
            "[true, 0.5]",
            "[null]",
            "[9007199254740993]",
            "[claims.a, 'b']",
            "{'a': 1}",
        ])
    };
    let leaf = prop_oneof![
        6 => (field(), operator(), known()).prop_map(|(l, o, r)| format!("{l} {o} {r}")),
        3 => (known(), operator(), field()).prop_map(|(l, o, r)| format!("{l} {o} {r}")),
        2 => (field(), operator(), field()).prop_map(|(l, o, r)| format!("{l} {o} {r}")),
        3 => (field(), list()).prop_map(|(l, r)| format!("{l} in {r}")),
        1 => (known(), field()).prop_map(|(l, r)| format!("{l} in {r}")),
        2 => prop::sample::select(vec!["has(row.a)", "has(row.b)", "has(row.d)", "has(row.a.k)", "has(claims.a)", "has(claims.a.k)"]).prop_map(str::to_owned),
        2 => field().prop_map(str::to_owned),
        2 => (known(), operator(), known()).prop_map(|(l, o, r)| format!("{l} {o} {r}")),
        1 => field().prop_map(|l| format!("{l}.startsWith('a')")),
        1 => field().prop_map(|l| format!("{l}.exists(x, x == claims.a)")),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            3 => (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} && {r})")),
            3 => (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} || {r})")),
            3 => inner.clone().prop_map(|l| format!("!({l})")),
            1 => (inner.clone(), inner.clone(), inner).prop_map(|(c, y, n)| format!("(({c}) ? ({y}) : ({n}))")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn rows_are_shown_whose_condition_holds(
        condition in any_condition(),
        claims in prop::collection::vec(any_object(), 2),
        rows in prop::collection::vec(any_object(), 1..16),
    ) {
        let shape = view(&condition);
        let store = store(&shape, &rows);
        let claims: Vec<_> = claims.into_iter().map(|claims| Some(Arc::new(claims))).chain([None]).collect();
        let mut seen: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
        for claims in &claims {
            let vars = claims.as_ref().map_or_else(Vars::new, |claims| Vars::new().bind("claims", claims));
            let holds = |number: &usize| shape.visible_to.holds(&vars.clone().bind("row", &rows[*number])) == Ok(true);
            let expected: Vec<usize> = (0..rows.len()).filter(holds).collect();
            let (found, count, sql) = shown(&store, &shape, claims.as_ref());
            prop_assert_eq!(&found, &expected, "{} for {:?} is {}", condition, claims, sql);
            prop_assert_eq!(count, expected.len());
            // Nobody gets what is kept for somebody who sees something else, whatever the rows are.
            let key = hot_key(&shape, claims.as_ref());
            for (other, rows) in &seen {
                prop_assert!(*other != key || *rows == found, "{} for {:?} shares its key", condition, claims);
            }
            seen.push((key, found));
        }
    }
}

#[test]
fn what_columns_tell_is_not_asked_of_rows() {
    let claims = Arc::new(json!({"sub": "u1", "roles": ["clerk"], "groups": ["g", 1], "level": 3}));
    for (condition, expected) in [
        ("true", "1"),
        ("claims.missing == 1", "0"),
        ("row.a == claims.sub || 'admin' in claims.roles", "\"f_a\" = ?2"),
        ("row.a == claims.sub || 'clerk' in claims.roles", "1"),
        ("row.b in claims.groups && row.c", "\"f_c\" = ?2 AND \"f_b\" IN (?3, ?4)"),
        ("row.a == claims.sub || !row.b", "(\"f_a\" = ?2 OR \"f_b\" = ?3)"),
        ("row.a < claims.level", "(\"f_a\" < ?2)"),
        ("!(row.a < claims.sub)", "(\"f_a\" >= ?2 AND \"f_a\" < x'')"),
        ("row.a != claims.sub", "(\"f_a\" <> ?2 OR (\"f_a\" IS NULL AND row_holds(0, doc)))"),
        ("has(row.a)", "(\"f_a\" IS NOT NULL OR row_holds(0, doc))"),
        ("row.d == claims.sub", "row_holds(0, doc)"),
        ("row.a.startsWith(claims.sub)", "row_holds(0, doc)"),
    ] {
        let shape = view(condition);
        let statements = Statements::of_page(&Wanted::read("", &shape).unwrap(), &shape, Some(&claims));
        let sql =
            format!("SELECT key, doc, NULL AS ordered FROM rows WHERE {expected} ORDER BY key LIMIT ?1");
        assert_eq!(statements.page, [sql], "{condition}");
    }
}

#[test]
fn answers_are_shared_by_those_who_see_the_same_and_nobody_else() {
    let key = |condition: &str, claims: Value| hot_key(&view(condition), Some(&Arc::new(claims)));
    let admins = "row.a == claims.sub || 'admin' in claims.roles";
    let admin = |sub: &str| key(admins, json!({"sub": sub, "roles": ["admin"]}));
    let clerk = |sub: &str| key(admins, json!({"sub": sub, "roles": []}));
    assert_eq!(admin("u1"), admin("u2"));
    assert_ne!(clerk("u1"), clerk("u2"));
    assert_ne!(clerk("u1"), admin("u1"));
    // Numbers are not texts.
    assert_ne!(
        key("row.a == claims.sub", json!({"sub": 1})),
        key("row.a == claims.sub", json!({"sub": "1"}))
    );
    // What only the rows themselves can say depends on the claims that it reads.
    let reads =
        |readers: Value, other: i32| key("claims.sub in row.a", json!({"sub": readers, "other": other}));
    assert_eq!(reads(json!("u1"), 1), reads(json!("u1"), 2));
    assert_ne!(reads(json!("u1"), 1), reads(json!("u2"), 1));
    assert_ne!(reads(json!(null), 1), key("claims.sub in row.a", json!({"other": 1})));
    // `has` of a claim that is not there is false, and an error where there is nothing to look into.
    let unsure = "(row.d ? has(claims.a.k) : !has(claims.a.k))";
    assert_ne!(key(unsure, json!({"a": {}})), key(unsure, json!({})));
    let unsure = view("(row.d ? has(claims.a) : !has(claims.a))");
    assert_ne!(hot_key(&unsure, Some(&Arc::new(json!({})))), hot_key(&unsure, None));
}
