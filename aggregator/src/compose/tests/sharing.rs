//! What requests share, and what they must not.

use super::*;

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn equal_calls_under_way_are_one_and_those_of_others_are_not() {
    let origin = Origin::new().await;
    let gate = origin.gate("/a", Does::json("[1]"));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: GET up/a, timeout: 1h }\n    answer: { timeout: 1h }\n",
    );
    let mut answers: Vec<_> = (0..10)
        .map(|_| {
            let mut asked = asked();
            asked.headers.insert("x-request-id", "another".parse().unwrap());
            setup.spawn(asked)
        })
        .collect();
    let joined = &setup.composer.parts.metrics.joined;
    until(|| joined.get() == 9).await;
    origin.arrived(1).await;
    let other = setup.spawn(asked_by("u8"));
    origin.arrived(2).await;
    let mut elsewhere = asked();
    elsewhere.headers.insert("host", "other.example.com".parse().unwrap());
    let elsewhere = setup.spawn(elsewhere);
    origin.arrived(3).await;
    let mut anonymous = asked();
    anonymous.identity.clear();
    let anonymous = setup.spawn(anonymous);
    origin.arrived(4).await;
    // The one who made the call leaves; the call goes on for the others.
    answers.remove(0).abort();
    gate.add_permits(4);
    for answer in answers {
        assert_eq!(Got::of(answer.await.unwrap()).text, r#"{"a":[1]}"#);
    }
    for answer in [other, elsewhere, anonymous] {
        assert_eq!(Got::of(answer.await.unwrap()).text, r#"{"a":[1]}"#);
    }
    assert_eq!((origin.seen().len(), joined.get()), (4, 9));
    assert_eq!(setup.composer.parts.flights.len(), 0);
}

#[tokio::test]
async fn calls_that_may_change_something_are_never_one() {
    let origin = Origin::new().await;
    let gate = origin.gate("/a", Does::json("1"));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: POST up/a, timeout: 1h }\n      b: { call: POST up/a, timeout: 1h }\n    answer: { timeout: 1h }\n",
    );
    let answer = setup.spawn(asked());
    origin.arrived(2).await;
    gate.add_permits(2);
    assert_eq!(Got::of(answer.await.unwrap()).status, 200);
}

