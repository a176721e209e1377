//! The settings of `rate_limit` and what is refused in them.

use sallyport_config::Located;
use sallyport_config::units::Rate;
use schemars::JsonSchema;
use serde::Deserialize;

use super::gcra::Gcra;
use super::metrics::Metrics;
use super::table::Table;
use super::{LIMITS_MAX, Limit};
use crate::build::Build;
use crate::key::{Key, KeySetting, by_client};

/// The settings of `rate_limit`: one limit in short, or `limits`. Every response of the route tells the client what is
/// left (`RateLimit-Policy`, `RateLimit`); one request too many is answered with 429 and `Retry-After`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The limit's name, shown to clients and in metrics: 1 to 64 letters, digits and `.-_`. Limits of one name and
    /// the same settings share their buckets, wherever they are listed. Default: made from the chain or route.
    #[serde(default)]
    pub name: Option<Located<String>>,
    /// How many requests in what time: `20/s`, `100/m`.
    #[serde(default)]
    pub rate: Option<Located<Rate>>,
    /// How many requests may come at once after a pause, at least 1. Default: the count of `rate`.
    #[serde(default)]
    pub burst: Option<Located<u32>>,
    /// What is counted by: `client` (the client's address, an IPv6 address by its /64), `jwt.sub` (who asks, also by
    /// API key), `jwt.<claim>` (a claim by its dotted path), `header.<Name>`, `route`, `global`, or a list of up to four
    /// of these, which are counted by together. Where a request has no such claim or header, the client's address
    /// stands in. A header that clients choose freely limits nobody: take one that a trusted proxy sets, or list it
    /// together with another. Default: client.
    #[serde(default)]
    pub key: Option<Located<KeySetting>>,
    /// Several limits instead of one, at most 8. All are checked; a request that one of them refuses costs nothing in
    /// the others.
    #[serde(default)]
    pub limits: Vec<Located<LimitSetting>>,
    /// Count in metrics what would be refused, but refuse nothing and tell clients nothing. Default: false.
    #[serde(default)]
    pub shadow: bool,
    /// Keys that a limit remembers at most, 1 to 10000000; one takes about 60 bytes while it is in use. Keys whose
    /// bucket is full again are forgotten first and without effect. When all are in use, the fullest bucket of a few
    /// is forgotten early, its client starts anew, and `sallyport_rate_limit_evictions_total` counts it.
    /// Default: 100000.
    #[serde(default)]
    pub keys_max: Option<Located<u32>>,
}

/// One of several limits.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSetting {
    /// The limit's name; see `rate_limit`. Default: made from the chain or route.
    #[serde(default)]
    pub name: Option<Located<String>>,
    /// How many requests in what time.
    pub rate: Located<Rate>,
    /// How many requests may come at once after a pause, at least 1. Default: the count of `rate`.
    #[serde(default)]
    pub burst: Option<Located<u32>>,
    /// What is counted by; see `rate_limit`. Default: client.
    #[serde(default = "by_client")]
    pub key: Located<KeySetting>,
    /// Only count what would be refused by this limit. Default: that of `rate_limit`.
    #[serde(default)]
    pub shadow: Option<bool>,
}

/// The limits as written, each with its item of `RateLimit-Policy`. `None` has been reported.
pub(super) fn parse_limits(config: &Config, context: &mut Build<'_>) -> Option<Vec<(Limit, String)>> {
    let written = written_limits(config, context)?;
    let keys_max = parse_keys_max(config, context);
    let mut limits: Vec<(Limit, String)> = Vec::new();
    let mut good = keys_max.is_some();
    for (index, (written, at)) in written.iter().enumerate() {
        let identity = match &written.name {
            Some(name) => match check_name(name, &limits, context) {
                true => Named { shown: name.value.clone(), kept: format!("named {}", name.value) },
                false => {
                    good = false;
                    continue;
                }
            },
            None => Named::from_scope(context.scope, index),
        };
        let before = context.at;
        context.at = *at;
        let limit = parse_limit(written, identity, config.shadow, keys_max.unwrap_or(1), context);
        context.at = before;
        good &= limit.is_some();
        limits.extend(limit);
    }
    good.then_some(limits)
}

/// What a limit is called, and what tells its state from that of others.
struct Named {
    shown: String,
    kept: String,
}

impl Named {
    fn from_scope(scope: &str, index: usize) -> Named {
        let words = scope.strip_prefix("chain ").or(scope.strip_prefix("route ")).unwrap_or(scope);
        let mut shown = String::new();
        for letter in words.chars() {
            let fits = letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_');
            match letter {
                _ if fits => shown.push(letter),
                _ if !shown.is_empty() && !shown.ends_with('-') => shown.push('-'),
                _ => {}
            }
        }
        shown.truncate(48);
        let mut shown = shown.trim_end_matches('-').to_owned();
        if shown.is_empty() {
            shown.push_str("limit");
        }
        if index > 0 {
            shown.push_str(&format!("-{}", index + 1));
        }
        Named { shown, kept: format!("of {scope} number {index}") }
    }
}

