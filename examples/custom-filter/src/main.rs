//! An edge with a filter that is not Sallyport's: `maintenance` answers 503 for a while, except to those who do the work.
//! It has all the commands of `sallyport`: `cargo run -p custom-filter -- check examples/custom-filter/routes.yaml`.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use sallyport::filters::config::{Located, Named};
use sallyport::filters::http::header::{HeaderValue, RETRY_AFTER};
use sallyport::filters::serde_json::Value;
use sallyport::filters::{Build, Exchange, Filter, Kind, ProblemKind, Registry, Reply, Stage, Step};
use schemars::JsonSchema;
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Answers 503 with `Retry-After` during maintenance. It stands behind `jwt` or `api_key`, whose claims may be excepted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// When it begins, such as `2026-11-23T02:00:00Z` (RFC 3339).
    from: Located<String>,
    /// When it ends, which is what `Retry-After` counts down to.
    until: Located<String>,
    /// Claims, each with a value; who has one of them passes. Default: nobody passes.
    #[serde(default)]
    except: Named<Value>,
}

struct Maintenance {
    window: Range<SystemTime>,
    except: Named<Value>,
}

fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let (from, until) = (moment(&config.from, context), moment(&config.until, context));
    let window = from?..until?;
    if window.is_empty() {
        context.error(config.until.at, "`until` is not later than `from`");
        return None;
    }
    Some(Arc::new(Maintenance { window, except: config.except }))
}

fn moment(text: &Located<String>, context: &mut Build<'_>) -> Option<SystemTime> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok();
    if moment.is_none() {
        context.error(text.at, format!("`{text}` is not a moment")).hint("write `2026-11-23T02:00:00Z`");
    }
    moment.map(SystemTime::from)
}

impl Filter for Maintenance {
    fn name(&self) -> &'static str {
        "maintenance"
    }

    fn stage(&self) -> Stage {
        Stage::Policy
    }

    fn on_request(&self, x: &mut Exchange<'_>) -> Step {
        let now = x.facts.started_at;
        let excepted = || self.except.iter().any(|(name, value)| x.claim(name) == Some(value));
        if !self.window.contains(&now) || excepted() {
            return Step::Continue;
        }
        let seconds = self.window.end.duration_since(now).map_or(1, |left| left.as_secs() + 1);
        let reply = Reply::problem(ProblemKind::Unavailable, "this service is down for maintenance");
        Step::Reply(reply.header(RETRY_AFTER, HeaderValue::from(seconds)))
    }
}

fn main() -> ExitCode {
    sallyport::command_line(Registry::standard().with(Kind::new("maintenance", build)))
}

#[cfg(test)]
mod tests;