/// CVE-2026-2836 is what becomes of a key with too little in it.
#[tokio::test]
async fn a_kept_result_is_given_to_nobody_else() {
    let who = Does::json("1").with("x: y");
    for (cache, shared_with) in [
        ("ttl: 1h, vary: [claims.sub]", [false, false, true, true]),
        // No claim is named, so everything that says who the client is counts.
        ("ttl: 1h", [false, false, false, true]),
        ("ttl: 1h, vary: [header.Accept-Language]", [false, false, false, true]),
        ("ttl: 1h, shared: true", [true, false, true, true]),
    ] {
        let origin = Origin::new().await;
        origin.on("/a", who.clone());
        let setup = Setup::new(
            &origin,
            &format!(
                "    aggregate:\n      a: {{ headers: [Accept-Language], cache: {{ {cache} }}, call: GET up/a }}\n"
            ),
        );
        assert_eq!(setup.ask().await.header("x-aggregate-complete"), "true");
        let mut host = asked();
        host.headers.insert("host", "other.example.com".parse().unwrap());
        let mut role = asked();
        role.headers.insert("x-user-id", "u7; admin".parse().unwrap());
        let mut id = asked();
        id.headers.insert("x-request-id", "another".parse().unwrap());
        for (request, shared) in [asked_by("u8"), host, role, id].iter().zip(shared_with) {
            let before = origin.seen().len();
            let got = setup.ask_as(request).await;
            assert_eq!(got.text, r#"{"a":1}"#);
            let asked = origin.seen().len() - before;
            assert_eq!(asked, usize::from(!shared), "{cache}: {request:?}");
            assert_eq!(got.header("server-timing").contains("desc=\"cache\""), shared);
        }
        let mut language = asked();
        language.headers.insert("accept-language", "fr".parse().unwrap());
        let before = origin.seen().len();
        setup.ask_as(&language).await;
        assert_eq!(origin.seen().len(), before + 1, "what the call carries is always part of the key");
    }
}

#[tokio::test]
async fn a_shared_call_carries_nothing_of_the_client() {
    let origin = Origin::new().await;
    origin.on("/a", Does::json("1"));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { cache: { ttl: 1h, shared: true }, headers: [X-User-Id], call: GET up/a }\n",
    );
    assert_eq!(setup.ask().await.status, 200);
    let seen = origin.seen().remove(0);
    for name in ["x-user-id", "authorization", "cookie", "x-forwarded-for"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn what_may_not_be_kept_is_not() {
    for (fields, cache, requests) in [
        ("cache-control: no-store", "", 2),
        ("cache-control: private", "", 1),
        ("cache-control: private", ", shared: true", 2),
        ("cache-control: max-age=60", "", 1),
        ("vary: *", "", 2),
        ("vary: accept-language", "", 1),
    ] {
        let origin = Origin::new().await;
        origin.on("/a", Does::json("1").with(fields));
        let setup = Setup::new(
            &origin,
            &format!("    aggregate:\n      a: {{ cache: {{ ttl: 1h{cache} }}, call: GET up/a }}\n"),
        );
        setup.ask().await;
        setup.ask().await;
        assert_eq!(origin.seen().len(), requests, "{fields}{cache}");
    }
}

#[tokio::test]
async fn a_stale_result_is_given_while_one_fetches_a_new_one() {
    let origin = Origin::new().await;
    origin.on("/a", Does::json("1").with("cache-control: max-age=0"));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: GET up/a, timeout: 1h, cache: { ttl: 1h, stale_while_revalidate: 1h } }\n",
    );
    assert_eq!(setup.ask().await.text, r#"{"a":1}"#);
    let gate = origin.gate("/a", Does::json("2"));
    for _ in 0..5 {
        let got = setup.ask().await;
        assert_eq!((&*got.text, got.header("x-aggregate-complete")), (r#"{"a":1}"#, "true"));
    }
    origin.arrived(2).await;
    assert_eq!(origin.seen().len(), 2, "one fetches, not all");
    gate.add_permits(1);
    origin.answered(2).await;
    let parts = &setup.composer.parts;
    until(|| parts.renewals.available_permits() == 64).await;
    assert_eq!(setup.ask().await.text, r#"{"a":2}"#);
    assert_eq!(origin.seen().len(), 2);
}

#[tokio::test]
async fn a_stale_result_stands_in_for_trouble_but_not_for_a_refusal() {
    let origin = Origin::new().await;
    origin.on("/a", Does::json("1").with("cache-control: max-age=0"));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: GET up/a, cache: { ttl: 1h, stale_if_error: 1h } }\n",
    );
    assert_eq!(setup.ask().await.text, r#"{"a":1}"#);
    origin.on("/a", Does::typed(500, "text/plain", ""));
    let got = setup.ask().await;
    assert_eq!((&*got.text, got.header("x-aggregate-complete")), (r#"{"a":1}"#, "true"));
    assert!(got.header("server-timing").contains("desc=\"stale\""));
    origin.on("/a", Does::typed(403, "text/plain", ""));
    assert_eq!(setup.ask().await.status, 502);
    origin.on("/a", Does::typed(500, "text/plain", ""));
    assert_eq!(setup.ask().await.status, 502, "what was taken back is forgotten");
}

/// One request of many that are nearly the same.
fn varied((user, role, language, host, page, id): &(u8, u8, u8, u8, u8, u8)) -> Asked {
    let mut asked = asked();
    asked.claims = (*user > 0).then(|| Arc::new(json!({ "sub": format!("u{user}") })));
    asked.headers.insert("x-user-id", format!("r{role}").parse().unwrap());
    asked.headers.remove("accept-language");
    // None, an empty one, one, the same twice.
    for value in [&[][..], &[""], &["a"], &["a", "a"]][usize::from(*language)] {
        asked.headers.append("accept-language", value.parse().unwrap());
    }
    asked.headers.insert("host", format!("h{host}").parse().unwrap());
    asked.headers.insert("x-request-id", format!("{id}").parse().unwrap());
    asked.query = ["", "page", "page=1"][usize::from(*page)].into();
    asked
}

/// Results and calls are shared exactly where nothing differs that the key is to hold.
#[tokio::test]
async fn two_requests_share_what_is_the_same_for_both_and_nothing_else() {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    type Facts = (u8, u8, u8, u8, u8, u8);
    type Told = fn(&Facts) -> Vec<u8>;
    let origin = Origin::new().await;
    let composer = composer();
    let told_apart: [(&str, Told); 4] = [
        ("ttl: 1h, vary: [claims.sub]", |f| vec![f.0, f.2, f.3]),
        ("ttl: 1h, vary: [claims.sub, query.page]", |f| vec![f.0, f.2, f.3, f.4]),
        ("ttl: 1h", |f| vec![f.0, f.1, f.2, f.3]),
        ("ttl: 1h, shared: true", |f| vec![f.2, f.3]),
    ];
    for (cache, facts) in told_apart {
        let rest = format!(
            "    aggregate:\n      a: {{ headers: [Accept-Language], cache: {{ {cache} }}, call: GET up/a }}\n"
        );
        let setup = Setup::of(composer.clone(), &origin, &rest);
        let keys = |asked: &Asked| {
            let carried = super::super::errand::Carried::new(asked);
            let branch = &setup.prepared.plan.branches[0];
            let super::super::plan::Source::Call(call) = &branch.source else { panic!("it is a call") };
            let known = super::super::text::Known {
                params: &asked.params,
                query: &asked.query,
                claims: asked.claims.as_deref(),
                results: &[],
                item: None,
            };
            let errand = carried.errand(branch, call, &setup.prepared.branches[0].prefix, &known).unwrap();
            (errand.kept.clone(), errand.flight_key().unwrap())
        };
        let one = || (0u8..3, 0u8..2, 0u8..4, 0u8..2, 0u8..3, 0u8..2);
        let shared = cache.contains("shared");
        TestRunner::default()
            .run(&(one(), one()), |(one, other)| {
                let (kept, flight) = keys(&varied(&one));
                let (other_kept, other_flight) = keys(&varied(&other));
                let (same, other_same) = (facts(&one), facts(&other));
                // Two who lack the claim are not the same client.
                let keeps = |f: &Facts| f.0 > 0 || !cache.contains("claims.");
                prop_assert_eq!((kept.is_some(), other_kept.is_some()), (keeps(&one), keeps(&other)));
                prop_assert_eq!(kept.is_some() && kept == other_kept, keeps(&one) && same == other_same);
                let wire = |f: &Facts| (if shared { 0 } else { f.1 }, f.2, f.3);
                prop_assert_eq!(flight == other_flight, wire(&one) == wire(&other));
                Ok(())
            })
            .unwrap();
    }
}
