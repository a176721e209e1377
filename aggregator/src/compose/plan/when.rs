//! `when` of a branch: a condition over what is known before the branch starts.

use std::borrow::Cow;

use sallyport_condition::{
    Condition, EvaluationError, FieldPath, Projection, ProjectionError, Reads, Step, Vars,
};
use sallyport_config::{Located, Report};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::compose::text::{Known, Scope, parameter, parameters};

/// Names that conditions and fields use for themselves; no branch may have one.
pub(super) const RESERVED: [&str; 4] = ["params", "query", "claims", "item"];

/// Whether a branch runs. Reads no more than the condition asks for.
#[derive(Debug)]
pub struct When {
    condition: Condition,
    params: Wanted,
    query: Wanted,
    /// The branches whose results it reads, and what of them.
    results: Box<[(usize, Box<str>, Projection)]>,
}

/// Which of several named texts are read.
#[derive(Debug)]
enum Wanted {
    Names(Box<[Box<str>]>),
    All,
}

/// Why it cannot be said whether a branch runs. Says nothing of the values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WhenError {
    /// The condition cannot be decided.
    #[error("`when` cannot be decided: {0}")]
    Evaluation(#[from] EvaluationError),
    /// A result that it reads cannot be read as a whole.
    #[error("`when` cannot read the result of `{branch}`: {error}")]
    Result {
        /// The branch.
        branch: Box<str>,
        /// Why.
        error: ProjectionError,
    },
}

impl When {
    /// Compiles a condition that may use `params`, `query`, `claims` and the results of those branches that its own
    /// `needs`, by their names.
    pub(super) fn compile(
        source: &Located<String>,
        scope: &Scope<'_>,
        needs: &[usize],
        report: &mut Report,
    ) -> Option<When> {
        let mut variables = vec!["params", "query", "claims"];
        // Those that are not needed, too: to say that they have to be.
        variables.extend(scope.branches.iter().filter(|name| !RESERVED.contains(name)));
        let condition = Condition::compile(source, &variables, report)?;
        let mut results = Vec::new();
        let mut sound = true;
        for (branch, name) in scope.branches.iter().enumerate() {
            let projection = match condition.reads(name) {
                _ if RESERVED.contains(name) => continue,
                Reads::Nothing => continue,
                Reads::Paths(paths) => Projection::new(paths),
                Reads::Whole => Projection::new([FieldPath::default()]),
            };
            if !needs.contains(&branch) {
                unneeded(source, name, scope.own == Some(branch), report);
                sound = false;
            }
            results.push((branch, Box::from(*name), projection));
        }
        if !sound {
            return None;
        }
        let results = results.into();
        let (params, query) = (Wanted::of(&condition, "params"), Wanted::of(&condition, "query"));
        Some(When { condition, params, query, results })
    }

    /// The condition as it was written.
    pub fn source(&self) -> &str {
        self.condition.source()
    }

    /// Whether it holds.
    ///
    /// # Errors
    ///
    /// If that cannot be decided: a field is missing, types do not fit, or a result cannot be read. The branch has then
    /// failed.
    pub fn holds(&self, known: &Known<'_>) -> Result<bool, WhenError> {
        let params = self.params.object(
            |name| {
                known
                    .params
                    .iter()
                    .find(|(known, _)| **known == *name)
                    .map(|(_, value)| Cow::Borrowed(&**value))
            },
            || {
                known
                    .params
                    .iter()
                    .map(|(name, value)| (String::from(&**name), Value::from(&**value)))
                    .collect()
            },
        );
        let query = self.query.object(
            |name| parameter(known.query, name).ok(),
            || {
                let mut all = Map::new();
                for (name, value) in parameters(known.query) {
                    all.entry(name).or_insert_with(|| Value::from(value));
                }
                all
            },
        );
        let nobody = Value::Object(Map::new());
        let mut read = Vec::with_capacity(self.results.len());
        for (branch, name, projection) in &self.results {
            // A result that is not there is not bound: reading it is the condition's error.
            let Some(result) = known.results.get(*branch).and_then(Option::as_ref) else { continue };
            let value = projection.read(result.bytes());
            let value = value.map_err(|error| WhenError::Result { branch: name.clone(), error })?;
            read.push((&**name, value));
        }
        let mut vars = Vars::new().bind("params", &params).bind("query", &query);
        vars = vars.bind("claims", known.claims.unwrap_or(&nobody));
        for (name, value) in &read {
            vars = vars.bind(name, value);
        }
        Ok(self.condition.holds(&vars)?)
    }
}

fn unneeded(source: &Located<String>, name: &str, own: bool, report: &mut Report) {
    if own {
        report
            .error(source.at, format!("`when` of `{name}` would wait for the result of `{name}`"))
            .hint("it decides whether the branch runs at all");
    } else {
        report
            .error(source.at, format!("`when` uses the result of `{name}`, which the branch does not need"))
            .hint(format!("write `needs: [{name}]`"));
    }
}

impl Wanted {
    fn of(condition: &Condition, variable: &str) -> Wanted {
        let paths = match condition.reads(variable) {
            Reads::Nothing => return Wanted::Names(Box::default()),
            Reads::Whole => return Wanted::All,
            Reads::Paths(paths) => paths,
        };
        let names = paths.iter().filter_map(|path| match path.steps().first() {
            Some(Step::Name(name)) => Some(name.clone()),
            Some(Step::Index(_)) | None => None,
        });
        Wanted::Names(names.collect())
    }

    fn object<'k>(
        &self,
        one: impl Fn(&str) -> Option<Cow<'k, str>>,
        all: impl FnOnce() -> Map<String, Value>,
    ) -> Value {
        Value::Object(match self {
            Wanted::All => all(),
            Wanted::Names(names) => {
                let found =
                    names.iter().filter_map(|name| Some((String::from(&**name), Value::from(one(name)?))));
                found.collect()
            }
        })
    }
}
