//! From the configuration of `jwt` as written to the filter, with every reason to refuse one.

use std::sync::Arc;

use sallyport_config::{Located, Location, Report};
use sallyport_identity::{Memory, Verified, Verifier};

use super::Jwt;
use super::conditions::Conditions;
use super::config::{Condition, Config, Roles, TokenPlace};
use super::decision::Decision;
use super::forward::Forward;
use super::metrics::Metrics;
use super::replies::Replies;
use crate::build::Build;
use crate::credential::Place;
use crate::filter::Filter;

const TOKEN_BYTES_MAX: u64 = 64 * 1024;
const CACHE_MAX: usize = 1_000_000;

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let verifier = verifier(&config, context);
    let report = &mut *context.report;
    let errors_before = report.errors().count();
    let places = places(&config.from, context.at, report);
    if config.token_limit.0 == 0 || config.token_limit.0 > TOKEN_BYTES_MAX {
        report
            .error(config.token_limit.at, "`token_limit` is not between 1B and 64KiB")
            .hint("8KiB is the default");
    }
    if *config.cache > CACHE_MAX {
        report
            .error(config.cache.at, format!("`cache` is larger than {CACHE_MAX}"))
            .hint("10000 is the default");
    }
    let conditions = conditions(&config, report);
    let mut forward = Forward::default();
    for (name, claim) in config.forward.iter() {
        if claim.is_empty() {
            report.error(claim.at, "a header needs a claim to hold").hint("such as `X-User-Id: sub`");
        }
        forward.add(name, claim, report);
    }
    let scopes = conditions.scopes.join(" ");
    let quotable =
        config.realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
    let replies = Replies::new(&config.realm, &scopes).ok().filter(|_| quotable);
    if replies.is_none() && errors_before == report.errors().count() {
        report
            .error(config.realm.at, "`realm` is not plain text")
            .hint("use visible ASCII without `\"` and `\\`");
    }
    if errors_before != report.errors().count() {
        return None;
    }
    let (verifier, replies) = (verifier?, replies?);
    let metrics = metrics(context)?;
    let token_bytes_max = usize::try_from(config.token_limit.0).unwrap_or(usize::MAX);
    let mut verifier = verifier.typ(config.typ).token_bytes_max(token_bytes_max);
    if *config.cache > 0 {
        let memory = memory(&config, &verifier, &metrics, context);
        verifier = verifier.remembering(memory, config.cache_ttl.into());
    }
    Some(Arc::new(Jwt {
        verifier,
        places,
        forward_token: config.forward_token,
        optional: config.optional,
        conditions,
        forward,
        replies,
        metrics,
    }))
}

fn verifier(config: &Config, context: &mut Build<'_>) -> Option<Verifier<Decision>> {
    let written: Vec<&Located<String>> = config.issuer.iter().chain(&config.issuers).collect();
    if written.is_empty() || (config.issuer.is_some() && !config.issuers.is_empty()) {
        let text = if written.is_empty() {
            "`jwt` names no issuer"
        } else {
            "`jwt` has both `issuer` and `issuers`"
        };
        context.report.error(context.at, text).hint("write `issuer: name` or `issuers: [name, ...]`");
        return None;
    }
    Verifier::new(context.issuers, written, context.report)
}

fn places(written: &[Located<TokenPlace>], at: Location, report: &mut Report) -> Box<[Place]> {
    if written.is_empty() {
        report.error(at, "`from` names no place for a token").hint("write `from: [header]`, or leave it out");
    }
    let mut places = Vec::new();
    for place in written {
        let compiled = match &place.value {
            TokenPlace::Header => Place::Authorization("Bearer".into()),
            TokenPlace::Cookie(name) => Place::Cookie(name.as_str().into()),
            TokenPlace::Query(name) => Place::Query(name.as_str().into()),
        };
        match &compiled {
            // A cookie's name is a token (RFC 6265, section 4.1.1), as a header's is.
            Place::Cookie(name) if name.parse::<http::HeaderName>().is_err() => {
                report
                    .error(place.at, "this is not the name of a cookie")
                    .hint("use letters, digits, `-` and `_`");
            }
            Place::Query(name) if name.is_empty() => {
                report
                    .error(place.at, "a query parameter needs a name")
                    .hint("such as `{ query: access_token }`");
            }
            compiled if places.contains(compiled) => {
                report.error(place.at, "this place is in the list already").hint("remove it");
            }
            _ => {}
        }
        places.push(compiled);
    }
    places.into()
}

fn conditions(config: &Config, report: &mut Report) -> Conditions {
    for scope in &config.scopes {
        // RFC 6749, section 3.3.
        let sound = scope.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\');
        if scope.is_empty() || !sound {
            let hint = "a scope has visible ASCII without space, `\"` and `\\`; list several one by one";
            report.error(scope.at, format!("`{}` is not a scope", scope.value)).hint(hint);
        }
    }
    if let Some(roles) = &config.roles {
        let Roles { claim, any, all } = &roles.value;
        if any.is_empty() == all.is_empty() {
            report
                .error(roles.at, "`roles` needs either `any` or `all`")
                .hint("such as `any: [teacher, admin]`");
        }
        if claim.is_empty() {
            report.error(roles.at, "`roles` needs a `claim`").hint("such as `claim: realm_access.roles`");
        }
    }
    for (name, condition) in config.claims.iter() {
        if matches!(condition, Condition::Any(values) if values.is_empty()) {
            report
                .error(name.at, "`any` lists no value, so no token would pass")
                .hint("list the values accepted");
        }
    }
    let claims = config.claims.iter().map(|(name, condition)| (name.as_str().into(), condition.clone()));
    Conditions {
        scopes: config.scopes.iter().map(|scope| scope.as_str().into()).collect(),
        roles: config.roles.as_ref().map(|roles| roles.value.clone()),
        claims: claims.collect(),
    }
}

fn metrics(context: &mut Build<'_>) -> Option<Arc<Metrics>> {
    let registry = context.metrics;
    let metrics = context.kept.once("jwt metrics", || Metrics::new(registry).map(Arc::new));
    match &*metrics {
        Ok(metrics) => Some(metrics.clone()),
        Err(error) => {
            context.report.error(context.at, format!("the metrics of `jwt` cannot be registered: {error}"));
            None
        }
    }
}

/// The memory outlives a reload only with everything that its entries depend on.
fn memory(
    config: &Config,
    verifier: &Verifier<Decision>,
    metrics: &Metrics,
    context: &Build<'_>,
) -> Arc<Memory<Verified<Decision>>> {
    let issuers: Vec<_> = verifier.issuers().iter().map(|issuer| issuer.settings_fingerprint()).collect();
    let key = format!("jwt memory of {}: {config:?} {issuers:?}", context.scope);
    context.kept.keep(&key, || Memory::new(*config.cache, metrics.remembered.clone()))
}
