use std::time::Duration;

use http::StatusCode;
use proptest::prelude::*;
use sallyport_identity::Issuers;

use super::*;
use crate::probe::tests::{probe, refused};
use crate::probe::{Made, Probe};
use crate::registry::Registry;

/// A made-up request that many can be made from, all at the same moment.
struct Clock(std::time::Instant);

impl Clock {
    fn at(&self, milliseconds: u64) -> Made {
        let mut made = Made::new("GET", "/");
        made.facts.started = self.0 + Duration::from_millis(milliseconds);
        made
    }
}

fn clock() -> Clock {
    Clock(std::time::Instant::now())
}

fn passes(probe: &Probe, mut made: Made) -> bool {
    probe.request(&mut made).is_none()
}

/// Status, RateLimit-Policy, RateLimit, Retry-After.
fn seen(probe: &Probe, mut made: Made) -> (u16, String, String, Option<String>) {
    let head = match probe.request(&mut made) {
        Some(reply) => probe.reply(&mut made, &reply).unwrap(),
        None => probe.response(&mut made, 200).unwrap(),
    };
    let text = |name| {
        let values = head.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
        values.collect::<Vec<_>>().join(" | ")
    };
    let retry = head.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (head.status.as_u16(), text("ratelimit-policy"), text("ratelimit"), retry)
}

#[test]
fn the_headers_tell_what_is_left_on_every_response() {
    let probe = probe("- rate_limit: { name: per-user, rate: 2/s, burst: 3 }");
    let clock = clock();
    let policy = "\"per-user\";q=2;w=1".to_owned();
    for (milliseconds, status, state, retry) in [
        (0, 200, "\"per-user\";r=2;t=1", None),
        (0, 200, "\"per-user\";r=1;t=1", None),
        (0, 200, "\"per-user\";r=0;t=2", None),
        (0, 429, "\"per-user\";r=0;t=2", Some("1")),
        (499, 429, "\"per-user\";r=0;t=2", Some("1")),
        (500, 200, "\"per-user\";r=0;t=2", None),
        (10_000, 200, "\"per-user\";r=2;t=1", None),
    ] {
        let expected = (status, policy.clone(), state.to_owned(), retry.map(str::to_owned));
        assert_eq!(seen(&probe, clock.at(milliseconds)), expected, "at {milliseconds} ms");
    }
}

/// `Retry-After: 0` made clients of other gateways retry in a loop (Traefik, KrakenD); a client that waits as long as
/// it is told must pass.
#[test]
fn retry_after_is_rounded_up_and_never_0_and_true() {
    for (rate, expected) in [("1/10s", "10"), ("1000/s", "1"), ("2/3s", "2"), ("1/m", "60")] {
        let probe = probe(&format!("- rate_limit: {{ rate: {rate}, burst: 1 }}"));
        let clock = clock();
        assert!(passes(&probe, clock.at(0)));
        assert_eq!(seen(&probe, clock.at(0)).3.as_deref(), Some(expected), "{rate}");
        assert!(passes(&probe, clock.at(expected.parse::<u64>().unwrap() * 1000)));
    }
}

#[test]
fn a_refused_request_costs_nothing_in_the_other_limits() {
    let probe = probe(
        "- rate_limit: { limits: [{ name: all, rate: 3/m, key: global }, { name: one, rate: 1/m, key: client }] }",
    );
    let clock = clock();
    let from = |last: u8| clock.at(0).from([192, 0, 2, last].into());
    let (status, policy, state, _) = seen(&probe, from(1));
    assert_eq!((status, &*policy), (200, "\"all\";q=3;w=60, \"one\";q=1;w=60"));
    assert_eq!(state, "\"all\";r=2;t=20, \"one\";r=0;t=60");
    for _ in 0..10 {
        let (status, _, state, retry) = seen(&probe, from(1));
        assert_eq!((status, &*state), (429, "\"all\";r=2;t=20, \"one\";r=0;t=60"));
        assert_eq!(retry.as_deref(), Some("60"));
    }
    assert!(passes(&probe, from(2)) && passes(&probe, from(3)) && !passes(&probe, from(4)));
}

