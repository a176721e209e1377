//! A condition: compiled once, asked often.

use std::fmt;
use std::sync::Arc;
use std::thread;

use cel::Env;
use sallyport_config::{Located, Report};

use crate::alternative::{self, Alternative};
use crate::compile;
use crate::evaluate::{self, EvaluationError};
use crate::node::Node;
use crate::path::FieldPath;
use crate::refusal::Refusals;
use crate::vars::Vars;

/// Bytes of a condition's text.
const SOURCE_BYTES_MAX: usize = 4096;

/// How deep the parser goes into brackets before it gives up.
const PARSER_DEPTH_MAX: u16 = 32;

/// Stack of the thread that parses. The parser needs some kilobytes for each operator of a chain; 4 KiB of text hold at
/// most about two thousand. Only what is touched becomes memory, and only while a configuration is loaded.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// A condition in CEL, <https://cel.dev>. Cheap to clone.
///
/// # The language
///
/// CEL's operators (`== != < <= > >= && || ! ?: in + - * / %`), fields and indices, lists and maps, `has(a.b)`,
/// `size`, `startsWith`, `endsWith`, `contains`, `matches`, `bool`, `int`, `uint`, `double`, `string`, and over lists
/// and maps `all`, `exists`, `exists_one`, `filter`, `map`. Not: bytes, messages, optional values, time stamps and
/// durations, `dyn`, `type`. What is unknown is refused when the condition is compiled, not when it is asked.
///
/// Integers of JSON are `int`, above its range `uint`, other numbers `double`; equality and order go by value across the
/// three, arithmetic does not mix them. A field that is missing is an error, and an error means no.
///
/// # What it may cost
///
/// The text is at most 4 KiB, with at most 1024 parts, 64 deep. Patterns of `matches` are literals, compiled once, of at
/// most 256 KiB. An evaluation takes at most [`STEPS_MAX`](crate::STEPS_MAX) steps; one that wants more is an error
/// that nothing absorbs. Comparing fields with each other or with literals allocates nothing.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    root: Arc<Node>,
}

/// What a condition reads of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    /// Not the variable at all.
    Nothing,
    /// These fields; none begins with another.
    Paths(Vec<FieldPath>),
    /// All of it: it is used as a whole, or by an index that is only known when it is asked.
    Whole,
}

