use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sallyport_config::Located;
use sallyport_config::units::Timespan;
use sallyport_config::upstream::{Balance, Ejection, Health, Protocol, Target as Written, UpstreamTls};
use sallyport_identity::fetch::Fetcher;
use sallyport_identity::fetch::testing::{Origin, answer, eventually, within_ten_seconds};

use super::*;

mod speech;

fn settings(targets: &[(&str, u32)]) -> Settings {
    let target =
        |&(address, weight): &(&str, u32)| Located::nowhere(Written { address: address.to_owned(), weight });
    Settings {
        targets: targets.iter().map(target).collect(),
        balance: Balance::RoundRobin,
        protocol: Protocol::Http1,
        tls: None,
        host: "preserve".to_owned(),
        health: None,
        ejection: Ejection::default(),
        in_flight: 1024,
        resolve: Timespan::from_secs(30),
    }
}

fn build(settings: &Settings) -> Arc<Upstream> {
    let mut report = Report::default();
    let upstream = Upstream::new("orders", settings, Path::new("."), &mut report);
    upstream.unwrap_or_else(|| panic!("{report}"))
}

fn refused(settings: &Settings) -> String {
    let mut report = Report::default();
    assert!(Upstream::new("orders", settings, Path::new("."), &mut report).is_none());
    assert!(!report.is_empty());
    report.to_string()
}

const TWO: &[(&str, u32)] = &[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)];
const FOUR: &[(&str, u32)] =
    &[("10.0.0.1:80", 1), ("10.0.0.2:80", 1), ("10.0.0.3:80", 1), ("10.0.0.4:80", 1)];

/// How often each target is picked in so many picks, each given back at once.
fn shares(upstream: &Upstream, picks: usize, now: Instant) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for _ in 0..picks {
        *shares.entry(upstream.pick(&[], now).unwrap().name().to_owned()).or_default() += 1;
    }
    shares
}

fn fail(upstream: &Upstream, name: &str, times: u32, now: Instant) -> bool {
    let picked =
        std::iter::repeat_with(|| upstream.pick(&[], now).unwrap()).find(|picked| picked.name() == name);
    let picked = picked.unwrap();
    let mut ejected = false;
    for _ in 0..times {
        ejected |= upstream.observe(&picked, Observation::Failure, now);
    }
    ejected
}

#[test]
fn round_robin_shares_exactly_by_weight_and_evenly_in_time() {
    let upstream = build(&settings(&[("10.0.0.1:80", 5), ("10.0.0.2:80", 1), ("10.0.0.3:80", 1)]));
    let now = Instant::now();
    let order: Vec<u8> = (0..7)
        .map(|_| match upstream.pick(&[], now).unwrap().address() {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => unreachable!("only IPv4 is configured"),
        })
        .collect();
    // The order that nginx documents for these weights.
    assert_eq!(order, [1, 1, 2, 1, 3, 1, 1]);
    let shares = shares(&upstream, 7000, now);
    assert_eq!(shares["10.0.0.1:80"], 5000);
    assert_eq!((shares["10.0.0.2:80"], shares["10.0.0.3:80"]), (1000, 1000));
}

#[test]
fn extreme_weights_are_scaled_and_starve_nobody() {
    let mut targets: Vec<(String, u32)> = (0..100).map(|n| (format!("10.0.1.{n}:80"), 999)).collect();
    targets.push(("10.0.2.1:80".to_owned(), 1));
    let targets: Vec<(&str, u32)> = targets.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
    let upstream = build(&settings(&targets));
    let shares = shares(&upstream, 8192 * 2, Instant::now());
    assert!((1..=10).contains(&shares["10.0.2.1:80"]), "{}", shares["10.0.2.1:80"]);
    assert_eq!(shares.len(), 101);
}

#[test]
fn the_less_busy_of_two_is_preferred() {
    let mut settings = settings(TWO);
    settings.balance = Balance::LeastRequests;
    let upstream = build(&settings);
    let now = Instant::now();
    let busy = upstream.pick(&[], now).unwrap();
    for _ in 0..100 {
        assert_ne!(upstream.pick(&[], now).unwrap().address(), busy.address());
    }
    drop(busy);
    let shares = shares(&upstream, 1000, now);
    assert!(shares.values().all(|share| (300..700).contains(share)), "idle targets share: {shares:?}");
}

