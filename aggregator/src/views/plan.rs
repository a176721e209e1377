//! `views:`, compiled: every expression, condition and name resolved, nothing opened and nothing started.

use std::hash::Hasher;
use std::sync::Arc;

use sallyport_condition::{Condition, FieldPath, Projection, Reads, Step};
use sallyport_config::view::{View, ViewQuery};
use sallyport_config::{Config, Located, Report};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::expression::{Expression, Paths};
use super::rule::{Fields, RulePlan};
use super::slices::Slices;
use super::table::Table;

/// Indexes of a view.
pub const INDEXES_MAX: usize = 16;

/// What `visible_to` may use.
const OF_ROWS: [&str; 2] = ["row", "claims"];

/// Counts up when the same rules begin to make other rows of the same events: every store is built anew then.
const FOLD_VERSION: u32 = 1;

/// All views, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Views {
    all: Vec<Arc<ViewPlan>>,
}

/// A view.
#[derive(Debug)]
pub struct ViewPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The Kafka cluster.
    pub cluster: Arc<str>,
    /// The topics, each once.
    pub topics: Vec<Arc<str>>,
    /// The row's key.
    pub key: Expression,
    /// What events do, in order.
    pub rules: Vec<RulePlan>,
    /// What tells an event apart, and how many are remembered.
    pub unique: Option<(Expression, u64)>,
    /// What orders the events of a key.
    pub ordered_by: Option<Expression>,
    /// The fields that rules give rows.
    pub fields: Fields,
    /// The columns and indexes of the store: what is in `indexes`, then what `visible_to` reads.
    pub table: Table,
    /// Who may see a row: over `row` and `claims`.
    pub visible_to: Condition,
    /// How rows are asked for.
    pub query: ViewQuery,
    /// Where records go that cannot be folded.
    pub dead_letter: Option<Arc<str>>,
    /// The most rows.
    pub rows_max: u64,
    /// Bytes of a row as JSON.
    pub row_bytes: usize,
    /// Equal for plans that make the same rows of the same events. Hexadecimal.
    pub fingerprint: Box<str>,
    /// What expressions and `on` read of the data.
    pub(super) slices: Slices,
    /// What `when` of the rules reads of the data.
    pub(super) projection: Projection,
}

impl Views {
    /// Compiles `views:`. `None` if the report has got errors. The names it uses were checked when the configuration was
    /// loaded.
    pub fn compile(config: &Config, report: &mut Report) -> Option<Views> {
        let before = report.errors().count();
        let compiled = config.views.iter().filter_map(|(name, view)| {
            ViewPlan::compile(name, view, config.cluster(view.kafka.as_ref()).into(), report).map(Arc::new)
        });
        let all = compiled.collect();
        (report.errors().count() == before).then_some(Views { all })
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<ViewPlan>] {
        &self.all
    }

    /// The view of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<ViewPlan>> {
        self.all.iter().find(|view| *view.name == *name)
    }
}

impl ViewPlan {
    fn compile(
        name: &Located<String>,
        view: &Located<View>,
        cluster: Arc<str>,
        report: &mut Report,
    ) -> Option<ViewPlan> {
        let before = report.errors().count();
        let (mut paths, mut fields) = (Paths::default(), Fields::default());
        let mut expression =
            |source: &Located<String>, report: &mut Report| Expression::compile(source, &mut paths, report);
        let key = expression(&view.key, report);
        let unique = view.unique.as_ref().map(|unique| (expression(&unique.by, report), unique.keep));
        let ordered_by = view.ordered_by.as_ref().map(|source| expression(source, report));
        check_constants(view, key.as_ref(), report);
        let rules: Vec<Option<RulePlan>> =
            view.fold.iter().map(|rule| RulePlan::compile(rule, &mut fields, &mut paths, report)).collect();
        if view.fold.is_empty() {
            report
                .error(view.at, "this view has no rules")
                .hint("write `fold: [{ on: { type: ... }, set: { ... } }]`");
        }
        check_tombstones(view, key.as_ref(), &rules, ordered_by.as_ref(), unique.as_ref(), report);
        check_reach(view, &rules, report);
        // What rules with errors would set is not known.
        let sound = report.errors().count() == before;
        let mut table = Table::default();
        compile_indexes(view, &fields, sound, &mut table, report);
        let visible_to = Condition::compile(&view.visible_to, &OF_ROWS, report);
        if let Some(condition) = &visible_to {
            add_visible(condition, &view.visible_to, &fields, sound, &mut table, report);
        }
        if report.errors().count() > before {
            return None;
        }
        let rules: Vec<RulePlan> = rules.into_iter().collect::<Option<_>>()?;
        let asked = rules.iter().flat_map(|rule| rule.on.when_reads());
        let projection = Projection::new(asked.collect::<Vec<_>>());
        let topics: Vec<Arc<str>> = view.topic.0.iter().map(|topic| topic.as_str().into()).collect();
        let type_path = paths.number(FieldPath::of_names(["type"]));
        Some(ViewPlan {
            name: name.as_str().into(),
            fingerprint: fingerprint(&cluster, view),
            cluster,
            topics,
            key: key?,
            unique: match unique {
                Some((by, keep)) => Some((by?, keep)),
                None => None,
            },
            ordered_by: match ordered_by {
                Some(by) => Some(by?),
                None => None,
            },
            slices: Slices::new(paths.all(), type_path),
            projection,
            rules,
            fields,
            table,
            visible_to: visible_to?,
            query: view.query.clone(),
            dead_letter: view.dead_letter.as_ref().map(|topic| topic.as_str().into()),
            rows_max: view.rows_max,
            row_bytes: usize::try_from(view.row_bytes.0).unwrap_or(usize::MAX),
        })
    }
}

