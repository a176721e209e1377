use std::path::Path;

use sallyport_config::load_text;

use super::*;

/// Compiles a view in a configuration that is otherwise sound. What was told goes with it.
pub(in crate::views) fn compile_told(view: &str) -> (Option<Arc<ViewPlan>>, String) {
    let indented: String = view.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "version: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:8080\" }} }}\nkafka: {{ main: {{ brokers: [\"k:9092\"] }} }}\nviews:\n  v:\n{indented}routes: [{{ match: /, respond: {{ status: 204 }} }}]\n"
    );
    match load_text("routes.yaml", &text, Path::new("."), &|_| None) {
        Ok((loaded, mut report)) => {
            let views = Views::compile(&loaded.config, &mut report);
            (views.and_then(|views| views.find("v").cloned()), report.to_string())
        }
        Err(report) => (None, report.to_string()),
    }
}

/// Compiles a view that is sound.
pub(in crate::views) fn compiled(view: &str) -> Arc<ViewPlan> {
    let (plan, told) = compile_told(view);
    plan.unwrap_or_else(|| panic!("{told}"))
}

const VIEW: &str = "topic: t\nkey: $.id\nvisible_to: row.owner == claims.sub\nindexes: [\"status, made\"]\nfold:\n  - on: { type: made }\n    set: { owner: $.o, status: '\"new\"', made: ce.time }\n  - on: { type: counted }\n    increment: { n: 1 }\n    max: { last: $.t }\n";

#[test]
fn a_plan_knows_its_fields_and_columns() {
    let plan = compiled(VIEW);
    assert_eq!(
        plan.fields.names().iter().map(|name| &**name).collect::<Vec<_>>(),
        ["owner", "status", "made", "n", "last"]
    );
    let columns: Vec<&str> = plan.table.columns.iter().map(|column| &*column.field).collect();
    assert_eq!((columns, &plan.table.indexes), (vec!["status", "made", "owner"], &vec![vec![0, 1]]));
    assert_eq!((&*plan.cluster, plan.row_bytes, plan.rows_max), ("main", 65536, 10_000_000));
}

#[test]
fn a_fingerprint_is_of_what_makes_rows() {
    let print = |view: &str| compiled(view).fingerprint.clone();
    let same = print(VIEW);
    assert_eq!(&*same, "d64d5394a2a8b74cdcae4a3540a4b8a1");
    assert_eq!(print(&VIEW.replace("\"status, made\"", "owner")), same);
    assert_eq!(print(&VIEW.replace("row.owner == claims.sub", "'true'")), same);
    for (from, to) in [
        ("$.id", "key"),
        ("increment: { n: 1 }", "increment: { n: 2 }"),
        ("topic: t", "topic: u"),
        ("fold:", "row_bytes: 1KiB\nfold:"),
    ] {
        assert_ne!(print(&VIEW.replace(from, to)), same, "{to}");
    }
}

/// Refusals, and the way out of each.
#[test]
fn what_cannot_be_meant_is_refused() {
    for (from, to, expected) in [
        ("\"status, made\"", "statsu", "no rule gives rows a field `statsu`"),
        ("\"status, made\"", "statsu", "did you mean `status`?"),
        ("\"status, made\"", "\"n, n\"", "`n` stands twice in this index"),
        ("row.owner ==", "row.ownr ==", "did you mean `owner`?"),
        ("row.owner ==", "event.owner ==", "unknown variable `event`"),
        ("increment: { n: 1 }", "increment: { n: '\"1\"' }", "it is no number"),
        ("max: { last: $.t }", "max: { last: true }", "`true` cannot be compared"),
        ("max: { last: $.t }", "unset: [n]", "gives `n` a value and takes it away again"),
        ("max: { last: $.t }", "delete: true", "a rule that deletes the row changes nothing else"),
        ("increment: { n: 1 }\n    max: { last: $.t }", "create: false", "this rule does nothing"),
        ("max: { last: $.t }", "max: { \"a b\": $.t }", "`a b` cannot be a field of a row"),
        ("max: { last: $.t }", "max: { last: t }", "the field of the data is `$.t`"),
        ("type: counted", "field: { kind: x }", "write `$.kind`"),
        ("type: counted", "tombstone: true", "write `key: key` for the view"),
        ("type: counted", "tombstone: true", "a record without a value has no data to read"),
        ("type: counted", "tombstone: true, field: { $.a: b }", "has no data to ask about"),
        ("type: counted", "tombstone: true, when: event.a == 1", "has no data to ask about"),
        ("key: $.id", "key: '1'", "all events would belong to one row"),
        ("key: $.id", "key: $.id\nordered_by: '1'", "a constant orders nothing"),
        ("key: $.id", "key: $.id\nunique: { by: '\"x\"' }", "every event would be a duplicate"),
        ("key: $.id", "key: $..id", "can lead to several values"),
        (&VIEW[VIEW.find("fold:").unwrap()..], "fold: []\n", "this view has no rules"),
    ] {
        let (plan, told) = compile_told(&VIEW.replace(from, to));
        assert!(plan.is_none() && told.contains(expected), "{to}: {told}");
    }
}

#[test]
fn a_rule_that_nothing_reaches_is_warned_of() {
    for (on, warned) in
        [("{ type: made }", true), ("{ type: other }", false), ("{ type: made, header: { a: b } }", false)]
    {
        let (plan, told) = compile_told(&VIEW.replace("{ type: counted }", on));
        assert!(plan.is_some());
        assert_eq!(told.contains("rule 1 of this view takes them"), warned, "{on}: {told}");
    }
    let (_, told) = compile_told(&VIEW.replace("{ type: made }", "{}"));
    assert!(told.contains("rule 1 of this view takes them"), "{told}");
    let tombstone = "topic: t\nkey: key\nvisible_to: 'true'\nfold: [{ on: {}, set: { a: 1 } }, { on: { tombstone: true }, delete: true }]";
    let (_, told) = compile_told(tombstone);
    assert_eq!(told, "");
}

#[test]
fn numbers_may_be_written_without_quotes() {
    let plan = compiled(
        "topic: t\nkey: key\nvisible_to: 'true'\nfold: [{ on: {}, set: { a: 1, b: true, c: -1.5 } }]",
    );
    let literal = |text: &str| super::super::rule::Change::Set(Expression::Literal(text.into()));
    let changes: Vec<_> = plan.rules[0].effects.iter().map(|effect| &effect.change).collect();
    assert_eq!(changes, [&literal("1"), &literal("true"), &literal("-1.5")]);
}