#[test]
fn three_limits_are_shown_as_well() {
    let probe = probe(
        "- rate_limit: { limits: [{ name: a, rate: 1/s }, { name: b, rate: 2/s }, { name: c, rate: 3/s }] }",
    );
    assert_eq!(seen(&probe, clock().at(0)).2, "\"a\";r=0;t=1, \"b\";r=1;t=1, \"c\";r=2;t=1");
}

#[test]
fn a_limit_in_shadow_mode_only_counts() {
    let probe = probe("- rate_limit: { name: shy, rate: 1/m, shadow: true }");
    let clock = clock();
    for _ in 0..5 {
        assert_eq!(seen(&probe, clock.at(0)), (200, String::new(), String::new(), None));
    }
    let count = |decision| metrics::decisions(&probe.kept, "shy", decision);
    assert_eq!((count("allow"), count("shadow"), count("refuse")), (1, 4, 0));
}

#[test]
fn decisions_and_keys_are_counted() {
    let probe =
        probe("- rate_limit: { limits: [{ name: a, rate: 9/m, key: global }, { name: b, rate: 1/m }] }");
    let clock = clock();
    for _ in 0..3 {
        probe.request(&mut clock.at(0));
    }
    let count = |limit, decision| metrics::decisions(&probe.kept, limit, decision);
    assert_eq!((count("a", "allow"), count("a", "refuse")), (1, 0));
    assert_eq!((count("b", "allow"), count("b", "refuse")), (1, 2));
    assert_eq!(metrics::keys(&probe.kept, "b"), 1);
    let next =
        Probe::with_kept(&Registry::standard(), &Issuers::default(), "- request_id", probe.kept.next())
            .unwrap();
    drop(probe);
    assert_eq!(metrics::keys(&next.kept, "b"), 0, "a limit that is gone remembers nobody");
}

#[test]
fn two_filters_of_a_chain_both_show_themselves() {
    let probe =
        probe("- rate_limit: { name: a, rate: 1/s }\n- rate_limit: { name: b, rate: 2/s, key: route }");
    let (_, policy, state, _) = seen(&probe, clock().at(0));
    assert_eq!(policy, "\"b\";q=2;w=1 | \"a\";q=1;w=1");
    assert_eq!(state, "\"b\";r=1;t=1 | \"a\";r=0;t=1");
}

#[test]
fn an_unchanged_limit_survives_a_reload_and_a_changed_one_starts_anew() {
    let reload = |old: &Probe, yaml: &str| {
        Probe::with_kept(&Registry::standard(), &Issuers::default(), yaml, old.kept.next()).unwrap()
    };
    let clock = clock();
    let old = probe("- rate_limit: { name: a, rate: 1/m }");
    assert!(passes(&old, clock.at(0)));
    let same = reload(&old, "- request_id\n- rate_limit: { name: a, rate: 1/m, shadow: false }");
    assert!(!passes(&same, clock.at(0)));
    let other = reload(&old, "- rate_limit: { name: a, rate: 2/m }");
    assert!(passes(&other, clock.at(0)));
}

#[test]
fn a_limit_by_claim_stands_behind_identity_and_others_anywhere_before_shape() {
    let chain = |yaml: &str| {
        let probe = probe(yaml);
        let stages: Vec<_> =
            probe.chain().filters().map(|filter| (filter.stage(), filter.latest_stage())).collect();
        stages[0]
    };
    assert_eq!(chain("- rate_limit: { rate: 1/s, key: jwt.sub }"), (Stage::Policy, Stage::Policy));
    assert_eq!(chain("- rate_limit: { rate: 1/s, key: [client, jwt.a] }"), (Stage::Policy, Stage::Policy));
    assert_eq!(chain("- rate_limit: { rate: 1/s, key: client }"), (Stage::Edge, Stage::Policy));
    refused(
        "- rate_limit: { rate: 1/s, key: jwt.sub }\n- cors: { origins: '*' }",
        "probe.yaml:2:3",
        "`cors` belongs before `rate_limit`",
    );
    refused(
        "- headers\n- rate_limit: { rate: 1/s }",
        "probe.yaml:2:3",
        "`rate_limit` belongs before `headers`",
    );
}

