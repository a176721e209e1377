//! What a composition may take, and that nothing is left when it is given up.

use std::task::Poll;

use sallyport_config::units::ByteSize;

use super::*;

/// Lets other tasks run until something holds.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_every_call_with_it() {
    let origin = Origin::new().await;
    origin.on("/a", Does::json("[1,2]"));
    origin.on("/hang", Does::Hangs);
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: GET up/a }\n      b: { call: GET up/hang, timeout: 1h }\n      \
         c: { call: POST up/hang, timeout: 1h, body: { x: 1 } }\n      \
         d: { call: 'GET up/hang?{item}', timeout: 1h, each: { in: a.$, max: 9 } }\n    answer: { timeout: 1h }\n"
            .replace("hang?{item}", "hang?i={item}")
            .as_str(),
    );
    let answer = setup.spawn(asked());
    origin.arrived(5).await;
    let metrics = &setup.composer.parts.metrics;
    assert_eq!(metrics.memory.in_flight.get(), 1);
    answer.abort();
    origin.left(4).await;
    until(|| metrics.memory.in_flight.get() == 0).await;
    assert_eq!(metrics.cancelled.get(), 1);
    assert_eq!(setup.composer.parts.flights.len(), 0);
}

#[tokio::test]
async fn the_first_required_failure_ends_the_others() {
    let origin = Origin::new().await;
    origin.on("/hang", Does::Hangs);
    let gate = origin.gate("/f", Does::typed(500, "text/plain", ""));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: GET up/hang, timeout: 1h }\n      f: { call: GET up/f, timeout: 1h }\n      \
         b: { call: GET up/hang?2, timeout: 1h, on_error: null }\n    answer: { timeout: 1h }\n",
    );
    let answer = setup.spawn(asked());
    origin.arrived(3).await;
    gate.add_permits(1);
    let got = Got::of(answer.await.unwrap());
    assert_eq!((got.status, got.reasons()), (502, vec![("f".to_owned(), "status".to_owned())]));
    origin.left(2).await;
    assert_eq!(setup.composer.parts.metrics.cancelled.get(), 0, "it was answered");
}

#[tokio::test]
async fn branches_have_no_more_time_than_the_answer() {
    let origin = Origin::new().await;
    origin.on("/hang", Does::Hangs);
    let branches =
        "    aggregate:\n      a: { call: GET up/hang, timeout: 1h }\n    answer: { timeout: 30ms }\n";
    let got = Setup::new(&origin, branches).ask().await;
    assert_eq!((got.status, got.reasons()), (504, vec![("a".to_owned(), "timeout".to_owned())]));
    let branches = branches.replace("timeout: 1h", "timeout: 1h, on_error: null");
    let got = Setup::new(&origin, &branches).ask().await;
    assert_eq!((got.status, &*got.text), (200, r#"{"a":null}"#));
    origin.left(2).await;
}

#[tokio::test]
async fn results_that_are_too_large_together_fail_whatever_on_error_says() {
    let origin = Origin::new().await;
    let large = format!("\"{}\"", "x".repeat(700));
    origin.on("/a", Does::json(&large));
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: GET up/a?1, on_error: null }\n      b: { call: GET up/a?2, on_error: null }\n    \
         answer: { bytes: 1KiB }\n",
    );
    let got = setup.ask().await;
    assert_eq!(got.status, 502);
    assert_eq!(got.reasons()[0].1, "answer-too-large");
}

#[tokio::test]
async fn one_request_too_many_is_turned_away() {
    let origin = Origin::new().await;
    origin.on("/a", Does::json("1"));
    let limits = AggregatorLimits { in_flight: 1, ..AggregatorLimits::default() };
    let setup = Setup::with(&origin, limits, "    aggregate:\n      a: { call: GET up/a }\n");
    let first = setup.composer.answer(&setup.prepared, &asked()).await;
    let got = setup.ask().await;
    assert_eq!((got.status, got.header("retry-after")), (503, "1"), "the first is still being sent");
    assert_eq!(got.json()["type"], "urn:sallyport:problem:unavailable");
    drop(first);
    assert_eq!(setup.ask().await.status, 200);
}

#[tokio::test]
async fn large_answers_wait_for_memory_in_turn_until_others_have_been_sent() {
    let origin = Origin::new().await;
    let large = format!("\"{}\"", "x".repeat(400 * 1024));
    origin.on("/a", Does::json(&large));
    let limits = AggregatorLimits { memory: ByteSize(1024 * 1024), ..AggregatorLimits::default() };
    let rest = "    aggregate:\n      a: { call: GET up/a, timeout: 1h }\n    answer: { bytes: 1MiB, timeout: 1h }\n";
    let setup = Setup::with(&origin, limits.clone(), rest);
    let first = setup.composer.answer(&setup.prepared, &asked()).await;
    let metrics = &setup.composer.parts.metrics.memory;
    assert_eq!(metrics.held.get(), 1024 * 1024);
    let second = setup.spawn(asked());
    until(|| metrics.waiting.get() == 1).await;
    assert!(!second.is_finished());
    drop(first);
    let second = second.await.unwrap();
    assert_eq!((second.status.as_u16(), metrics.held.get()), (200, 1024 * 1024));
    let late = Setup {
        composer: setup.composer.clone(),
        prepared: Setup::with(&origin, limits, &rest.replace("1MiB, timeout: 1h", "1MiB, timeout: 100ms"))
            .prepared,
    };
    let got = late.ask().await;
    assert_eq!((got.status, got.header("retry-after")), (503, "1"));
    assert_eq!(got.reasons(), [("a".to_owned(), "memory".to_owned())]);
    drop(second);
    assert_eq!((metrics.held.get(), metrics.waiting.get()), (0, 0));
}