impl Condition {
    /// Compiles a condition that may use these variables. Faults are told at their place in the file.
    pub fn compile(
        source: &Located<String>,
        variables: &[&'static str],
        report: &mut Report,
    ) -> Option<Condition> {
        let mut refusals = Refusals { source, report };
        if source.value.len() > SOURCE_BYTES_MAX {
            refusals.whole(format!(
                "a condition has at most {SOURCE_BYTES_MAX} bytes; this has {}",
                source.value.len()
            ));
            return None;
        }
        if source.value.trim().is_empty() {
            refusals.whole("this condition is empty").hint("`true` always holds");
            return None;
        }
        let root = parse(source, variables, refusals)?;
        Some(Condition { source: source.value.as_str().into(), root: Arc::new(root) })
    }

    /// A part of a condition as a condition of its own. Its text is that of the whole.
    pub(crate) fn part(&self, root: Node) -> Condition {
        Condition { source: self.source.clone(), root: Arc::new(root) }
    }

    /// The text that it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it always holds.
    pub fn is_always(&self) -> bool {
        matches!(*self.root, Node::Bool(true))
    }

    /// What it may read of a variable.
    pub fn reads(&self, variable: &str) -> Reads {
        let mut paths: Vec<FieldPath> = Vec::new();
        self.root.each_place(&mut |name, path| {
            if **name == *variable {
                paths.push(path);
            }
        });
        if paths.iter().any(FieldPath::is_whole) {
            return Reads::Whole;
        }
        paths.sort();
        // In this order a path stands before those that begin with it.
        paths.dedup_by(|later, earlier| later.steps().starts_with(earlier.steps()));
        if paths.is_empty() { Reads::Nothing } else { Reads::Paths(paths) }
    }

    /// Whether it holds.
    ///
    /// # Errors
    ///
    /// Where it cannot be decided, or comes out as something else than true or false. Take that for no.
    pub fn holds(&self, vars: &Vars<'_>) -> Result<bool, EvaluationError> {
        evaluate::holds(&self.root, vars)
    }

    /// The parts of its outermost `||`, or itself if there is none. It can only hold where at least one of them can.
    /// `subject` names the variables that belong to a subscriber, such as `claims` and `channel`.
    pub fn alternatives(&self, subject: &[&str]) -> Vec<Alternative> {
        match &*self.root {
            Node::Or(parts) => parts.iter().map(|part| alternative::classify(self, part, subject)).collect(),
            whole => vec![alternative::classify(self, whole, subject)],
        }
    }
}

/// Parses and compiles on a thread of its own: the parser recurses for every operator of a chain, which needs more stack
/// than a runtime's threads have, and a panic of it must not be one of ours.
fn parse(source: &Located<String>, variables: &[&'static str], refusals: Refusals<'_>) -> Option<Node> {
    let Refusals { report, .. } = refusals;
    let work = |report: &mut Report| {
        let mut refusals = Refusals { source, report };
        // Without macros: `has` and `exists` are compiled as they are written, not as the loops they stand for.
        let env = Env::default().with_optional_support(false);
        let parser = env.parser().max_recursion_depth(PARSER_DEPTH_MAX);
        match parser.parse_with_source_info(&source.value) {
            Ok((tree, info)) => compile::compile(&tree, &info, variables, refusals),
            Err(errors) => {
                refusals.syntax(&errors.errors);
                None
            }
        }
    };
    let outcome = thread::scope(|scope| {
        let thread = thread::Builder::new().name("condition".to_owned()).stack_size(PARSER_STACK_BYTES);
        thread.spawn_scoped(scope, || work(report)).ok()?.join().ok()
    });
    outcome.unwrap_or_else(|| {
        Refusals { source, report }.whole("this condition cannot be compiled: the parser failed on it");
        None
    })
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.source).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const VARIABLES: [&str; 7] = ["claims", "event", "ce", "tags", "key", "channel", "id"];

    fn compiled(text: &str) -> Result<Condition, String> {
        let mut report = Report::default();
        let file = report.add_source("routes.yaml", format!("when: {text}\n"));
        let at = sallyport_config::Location { file, line: 1, column: 7 };
        let condition = Condition::compile(&Located::new(text.to_owned(), at), &VARIABLES, &mut report);
        condition.ok_or_else(|| report.to_string())
    }

    fn condition(text: &str) -> Condition {
        compiled(text).unwrap_or_else(|report| panic!("{text}: {report}"))
    }

    fn decide(text: &str, claims: &Value, event: &Value) -> Result<bool, EvaluationError> {
        condition(text).holds(&Vars::new().bind("claims", claims).bind("event", event).bind_text("id", "42"))
    }

    #[test]
    fn conditions_hold_or_not() {
        let claims = json!({"sub": "u1", "roles": ["clerk", "tester"], "level": 3, "tenant": {"id": "t"}, "none": null});
        let event = json!({
            "owner": "u1", "n": 3, "big": 18_446_744_073_709_551_615_u64, "half": 0.5, "three": 3.0, "text": "grün",
            "items": [{"id": "a", "open": true}, {"id": "b"}], "map": {"k": 1}, "odd name": true, "empty": [],
        });
        for (text, expected) in [
            ("true", true),
            ("false", false),
            ("claims.sub == event.owner", true),
            ("claims[\"sub\"] == event['owner']", true),
            ("claims.sub != event.owner", false),
            ("'clerk' in claims.roles", true),
            ("'x' in claims.roles", false),
            ("'k' in event.map && !('x' in event.map)", true),
            ("claims.roles == ['clerk', 'tester'] && ['clerk', 'tester'] == claims.roles", true),
            ("event.map == {'k': 1.0}", true),
            ("claims.level == event.n && event.n == event.three && event.n < 3.5", true),
            ("event.big == 18446744073709551615u && event.big > 1 && event.half < 1", true),
            (
                "event.n + 1 == 4 && event.n - 4 == -1 && event.n * 2 == 6 && event.n / 2 == 1 && event.n % 2 == 1",
                true,
            ),
            ("event.text + '!' == 'grün!' && size(event.text) == 4", true),
            ("has(event.owner) && !has(event.none) && has(claims.none) && claims.none == null", true),
            ("event['odd name']", true),
            ("event.items[0].id == 'a' && event.items[size(event.items) - 1].id == 'b'", true),
            ("event.items.exists(i, i.id == 'b')", true),
            (
                "event.items.all(i, i.id < 'c') && event.empty.all(i, false) && !event.empty.exists(i, true)",
                true,
            ),
            ("event.items.exists_one(i, i.id == 'a')", true),
            ("event.items.filter(i, i.id != 'a').map(i, i.id) == ['b']", true),
            ("event.items.map(i, i.id == 'a', i.id) == ['a']", true),
            ("event.map.exists(k, k == 'k')", true),
            ("event.items.exists(i, claims.roles.exists(r, r == 'clerk' && i.id == 'b'))", true),
            ("event.text.startsWith('gr') && event.text.endsWith('n') && event.text.contains('ü')", true),
            ("event.owner.matches('^u[0-9]+$') && matches(event.owner, '1')", true),
            (
                "int('3') == event.n && string(event.n) == '3' && double('0.5') == event.half && uint(3) == 3u",
                true,
            ),
            ("event.n > 2 ? claims.sub == 'u1' : false", true),
            ("{'clerk': 3, 'boss': 9}[claims.roles[0]] >= event.n", true),
            ("id == '42'", true),
            // Absorbed errors, on either side.
            ("event.missing == 1 || true", true),
            ("true || event.missing == 1", true),
            ("event.missing == 1 && false", false),
            ("event.items.exists(i, i.open)", true),
            ("'text' || true", true),
        ] {
            assert_eq!(decide(text, &claims, &event), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_decided_is_an_error() {
        let claims = json!({"sub": "u1", "n": 1});
        let event = json!({"owner": {"id": 1}, "list": [1], "max": i64::MAX, "text": "x"});
        for text in [
            "claims.missing == 'x'",
            "!has(event.missing.deeper)",
            "event.missing == 1 || false",
            "event.missing == 1 && true",
            "event.list.all(i, i.x)",
            "event.list[1] == 1",
            "event.list[-1] == 1",
            "event.text.a == 1",
            "event.text < 1",
            "event.max + 1 > 0",
            "claims.n / 0 == 1",
            "claims.n % 0 == 1",
            "claims.n + 1.5 > 0.0",
            "claims.sub",
            "claims.n",
            "claims.sub ? true : false",
            "!claims.sub",
            "size(claims.n) == 1",
            "claims.n.startsWith('1')",
            "1 in claims.sub",
            "int('x') == 1",
            "int(1e300) == 1",
            "{claims.sub: 1, 'u1': 2} == {}",
            "event.text.exists(x, true)",
            "channel == 'x'",
            "[1][0.5] == 1",
        ] {
            assert!(decide(text, &claims, &event).is_err(), "{text}: {:?}", decide(text, &claims, &event));
        }
        assert_eq!(
            decide("claims.a.b == 'x'", &claims, &event).unwrap_err().to_string(),
            "`claims.a.b` is missing"
        );
        assert_eq!(
            decide("claims.n", &claims, &event).unwrap_err().to_string(),
            "the condition is int, not bool"
        );
        assert_eq!(
            decide("event.text < 1", &claims, &event).unwrap_err().to_string(),
            "`<` does not go with string and int"
        );
    }

    #[test]
    fn faults_are_refused_at_their_place() {
        for (text, place, message) in [
            ("claims.sub == evnt.owner", "1:21", "unknown variable `evnt`"),
            ("claims.sub == evnt.owner", "1:21", "did you mean `event`?"),
            ("x == 1", "1:7", "there are: claims, event, ce, tags, key, channel, id"),
            ("'ü' == evnt", "1:14", "unknown variable `evnt`"),
            ("event.a.startWith('x')", "1:24", "did you mean `startsWith`?"),
            ("now() > 1", "1:10", "unknown function `now`"),
            ("has(event)", "1:11", "`has` asks for a field"),
            ("size(event, 1) == 1", "1:11", "`size` is not called like this"),
            ("event.a.matches(event.b)", "1:28", "has to be a text in quotes"),
            ("event.a.matches('(')", "1:23", "this pattern cannot be read"),
            ("event.a.matches('(a{1000}){1000}')", "1:23", "this pattern cannot be read"),
            ("event.a == b'x'", "1:18", "bytes are not part of the language here"),
            ("'x'", "1:7", "this is a text"),
            ("1 + 1", "1:9", "this is a sum"),
            ("event.a.exists(event, true)", "1:22", "`event` already is a variable"),
            ("event.a.exists(a.b, true)", "1:23", "names the element"),
            ("Foo{a: 1} == 1", "1:10", "messages and their fields"),
            ("event.a == ", "1:17", "ends too early"),
            ("'üü' == )", "1:15", "cannot be read"),
            ("event.a = 1", "1:15", "cannot be read"),
            ("event.?a == 1", "1:12", "cannot be read"),
            ("", "1:7", "this condition is empty"),
        ] {
            let report = compiled(text).expect_err(text);
            assert!(report.contains(message), "{text}: {report}");
            assert!(report.contains(&format!("routes.yaml:{place}\n")), "{text}: {place}: {report}");
        }
    }

    #[test]
    fn reads_are_the_fields_that_count() {
        let reads = |text: &str, variable| match condition(text).reads(variable) {
            Reads::Nothing => "nothing".to_owned(),
            Reads::Whole => "whole".to_owned(),
            Reads::Paths(paths) => paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        assert_eq!(reads("claims.sub == event.owner", "event"), "owner");
        assert_eq!(reads("claims.sub == event.owner", "ce"), "nothing");
        assert_eq!(
            reads("event.user.id == 1 || event.user.name == 'x' || event.a == 1", "event"),
            "a user.id user.name"
        );
        assert_eq!(reads("event.user.id == 1 || size(event.user) == 1", "event"), "user");
        assert_eq!(reads("has(event.user.id)", "event"), "user.id");
        assert_eq!(reads("has(event['user'].id)", "event"), "user.id");
        assert_eq!(reads("event.items[2].id == 1", "event"), "items[2].id");
        assert_eq!(reads("event.items[claims.n].id == 1", "event"), "items");
        assert_eq!(reads("event[claims.field] == 1", "event"), "whole");
        assert_eq!(reads("size(event) == 1", "event"), "whole");
        assert_eq!(reads("event.exists(k, k == 'a') || event.b == 1", "event"), "whole");
        assert_eq!(reads("event.items.exists(i, i.owner == event.owner)", "event"), "items owner");
        assert_eq!(reads("channel == 'x'", "channel"), "whole");
    }

    #[test]
    fn alternatives_say_what_is_needed_at_least() {
        let told = |text: &str| -> Vec<String> {
            let told = |alternative: &Alternative| match alternative {
                Alternative::Equal { left, right } => format!("{left}={right}"),
                Alternative::OfSubscriber(_) => "subscriber".to_owned(),
                Alternative::Other => "other".to_owned(),
            };
            condition(text).alternatives(&["claims", "channel", "id"]).iter().map(told).collect()
        };
        assert_eq!(told("claims.sub == event.owner"), ["claims.sub=event.owner"]);
        assert_eq!(told("event.owner == claims.sub"), ["claims.sub=event.owner"]);
        assert_eq!(told("(event.n > 1 && (claims.t == tags.t)) && true"), ["claims.t=tags.t"]);
        assert_eq!(
            told("'admin' in claims.roles || claims.sub == event.owner || (id == key || event.public)"),
            ["subscriber", "claims.sub=event.owner", "id=key", "other"]
        );
        assert_eq!(told("true"), ["subscriber"]);
        for other in [
            "claims.sub == event.owner ? true : true",
            "!(claims.sub == event.owner)",
            "claims.sub != event.owner",
            "event.a == event.b",
            "(claims.a == event.a || claims.b == event.b) && event.c",
            "claims.sub == event.owner + ''",
            "claims.sub == event.list[claims.n]",
            "event.list.exists(x, x == claims.sub)",
            "[claims.sub == event.owner][0]",
        ] {
            assert_eq!(told(other), ["other"], "{other}");
        }
    }

    #[test]
    fn a_part_of_the_subscriber_is_decided_alone() {
        let condition = condition("claims.level > 2 && 'a' in claims.roles || event.x == 1");
        let alternatives = condition.alternatives(&["claims"]);
        let Alternative::OfSubscriber(part) = &alternatives[0] else { panic!("{alternatives:?}") };
        let may = json!({"level": 3, "roles": ["a"]});
        assert_eq!(part.holds(&Vars::new().bind("claims", &may)), Ok(true));
        let may_not = json!({"level": 2, "roles": ["a"]});
        assert_eq!(part.holds(&Vars::new().bind("claims", &may_not)), Ok(false));
    }

    #[test]
    fn work_is_bounded_and_running_out_of_it_never_holds() {
        let long: Vec<u32> = (0..3000).collect();
        let event = json!({"list": long, "text": "x".repeat(2_000_000)});
        let claims = json!({"list": long});
        for text in [
            "event.list.exists(x, x in claims.list && x == -1)",
            "true || event.list.all(x, event.list.all(y, true))",
            "event.list.all(x, event.list.exists(y, y == -1) || true)",
            "!event.list.exists(x, event.list.exists(y, y == -1))",
            "event.list.all(x, size(event.list.map(y, y)) == 0 || true)",
            "event.text.contains('y') || true",
            "event.text.matches('y$') || true",
            "event.list.exists(x, claims.list == event.list && x == -1) || true",
        ] {
            let result = decide(text, &claims, &event);
            if text.starts_with("true ||") {
                // The work is never begun.
                assert_eq!(result, Ok(true), "{text}");
            } else {
                assert_eq!(result, Err(EvaluationError::TooMuchWork), "{text}");
            }
        }
        assert_eq!(decide("2999 in event.list", &claims, &event), Ok(true));
    }

    #[test]
    fn deep_and_long_sources_are_refused_without_harm() {
        let many = |part: &str, count: usize| part.repeat(count);
        for text in [
            format!("{}true{}", many("(", 1000), many(")", 1000)),
            format!("{}event.a{}", many("[", 1000), many("]", 1000)),
            format!("event{} == 1", many("[0 in event", 300)),
            format!("{}1 == 1", many("1 + ", 1000)),
            format!("{}true", many("event.a ? true : ", 200)),
            format!("{}event.a", many("size(", 600)),
            format!("{}true", many("!(", 1500)),
            format!("1 == {}1", many("-(", 1500)),
            many("event.a.exists(x, ", 200),
            many("(", 4096),
            many("[", 4096),
            many("{", 4096),
            many("'", 4095),
            many("a.", 2048),
            many("&&", 2048),
            "x".repeat(4097),
            format!("event{} == 1", many(".all(x, x == ", 100)),
        ] {
            assert!(compiled(&text).is_err(), "{text}");
        }
        assert!(compiled(&format!("{}true", many("event.a || ", 300))).is_ok());
        assert!(compiled(&format!("{}true", many("!", 3000))).is_ok());
        assert!(compiled(&format!("event{} == 1", many(".a", 2000))).is_err());
    }
}