#[test]
fn least_requests_counts_load_by_weight() {
    let mut settings = settings(&[("10.0.0.1:80", 3), ("10.0.0.2:80", 1)]);
    settings.balance = Balance::LeastRequests;
    let upstream = build(&settings);
    let now = Instant::now();
    let held: Vec<Picked> = (0..400).map(|_| upstream.pick(&[], now).unwrap()).collect();
    let heavy = held.iter().filter(|picked| picked.name() == "10.0.0.1:80").count();
    assert!((299..=301).contains(&heavy), "{heavy}");
}

#[test]
fn a_full_target_is_passed_over_and_a_place_comes_back() {
    for balance in [Balance::RoundRobin, Balance::LeastRequests] {
        let mut settings = settings(TWO);
        (settings.balance, settings.in_flight) = (balance, 2);
        let upstream = build(&settings);
        let now = Instant::now();
        let mut held: Vec<Picked> = (0..4).map(|_| upstream.pick(&[], now).unwrap()).collect();
        assert_eq!(upstream.pick(&[], now).unwrap_err(), PickError::AllBusy);
        let freed = held.pop().unwrap().address();
        assert_eq!(upstream.pick(&[], now).unwrap().address(), freed);
        let snapshot = upstream.snapshot(now);
        assert_eq!(snapshot.targets.iter().map(|target| target.in_flight).sum::<usize>(), 3);
    }
}

#[test]
fn a_tried_target_comes_last_but_comes() {
    for balance in [Balance::RoundRobin, Balance::LeastRequests] {
        let mut settings = settings(TWO);
        settings.balance = balance;
        let upstream = build(&settings);
        let now = Instant::now();
        let first = upstream.pick(&[], now).unwrap().address();
        for _ in 0..20 {
            assert_ne!(upstream.pick(&[first], now).unwrap().address(), first);
        }
        let both: Vec<SocketAddr> = TWO.iter().map(|(address, _)| address.parse().unwrap()).collect();
        upstream.pick(&both, now).unwrap();
    }
}

#[test]
fn failures_in_a_row_eject_for_a_while_then_probation() {
    let upstream = build(&settings(TWO));
    let now = Instant::now();
    assert!(!fail(&upstream, "10.0.0.1:80", 4, now));
    assert!(fail(&upstream, "10.0.0.1:80", 1, now));
    assert_eq!(shares(&upstream, 10, now).len(), 1);
    let TargetState::Ejected { left_ms } = upstream.snapshot(now).targets[0].state else {
        panic!("not ejected")
    };
    assert_eq!(left_ms, 30_000);

    let back = now + Duration::from_secs(31);
    assert_eq!(shares(&upstream, 10, back).len(), 2);
    assert!(fail(&upstream, "10.0.0.1:80", 1, back), "on probation one failure is enough");
    let well = back + Duration::from_secs(31);
    let picked = upstream.pick(&["10.0.0.2:80".parse().unwrap()], well).unwrap();
    upstream.observe(&picked, Observation::Success, well);
    drop(picked);
    assert!(!fail(&upstream, "10.0.0.1:80", 4, well), "a success ends the probation");
    assert_eq!(upstream.snapshot(well).ejections, 2);
}

#[test]
fn a_success_between_failures_starts_the_count_again() {
    let upstream = build(&settings(TWO));
    let now = Instant::now();
    let picked = upstream.pick(&[], now).unwrap();
    for _ in 0..10 {
        for _ in 0..4 {
            assert!(!upstream.observe(&picked, Observation::Failure, now));
        }
        upstream.observe(&picked, Observation::Success, now);
    }
}

#[test]
fn at_most_half_are_ejected_and_a_lone_target_never() {
    let upstream = build(&settings(FOUR));
    let now = Instant::now();
    let ejected = FOUR.iter().map(|(name, _)| {
        let target =
            &upstream.board.load().targets.iter().find(|target| &*target.name == *name).unwrap().clone();
        let picked = target.claim().unwrap();
        (0..10).any(|_| upstream.observe(&picked, Observation::Failure, now))
    });
    assert_eq!(ejected.filter(|ejected| *ejected).count(), 2);
    let lone = build(&settings(&[("10.0.0.1:80", 1)]));
    assert!(!fail(&lone, "10.0.0.1:80", 100, now));
}