/// The limits of either form, each with its place.
fn written_limits(
    config: &Config,
    context: &mut Build<'_>,
) -> Option<Vec<(LimitSetting, sallyport_config::Location)>> {
    if config.limits.is_empty() {
        let Some(rate) = config.rate.clone() else {
            context
                .report
                .error(context.at, "`rate_limit` needs a `rate`")
                .hint("such as `rate: 20/s`, or `limits`");
            return None;
        };
        let limit = LimitSetting {
            name: config.name.clone(),
            rate,
            burst: config.burst.clone(),
            key: config.key.clone().unwrap_or_else(by_client),
            shadow: None,
        };
        return Some(vec![(limit, context.at)]);
    }
    let short = [
        ("name", config.name.as_ref().map(|name| name.at)),
        ("rate", config.rate.as_ref().map(|rate| rate.at)),
        ("burst", config.burst.as_ref().map(|burst| burst.at)),
        ("key", config.key.as_ref().map(|key| key.at)),
    ];
    if let Some((name, at)) = short.iter().find_map(|(name, at)| Some((name, (*at)?))) {
        context
            .report
            .error(at, format!("`{name}` and `limits` cannot stand together"))
            .hint(format!("give each of the `limits` its own `{name}`"));
        return None;
    }
    if config.limits.len() > LIMITS_MAX {
        context
            .report
            .error(config.limits[LIMITS_MAX].at, format!("at most {LIMITS_MAX} limits in one filter"));
        return None;
    }
    Some(config.limits.iter().map(|limit| (limit.value.clone(), limit.at)).collect())
}

fn parse_keys_max(config: &Config, context: &mut Build<'_>) -> Option<usize> {
    match &config.keys_max {
        None => Some(100_000),
        Some(keys) if (1..=10_000_000).contains(&keys.value) => Some(keys.value as usize),
        Some(keys) => {
            context.report.error(keys.at, "`keys_max` is 1 to 10000000");
            None
        }
    }
}

fn check_name(name: &Located<String>, limits: &[(Limit, String)], context: &mut Build<'_>) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if !letters || name.is_empty() || name.len() > 64 {
        context
            .report
            .error(name.at, format!("`{}` cannot name a limit", name.value))
            .hint("a name has 1 to 64 letters, digits and `.-_`");
        return false;
    }
    if limits.iter().any(|(limit, _)| *limit.name == **name) {
        context.report.error(name.at, format!("a second limit `{}` in one filter", name.value));
        return false;
    }
    true
}

fn parse_limit(
    written: &LimitSetting,
    named: Named,
    shadow: bool,
    keys_max: usize,
    context: &mut Build<'_>,
) -> Option<(Limit, String)> {
    let rate = written.rate.value;
    let burst = match &written.burst {
        Some(burst) if burst.value == 0 => {
            context.report.error(burst.at, "a `burst` of 0 lets nothing pass").hint("the least is 1");
            return None;
        }
        Some(burst) => burst.value,
        None => rate.count,
    };
    let key = Key::parse(&written.key, context.report)?;
    let metrics = Metrics::of(&named.shown, context)?;
    let state = format!(
        "rate_limit {} {} {}ns {burst} {keys_max} {key}",
        named.kept,
        rate.count,
        rate.per.as_nanos()
    );
    let (keys, evicted) = (metrics.keys.clone(), metrics.evictions.clone());
    let table = context.kept.keep(&state, || Table::new(Gcra::new(rate, burst), keys_max, keys, evicted));
    let item = format!("\"{}\";r=", named.shown).into();
    let policy = policy_item(&named.shown, rate);
    let shadow = written.shadow.unwrap_or(shadow);
    Some((Limit { name: named.shown.into(), key, shadow, table, metrics, item }, policy))
}

/// `"name";q=20;w=1`. The window is whole seconds, so a rate over another time is shown as its equal over the next
/// longer whole one.
fn policy_item(name: &str, rate: Rate) -> String {
    let seconds = rate.per.as_nanos().div_ceil(1_000_000_000).max(1);
    let quota = u128::from(rate.count) * seconds * 1_000_000_000 / rate.per.as_nanos().max(1);
    format!("\"{name}\";q={};w={seconds}", quota.max(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_made_from_the_scope() {
        for (scope, index, name) in [
            ("chain user", 0, "user"),
            ("route GET api.example.com/v1/batches/{id}", 1, "GET-api.example.com-v1-batches-id-2"),
            ("route /{**rest}", 0, "rest"),
            ("chain ü", 0, "limit"),
        ] {
            assert_eq!(Named::from_scope(scope, index).shown, name);
        }
        assert!(Named::from_scope(&"x".repeat(300), 7).shown.len() <= 64);
    }

    #[test]
    fn a_policy_counts_in_whole_seconds() {
        let item =
            |count, milliseconds| policy_item("a", Rate { count, per: Duration::from_millis(milliseconds) });
        assert_eq!(item(20, 1000), "\"a\";q=20;w=1");
        assert_eq!(item(100, 60_000), "\"a\";q=100;w=60");
        assert_eq!(item(5, 500), "\"a\";q=10;w=1");
        assert_eq!(item(3, 1500), "\"a\";q=4;w=2");
    }
}