#[test]
fn bad_settings_are_refused_where_they_stand() {
    refused("- rate_limit", "probe.yaml:1:3", "needs a `rate`");
    refused("- rate_limit: { rate: 20 }", "probe.yaml:1:23", "20/s");
    refused("- rate_limit: { rate: 0/s }", "probe.yaml:1:23", "zero");
    refused("- rate_limit: { rate: 1/s, burst: 0 }", "probe.yaml:1:35", "the least is 1");
    refused("- rate_limit: { rate: 1/s, key: clinet }", "probe.yaml:1:33", "did you mean `client`?");
    refused("- rate_limit: { rate: 1/s, key: [client, client] }", "probe.yaml:1:42", "in the list already");
    refused("- rate_limit: { rate: 1/s, name: 'a b' }", "probe.yaml:1:34", "cannot name a limit");
    refused("- rate_limit: { rate: 1/s, name: 'a\"' }", "probe.yaml:1:34", "cannot name a limit");
    refused("- rate_limit: { rate: 1/s, keys_max: 0 }", "probe.yaml:1:38", "1 to 10000000");
    refused(
        "- rate_limit: { rate: 1/s, limits: [{ rate: 1/s }] }",
        "probe.yaml:1:23",
        "cannot stand together",
    );
    refused("- rate_limit: { limits: [{ name: a }] }", "probe.yaml:1:", "rate");
    let twice = "- rate_limit: { limits: [{ name: a, rate: 1/s }, { name: a, rate: 2/s }] }";
    refused(twice, "probe.yaml:1:58", "a second limit `a`");
    let nine = format!("- rate_limit: {{ limits: [{}] }}", ["{ rate: 1/s }"; 9].join(", "));
    refused(&nine, "probe.yaml:1:", "at most 8 limits");
}

#[test]
fn a_refusal_names_the_limits_that_are_exhausted() {
    let probe = probe("- rate_limit: { limits: [{ name: a, rate: 9/s }, { name: b, rate: 1/s }] }");
    let clock = clock();
    assert!(passes(&probe, clock.at(0)));
    let reply = probe.request(&mut clock.at(0)).unwrap();
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    let crate::reply::ReplyBody::Problem(problem) = reply.body else { panic!("a problem") };
    assert_eq!(problem.detail, "rate limit exhausted: b");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The whole filter against the plainest model there is: for each client the moments of the requests that passed.
    /// A request passes exactly if no window that ends with it would have more than `burst + rate * length`.
    #[test]
    fn the_filter_decides_as_the_definition_says(
        count in 1u32..5,
        burst in 1u32..5,
        requests in prop::collection::vec((0u8..3, 0u64..400), 1..80),
    ) {
        let probe = probe(&format!("- rate_limit: {{ rate: {count}/s, burst: {burst} }}"));
        let clock = clock();
        let mut passed: [Vec<u64>; 3] = Default::default();
        let mut now = 0;
        for (client, gap) in requests {
            now += gap;
            let mine = &mut passed[usize::from(client)];
            let fits = |since: &u64, in_window: usize| {
                in_window as u64 * 1000 <= u64::from(burst) * 1000 + u64::from(count) * (now - since)
            };
            let expected = (0..mine.len()).all(|from| fits(&mine[from], mine.len() - from + 1));
            prop_assert_eq!(passes(&probe, clock.at(now).from([192, 0, 2, client].into())), expected);
            if expected {
                mine.push(now);
            }
        }
    }
}