/// What nobody has room for is not read: it stays with the service, which cannot send on.
#[tokio::test]
async fn a_body_that_waits_for_memory_is_not_read_meanwhile() {
    let origin = Origin::new().await;
    // More than the sockets' buffers hold.
    let large = format!("\"{}\"", "x".repeat(32 * 1024 * 1024));
    origin.on("/a", Does::json(&large));
    let limits = AggregatorLimits { memory: ByteSize(40 * 1024 * 1024), ..AggregatorLimits::default() };
    let rest = "    aggregate:\n      a: { call: GET up/a, timeout: 1h, bytes: 40MiB }\n    answer: { bytes: 40MiB, timeout: 1h }\n";
    let setup = Setup::with(&origin, limits, rest);
    let first = setup.composer.answer(&setup.prepared, &asked()).await;
    origin.answered(1).await;
    let second = setup.spawn(asked());
    let waiting = &setup.composer.parts.metrics.memory.waiting;
    until(|| waiting.get() == 1).await;
    origin.arrived(2).await;
    assert_eq!(origin.answered_so_far(), 1);
    drop(first);
    origin.answered(2).await;
    assert_eq!(Got::of(second.await.unwrap()).text.len(), large.len() + r#"{"a":}"#.len());
}

#[tokio::test]
async fn a_call_is_tried_again_where_that_is_allowed() {
    let ok = || Does::json("\"ok\"");
    for (settings, does, status, requests) in [
        ("retry: { on: ['503'] }, call: GET up/a", vec![Does::typed(503, "text/plain", ""), ok()], 200, 2),
        ("call: GET up/a", vec![Does::typed(503, "text/plain", ""), ok()], 502, 1),
        ("retry: { on: [reset] }, call: GET up/a", vec![Does::BreaksOff, ok()], 200, 2),
        ("retry: { on: [connect] }, call: GET up/a", vec![Does::BreaksOff, ok()], 502, 1),
        ("retry: { on: [connect] }, call: POST half/a", vec![ok()], 200, 1),
        (
            "retry: { on: [reset], attempts: 2 }, call: GET up/a",
            vec![Does::BreaksOff, Does::BreaksOff, ok()],
            200,
            3,
        ),
        ("retry: { on: [reset] }, call: GET up/a", vec![Does::BreaksOff, Does::BreaksOff, ok()], 502, 2),
    ] {
        let origin = Origin::new().await;
        origin.on("/a", Does::First(does));
        let got = Setup::new(&origin, &format!("    aggregate:\n      a: {{ {settings} }}\n")).ask().await;
        assert_eq!((got.status, origin.seen().len()), (status, requests), "{settings}");
    }
}

/// RFC 9112, section 9.3.1: a connection may be closed at any time, also just as a request is sent on it.
#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_failure_of_what_may_be_repeated() {
    for (call, status) in [("GET up/a", 200), ("POST up/a", 502)] {
        let origin = Origin::new().await;
        origin.on("/a", Does::ClosesWhenReused(Box::new(Does::json("1"))));
        let setup = Setup::new(&origin, &format!("    aggregate:\n      a: {{ call: {call} }}\n"));
        assert_eq!(setup.ask().await.status, 200);
        assert_eq!(setup.ask().await.status, status, "{call}");
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let origin = Origin::new().await;
    // Whoever comes on a used connection gets the second.
    origin.on("/a", Does::json("1"));
    let setup = Setup::new(&origin, "    aggregate:\n      a: { call: GET up/a }\n");
    setup.ask().await;
    origin.on("/a", Does::ClosesWhenReused(Box::new(Does::json("2"))));
    assert_eq!(setup.ask().await.text, r#"{"a":2}"#);
    assert_eq!(origin.seen().len(), 3, "one on the kept connection, one on a new one");
}

/// An answer is a future like any other: polled no more, it does nothing.
#[tokio::test]
async fn nothing_happens_before_an_answer_is_polled() {
    let origin = Origin::new().await;
    let setup = Setup::new(&origin, "    aggregate:\n      a: { call: GET up/a }\n");
    let request = asked();
    let mut answer = Box::pin(setup.composer.answer(&setup.prepared, &request));
    assert_eq!(setup.composer.parts.metrics.memory.in_flight.get(), 0);
    assert!(matches!(futures::poll!(&mut answer), Poll::Pending));
    assert_eq!(setup.composer.parts.metrics.memory.in_flight.get(), 1);
    drop(answer);
    assert_eq!(setup.composer.parts.metrics.memory.in_flight.get(), 0);
}
