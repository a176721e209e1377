//! A condition: compiled once, asked often.

use std::fmt;
use std::sync::Arc;
use std::thread;

use cel::Env;
use sallyport_config::{Located, Report};

use crate::alternative::{self, Alternative};
use crate::compile;
use crate::error::EvaluationError;
use crate::evaluate;
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
    pub fn compile(source: &Located<String>, variables: &[&str], report: &mut Report) -> Option<Condition> {
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

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// A text that two conditions have in common only if they are the same, whatever they were compiled from: for keys of
    /// caches. It is not for people.
    pub fn canonical(&self) -> String {
        format!("{:?}", self.root)
    }

    /// The text that it was compiled from. That of a part is the text of the whole.
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
fn parse(source: &Located<String>, variables: &[&str], refusals: Refusals<'_>) -> Option<Node> {
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
mod agreement_tests;
#[cfg(test)]
mod tests;
