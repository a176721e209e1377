//! The whole job of an edge, by those who can do it: tokens, limits, CORS, headers, request ids, an access log.

mod checks;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::figures::Figures;
use crate::contest::backend::BODIES;
use crate::contest::{
    Backend, Calls, ENVOY, Entry, HAPROXY, Issuer, PINGORA, Running, SALLYPORT, Settings, Signature,
    start_all,
};
use crate::data::{Goal, Scenario};

/// The scenario's name.
pub const NAME: &str = "job";
/// The origin that may read answers.
const ORIGIN: &str = "https://app.test";
/// Requests a second of a subject that nobody reaches.
const LIMIT_NEVER: u32 = 100_000_000;
/// What everybody is asked for.
const ASKED: (&str, usize) = BODIES[1];
const ENVOY_REMEMBERS: &str = "Envoy with cache";
const ENVOY_FORGETS: &str = "Envoy without cache";

const ABOUT: &str = "\
What an edge is there for, all of it at once: a token is checked (signature, issuer, audience, expiry), its subject passed on, \
requests limited by subject, CORS answered for an origin, six security headers set, a request id made, passed on and returned, a line \
written to an access log. 1,000 tokens of as many subjects take turns; `Origin` is sent as browsers do; the body has 1 KiB. What all \
do, and what differs, is at the head of each file `bench/rivals/*/job.*`. Bare Pingora gets the same requests and does nothing \
with them. nginx, Traefik and Caddy cannot check tokens in the editions that are free. The method is that of passing through; \
latency is measured with RS256.";

/// Does it.
///
/// # Errors
/// A contestant does not do its work.
pub fn run(settings: &Settings) -> Result<Scenario> {
    let folder = settings.folder_of(NAME)?;
    let backend = Backend::start(settings, &folder)?;
    let issuer = Issuer::new(&folder)?;
    let checks = {
        let entries = entries(backend.port, checks::LIMIT);
        let (limited, _) = start_all(settings, &folder, &entries)?;
        checks::limits_trip(&limited, &issuer)?
    };
    let (contestants, mut missing) = start_all(settings, &folder, &entries(backend.port, LIMIT_NEVER))?;
    missing.extend(
        ["nginx", "Traefik", "Caddy"].map(|name| format!("{name}: no check of tokens in the free edition")),
    );
    let mut all_checks = checks::work_is_done(&contestants, &issuer, &folder)?;
    all_checks.extend(checks);
    let floor =
        Entry::new(&PINGORA, super::pass::NAME).with("BACKEND", backend.port).start(settings, &folder)?;
    let (figures, answers) = measure(settings, &folder, &issuer, &floor, &contestants)?;
    all_checks.extend(checks::logs_are_whole(&contestants, &answers)?);
    for signature in [Signature::Rs256, Signature::Es256] {
        missing.extend(figures.not_saturated(&contestants, signature.name()));
    }
    Ok(Scenario {
        name: NAME.to_owned(),
        title: "The whole job".to_owned(),
        about: ABOUT.to_owned(),
        checks: all_checks,
        goals: goals(&figures),
        measures: figures.measures(),
        missing,
    })
}

fn entries(backend: u16, limit: u32) -> Vec<Entry> {
    let cache = "jwt_cache_config: {jwt_cache_size: 4000}";
    let of = |rival| Entry::new(rival, NAME).with("BACKEND", backend).with("LIMIT", limit);
    vec![
        of(&SALLYPORT),
        of(&HAPROXY),
        of(&ENVOY).named(ENVOY_REMEMBERS).with("CACHE", cache),
        of(&ENVOY).named(ENVOY_FORGETS).with("CACHE", ""),
    ]
}

/// The figures, and how many answers each of the contestants gave.
fn measure(
    settings: &Settings,
    folder: &Path,
    issuer: &Issuer,
    floor: &Running,
    contestants: &[Running],
) -> Result<(Figures, Vec<u64>)> {
    let tokens = [
        (Signature::Rs256, issuer.tokens(Signature::Rs256)?),
        (Signature::Es256, issuer.tokens(Signature::Es256)?),
    ];
    let calls = |running: &Running, tokens: &PathBuf| Calls {
        tokens: Some(tokens.clone()),
        fields: vec![("Origin".to_owned(), ORIGIN.to_owned())],
        ..Calls::get(running.port, ASKED.0, ASKED.1 as u64)
    };
    let mut figures = Figures::new(NAME, PINGORA.name);
    let mut answers = vec![0; contestants.len()];
    for round in settings.rounds() {
        for (signature, tokens) in &tokens {
            figures.turn(settings, folder, round, floor, signature.name(), &calls(floor, tokens))?;
            for (running, answers) in contestants.iter().zip(&mut answers) {
                let calls = calls(running, tokens);
                *answers += figures.turn(settings, folder, round, running, signature.name(), &calls)?;
            }
        }
    }
    let (signature, tokens) = &tokens[0];
    let latency: Vec<(&Running, Calls)> = contestants.iter().map(|one| (one, calls(one, tokens))).collect();
    let more = figures.latencies(settings, signature.name(), &latency)?;
    for ((running, answers), more) in contestants.iter().zip(&mut answers).zip(more) {
        *answers += more;
        figures.memory(running)?;
    }
    Ok((figures, answers))
}

/// What the design wants of CPU time, as far as the rivals are there.
fn goals(figures: &Figures) -> Vec<Goal> {
    let wanted = [
        (PINGORA.name, "RS256", 1.15),
        (PINGORA.name, "ES256", 1.15),
        (HAPROXY.name, "RS256", 0.55),
        (HAPROXY.name, "ES256", 0.35),
        (ENVOY_REMEMBERS, "RS256", 0.45),
        (ENVOY_REMEMBERS, "ES256", 0.45),
    ];
    let goal = |(over, case, at_most): (&str, &str, f64)| {
        let found = figures.cpu_median(SALLYPORT.name, case)? / figures.cpu_median(over, case)?;
        Some(Goal { what: format!("CPU time over {over}, {case}"), found, at_most, unit: "×".to_owned() })
    };
    wanted.into_iter().filter_map(goal).collect()
}