#[test]
fn ejection_can_be_turned_off() {
    let mut settings = settings(TWO);
    settings.ejection.failures = 0;
    assert!(!fail(&build(&settings), "10.0.0.1:80", 1000, Instant::now()));
}

#[test]
fn when_all_are_ejected_ejection_does_not_count() {
    let mut settings = settings(TWO);
    settings.ejection.max_percent = 100;
    let upstream = build(&settings);
    let now = Instant::now();
    assert!(fail(&upstream, "10.0.0.1:80", 5, now));
    assert!(fail(&upstream, "10.0.0.2:80", 5, now));
    assert_eq!(shares(&upstream, 10, now).len(), 2);
}

#[test]
fn an_ejected_target_is_no_reserve_for_busy_ones() {
    let mut settings = settings(TWO);
    settings.in_flight = 1;
    let upstream = build(&settings);
    let now = Instant::now();
    assert!(fail(&upstream, "10.0.0.1:80", 5, now));
    let _held = upstream.pick(&[], now).unwrap();
    assert_eq!(upstream.pick(&[], now).unwrap_err(), PickError::AllBusy);
}

fn health(path: &str) -> Health {
    Health {
        path: path.to_owned(),
        interval: Timespan::from_millis(100),
        timeout: Timespan::from_secs(5),
        unhealthy_after: 3,
        healthy_after: 2,
    }
}

#[test]
fn checks_in_a_row_flip_the_health_and_end_an_ejection() {
    let upstream = build(&settings(TWO));
    let now = Instant::now();
    let health = health("/");
    let target = upstream.board.load().targets[0].clone();
    let judged: Vec<bool> = [false, false, true, false, false, false, false, true, false, true, true]
        .iter()
        .map(|well| upstream.judge(&target, &health, *well))
        .collect();
    let flips: Vec<usize> = (0..judged.len()).filter(|&index| judged[index]).collect();
    assert_eq!(flips, [5, 10], "the third failure in a row, then the second success in a row");

    fail(&upstream, "10.0.0.1:80", 5, now);
    for well in [false, false, false, true, true] {
        upstream.judge(&target, &health, well);
    }
    assert_eq!(upstream.snapshot(now).targets[0].state, TargetState::Healthy);
}

#[test]
fn when_no_target_is_healthy_none_is_chosen() {
    let upstream = build(&settings(TWO));
    for target in &upstream.board.load().targets {
        target.unhealthy.store(true, Relaxed);
    }
    assert_eq!(upstream.pick(&[], Instant::now()).unwrap_err(), PickError::NoneHealthy);
}

#[tokio::test]
async fn the_task_finds_a_sick_target_and_a_well_one_again() {
    let sick = Arc::new(AtomicBool::new(true));
    let says = sick.clone();
    let origin = Origin::start(move |_, head| {
        assert!(head.starts_with("GET /healthz HTTP/1.1\r\n"), "{head}");
        Some(if says.load(Relaxed) {
            answer("503 Service Unavailable", "")
        } else {
            answer("204 No Content", "")
        })
    })
    .await;
    let well = Origin::start(|_, _| Some(answer("200 OK", "ok"))).await;
    let (sick_name, well_name) = (origin.address.to_string(), well.address.to_string());
    let mut settings = settings(&[(&sick_name, 1), (&well_name, 1)]);
    settings.health = Some(health("/healthz"));
    let upstream = build(&settings);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let fetcher = Arc::new(Fetcher::new());
    let task = tokio::spawn(upstream.tend(fetcher.clone(), stopped.clone()));
    // A second call has nothing to do.
    within_ten_seconds(upstream.tend(fetcher, stopped)).await;
    let state = || upstream.snapshot(Instant::now()).targets[0].state;
    eventually(|| state() == TargetState::Unhealthy).await;
    assert_eq!(shares(&upstream, 10, Instant::now()).keys().collect::<Vec<_>>(), [&well_name]);
    sick.store(false, Relaxed);
    eventually(|| state() == TargetState::Healthy).await;
    stop.send(true).unwrap();
    within_ten_seconds(task).await.unwrap();
}