/// Expressions that would be the same for all events.
fn check_constants(view: &View, key: Option<&Expression>, report: &mut Report) {
    if matches!(key, Some(Expression::Literal(_))) {
        report
            .error(view.key.at, "all events would belong to one row")
            .hint("a text of the event is `$.path`, `key`, `ce.subject` or `header.name`");
    }
    let others = [
        view.unique.as_ref().map(|unique| (&unique.by, "every event would be a duplicate of the first")),
        view.ordered_by.as_ref().map(|source| (source, "a constant orders nothing")),
    ];
    for (source, message) in others.into_iter().flatten() {
        if serde_json::from_str::<&serde_json::value::RawValue>(source.trim()).is_ok() {
            report.error(source.at, message).hint("such as `ce.id`, `ce.time` or `$.version`");
        }
    }
}

/// Records without a value have a key and headers only.
fn check_tombstones(
    view: &View,
    key: Option<&Expression>,
    rules: &[Option<RulePlan>],
    ordered_by: Option<&Option<Expression>>,
    unique: Option<&(Option<Expression>, u64)>,
    report: &mut Report,
) {
    for (rule, _) in view.fold.iter().zip(rules).filter(|(rule, _)| rule.on.tombstone) {
        if key.is_some_and(|key| *key != Expression::Key) {
            report
                .error(rule.on.at, "records without a value only have their own key")
                .hint("write `key: key` for the view, or leave `tombstone` out");
        }
        let reads = |expression: Option<&Expression>| expression.is_some_and(Expression::reads_data);
        if reads(ordered_by.and_then(Option::as_ref)) || reads(unique.and_then(|(by, _)| by.as_ref())) {
            report
                .error(
                    rule.on.at,
                    "records without a value have no data, which `ordered_by` or `unique` of this view reads",
                )
                .hint("`timestamp`, `ce.id` and `header.name` are there without a value, too");
        }
    }
}

/// Rules that never get anything, because an earlier one takes it.
fn check_reach(view: &View, rules: &[Option<RulePlan>], report: &mut Report) {
    let written: Vec<String> =
        view.fold.iter().map(|rule| serde_json::to_string(&rule.on).unwrap_or_default()).collect();
    for (later, rule) in view.fold.iter().enumerate() {
        let earlier = (0..later).find(|earlier| {
            let any = rules[*earlier]
                .as_ref()
                .is_some_and(|earlier| earlier.on.is_any() && earlier.on.tombstone == rule.on.tombstone);
            any || written[*earlier] == written[later]
        });
        if let Some(earlier) = earlier {
            let number = earlier + 1;
            report
                .warning(rule.on.at, format!("no event gets here: rule {number} of this view takes them"))
                .hint("the first rule that fits is carried out, further ones are not");
        }
    }
}

fn compile_indexes(view: &View, fields: &Fields, sound: bool, table: &mut Table, report: &mut Report) {
    if let Some(index) = view.indexes.get(INDEXES_MAX) {
        report.error(index.at, format!("a view has at most {INDEXES_MAX} indexes"));
    }
    for index in view.indexes.iter().take(INDEXES_MAX) {
        let mut columns: Vec<usize> = Vec::new();
        for name in index.split(',').map(str::trim) {
            let Some(field) = fields.number(name) else {
                if sound {
                    let error = report.error(index.at, format!("no rule gives rows a field `{name}`"));
                    hint_fields(error, name, fields);
                }
                continue;
            };
            let column = table.add(&fields.names()[field]);
            if columns.contains(&column) {
                report.error(index.at, format!("`{name}` stands twice in this index"));
            }
            columns.push(column);
        }
        table.indexes.push(columns);
    }
}

/// Adds a column for each field that `visible_to` reads of the row.
fn add_visible(
    condition: &Condition,
    source: &Located<String>,
    fields: &Fields,
    sound: bool,
    table: &mut Table,
    report: &mut Report,
) {
    let Reads::Paths(paths) = condition.reads("row") else { return };
    for path in paths {
        let Some(Step::Name(name)) = path.steps().first() else { continue };
        match fields.number(name) {
            Some(field) => drop(table.add(&fields.names()[field])),
            None if sound => {
                let error = report.error(source.at, format!("no rule gives rows a field `{name}`"));
                hint_fields(error, name, fields);
            }
            None => {}
        }
    }
}

fn hint_fields(error: &mut sallyport_config::Diagnostic, name: &str, fields: &Fields) {
    match fields.nearest(name) {
        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
        None => error.hint(format!("there are: {}", fields.names().join(", "))),
    };
}

/// What rows depend on: where events come from and what becomes of them. Indexes, visibility and queries can change
/// without another row. The keys are fixed: it is compared with what other builds have written.
fn fingerprint(cluster: &str, view: &View) -> Box<str> {
    // As text, member by member in the order of the file: it decides the order of a row's fields.
    let events = (cluster, &view.topic, &view.key, &view.unique, &view.ordered_by);
    let settings = (FOLD_VERSION, events, &view.fold, view.rows_max, &view.row_bytes);
    let settings = serde_json::to_string(&settings).unwrap_or_default();
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(settings.as_bytes());
    format!("{:032x}", hasher.finish128().as_u128()).into()
}

#[cfg(test)]
pub(super) mod tests;