#[tokio::test]
async fn the_task_ends_when_no_plan_holds_the_upstream() {
    let mut settings = settings(&[("localhost:80", 1)]);
    settings.resolve = Timespan::from_millis(100);
    let upstream = build(&settings);
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(upstream.tend(Arc::new(Fetcher::new()), stopped));
    eventually(|| upstream.ready()).await;
    drop(upstream);
    within_ten_seconds(task).await.unwrap();
}

#[tokio::test]
async fn names_are_resolved_and_unresolved_means_not_ready() {
    let upstream = build(&settings(&[("localhost:8080", 1)]));
    assert!(!upstream.ready());
    assert_eq!(upstream.pick(&[], Instant::now()).unwrap_err(), PickError::Unresolved);
    upstream.resolve_now().await;
    assert!(upstream.ready());
    let picked = upstream.pick(&[], Instant::now()).unwrap();
    assert!(picked.address().ip().is_loopback());
    assert_eq!(picked.name(), "localhost:8080");
}

fn addresses(upstream: &Upstream) -> Vec<String> {
    upstream.snapshot(Instant::now()).targets.into_iter().map(|target| target.address).collect()
}

fn answered(addresses: &[&str]) -> io::Result<Vec<SocketAddr>> {
    Ok(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

#[test]
fn a_failed_resolution_keeps_addresses_and_a_new_one_keeps_state() {
    let upstream = build(&settings(&[("orders.internal:80", 1)]));
    let now = Instant::now();
    assert!(upstream.learn(0, answered(&["10.0.0.2:80", "10.0.0.1:80", "10.0.0.1:80"])));
    upstream.rebuild();
    assert_eq!(addresses(&upstream), ["10.0.0.1:80", "10.0.0.2:80"]);
    let held = upstream.pick(&[], now).unwrap();

    assert!(!upstream.learn(0, Err(io::Error::other("no such name"))));
    assert!(!upstream.learn(0, Ok(Vec::new())), "no address is a failure as well");
    assert_eq!(addresses(&upstream).len(), 2);
    assert_eq!(upstream.snapshot(now).resolve_errors.len(), 1);

    assert!(!upstream.learn(0, answered(&["10.0.0.1:80", "10.0.0.2:80"])), "the order does not matter");
    assert!(upstream.snapshot(now).resolve_errors.is_empty());
    assert!(upstream.learn(0, answered(&["10.0.0.3:80", "10.0.0.1:80"])));
    upstream.rebuild();
    assert_eq!(addresses(&upstream), ["10.0.0.1:80", "10.0.0.3:80"]);
    assert_eq!(held.address().to_string(), "10.0.0.1:80");
    assert_eq!(upstream.snapshot(now).targets[0].in_flight, 1, "the target that stayed keeps its load");
}

#[test]
fn ipv6_only_counts_without_ipv4() {
    let upstream = build(&settings(&[("orders.internal:80", 1)]));
    upstream.learn(0, answered(&["[::1]:80", "127.0.0.1:80"]));
    upstream.rebuild();
    assert_eq!(addresses(&upstream), ["127.0.0.1:80"]);
    upstream.learn(0, answered(&["[::1]:80"]));
    upstream.rebuild();
    assert_eq!(addresses(&upstream), ["[::1]:80"]);
}

#[test]
fn a_name_with_too_many_addresses_is_cut() {
    let upstream = build(&settings(&[("orders.internal:80", 1)]));
    upstream.learn(0, Ok((0..200).map(|n| SocketAddr::from(([10, 0, 0, n], 80))).collect()));
    upstream.rebuild();
    assert_eq!(addresses(&upstream).len(), 64);
}

fn renew(running: &Arc<Upstream>, settings: &Settings) -> Arc<Upstream> {
    Upstream::renew(Some(running), "orders", settings, Path::new("."), &mut Report::default()).unwrap()
}

#[test]
fn a_reload_keeps_what_is_unchanged_and_the_addresses_of_what_is_not() {
    let mut written = settings(&[("orders.internal:80", 1)]);
    let running = build(&written);
    running.learn(0, answered(&["10.0.0.1:80"]));
    running.rebuild();
    assert!(running.same_settings(&written, Path::new(".")));
    assert!(Arc::ptr_eq(&running, &renew(&running, &written)));

    written.in_flight = 7;
    assert!(!running.same_settings(&written, Path::new(".")));
    let next = renew(&running, &written);
    assert!(!Arc::ptr_eq(&running, &next));
    assert_eq!(addresses(&next), ["10.0.0.1:80"], "ready at once");
}

#[test]
fn the_retry_budget_is_a_fifth() {
    let upstream = build(&settings(TWO));
    let now = Instant::now();
    (0..100).for_each(|_| upstream.note_request(now));
    assert_eq!((0..100).filter(|_| upstream.may_retry(now)).count(), 20);
}

#[test]
fn wrong_settings_are_refused_with_what_would_be_right() {
    assert!(refused(&settings(&[])).contains("`orders` has no targets"));
    assert!(refused(&settings(&[("localhost", 1)])).contains("no port; write `host:port`"));
    assert!(refused(&settings(&[("a:1", 1), ("a:1", 2)])).contains("`a:1` is listed twice"));
    let many: Vec<String> = (1..=257).map(|port| format!("a:{port}")).collect();
    let many: Vec<(&str, u32)> = many.iter().map(|name| (name.as_str(), 1)).collect();
    assert!(refused(&settings(&many)).contains("more than 256"));
    for host in ["", "a b", "user@a", "a/b"] {
        let mut settings = settings(TWO);
        settings.host = host.to_owned();
        assert!(refused(&settings).contains("is no host name"), "{host}");
    }
    let mut tls = settings(TWO);
    tls.tls = Some(UpstreamTls { ca: Some(Located::nowhere("missing.pem".to_owned())), server_name: None });
    assert!(refused(&tls).contains("cannot read"));
    tls.tls = Some(UpstreamTls { ca: None, server_name: Some(Located::nowhere("a b".to_owned())) });
    assert!(refused(&tls).contains("`a b` is no server name"));
}

#[test]
fn the_host_that_targets_see() {
    let now = Instant::now();
    for (written, seen) in
        [("preserve", None), ("target", Some("10.0.0.1:80")), ("api.internal", Some("api.internal"))]
    {
        let mut settings = settings(&[("10.0.0.1:80", 1)]);
        settings.host = written.to_owned();
        let upstream = build(&settings);
        let picked = upstream.pick(&[], now).unwrap();
        assert_eq!(upstream.host(&picked).map(|host| host.to_str().unwrap()), seen);
    }
}

#[test]
fn the_admin_page_shows_every_target() {
    let upstream = build(&settings(&[("10.0.0.1:80", 3), ("orders.internal:80", 1)]));
    let now = Instant::now();
    let _held = upstream.pick(&[], now).unwrap();
    upstream.learn(1, Err(io::Error::other("no such name")));
    let json = serde_json::to_value(upstream.snapshot(now)).unwrap();
    let expected = serde_json::json!({
        "name": "orders", "ready": true, "ejections": 0,
        "targets": [{"name": "10.0.0.1:80", "address": "10.0.0.1:80", "weight": 3, "in_flight": 1, "requests": 1,
            "failures": 0, "state": "healthy"}],
        "resolve_errors": ["orders.internal:80: no such name"],
    });
    assert_eq!(json, expected);
}

#[test]
fn many_threads_never_exceed_the_limit_in_flight() {
    let mut settings = settings(TWO);
    settings.in_flight = 3;
    let upstream = build(&settings);
    let now = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let held: Vec<_> = (0..3).filter_map(|_| upstream.pick(&[], now).ok()).collect();
                    // A claim that is turned down shows for a moment, one for each other thread.
                    let seen =
                        upstream.board.load().targets.iter().all(|t| t.in_flight.load(Relaxed) <= 3 + 4);
                    assert!(seen && held.len() <= 3);
                }
            });
        }
    });
    assert!(upstream.snapshot(now).targets.iter().all(|target| target.in_flight == 0));
}
