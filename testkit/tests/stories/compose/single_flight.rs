//! Equal calls under way are one call, and calls of different clients are not equal.

use std::sync::Arc;

use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin, Response, Signal};
use tokio::task::JoinHandle;

stories!(
    clients_who_ask_the_same_at_once_make_one_call,
    clients_with_identities_of_their_own_make_calls_of_their_own,
    calls_that_change_something_are_never_one,
    who_leaves_takes_nothing_from_those_who_stay,
);

const ROUTES: &str = r#"
  - match: GET /same
    public: true
    aggregate:
      a: { call: GET up/a, timeout: 1h }
      b: { call: GET up/b }
    answer: { timeout: 1h }
  - match: GET /own
    filters: [{ jwt: { issuer: main, forward: { X-User-Id: sub } } }]
    aggregate:
      a: { call: GET up/a, timeout: 1h }
    answer: { timeout: 1h }
  - match: GET /change
    public: true
    aggregate:
      a: { call: POST up/a, timeout: 1h }
    answer: { timeout: 1h }
"#;

async fn start(mode: Mode) -> (Signal, Origin, Arc<ComposedEdge>) {
    let signal = Signal::new();
    let origin = Origin::builder().on("/a", Answer::json("1").held(&signal)).start().await;
    let edge = Arc::new(super::start(mode, &origin, ROUTES).await);
    (signal, origin, edge)
}

fn ask(edge: &Arc<ComposedEdge>, user: Option<&'static str>, target: &'static str) -> JoinHandle<Response> {
    let edge = edge.clone();
    tokio::spawn(async move {
        match user {
            Some(user) => edge.get_as(user, target).await,
            None => edge.get(target).await,
        }
    })
}

async fn all_good(answers: Vec<JoinHandle<Response>>) {
    for answer in answers {
        let answer = answer.await.unwrap().expect(200);
        assert_eq!(answer.json()["a"], 1);
    }
}

async fn clients_who_ask_the_same_at_once_make_one_call(mode: Mode) {
    let (signal, origin, edge) = start(mode).await;
    let answers: Vec<_> = (0..8).map(|_| ask(&edge, None, "/same")).collect();
    let calls = || origin.requests().into_iter().filter(|request| request.target == "/a").count();
    // Calls of `b` that are over by the time another begins are not joined.
    edge.wait_for_metric("sallyport_aggregate_in_flight", &[], 8.0).await;
    sallyport_testkit::wait::until("seven who wait for the call of the first", || async {
        (edge.metric("sallyport_aggregate_joined_total", &[]).await >= 7.0).then_some(())
    })
    .await;
    assert_eq!(calls(), 1);
    signal.give();
    all_good(answers).await;
    assert_eq!(calls(), 1);
    // What came back is given to those who waited and to nobody else.
    edge.get("/same").await.expect(200);
    assert_eq!(calls(), 2);
}

async fn clients_with_identities_of_their_own_make_calls_of_their_own(mode: Mode) {
    let (signal, origin, edge) = start(mode).await;
    let users = [Some("ada"), Some("bob"), Some("ada"), Some("Ada"), Some("bob")];
    let answers: Vec<_> = users.map(|user| ask(&edge, user, "/own")).into();
    edge.wait_for_metric("sallyport_aggregate_joined_total", &[], 2.0).await;
    let mut seen: Vec<_> = origin.wait_for(3).await;
    seen.sort_by_key(|request| request.header("x-user-id").map(str::to_owned));
    let users: Vec<_> = seen.iter().filter_map(|request| request.header("x-user-id")).collect();
    assert_eq!(users, ["Ada", "ada", "bob"]);
    signal.give();
    all_good(answers).await;
    assert_eq!(origin.requests().len(), 3);
}

async fn calls_that_change_something_are_never_one(mode: Mode) {
    let (signal, origin, edge) = start(mode).await;
    let answers: Vec<_> = (0..3).map(|_| ask(&edge, None, "/change")).collect();
    assert_eq!(origin.wait_for(3).await.len(), 3);
    signal.give();
    all_good(answers).await;
    assert_eq!(edge.metric("sallyport_aggregate_joined_total", &[]).await, 0.0);
}

async fn who_leaves_takes_nothing_from_those_who_stay(mode: Mode) {
    let (signal, origin, edge) = start(mode).await;
    let mut first = edge.edge.client().await;
    first.send("GET /own HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ").await;
    first.send(format!("{}\r\n\r\n", edge.token("ada"))).await;
    origin.wait_for(1).await;
    let second = ask(&edge, Some("ada"), "/own");
    edge.wait_for_metric("sallyport_aggregate_joined_total", &[], 1.0).await;
    drop(first);
    edge.wait_for_metric("sallyport_aggregate_cancelled_total", &[], 1.0).await;
    signal.give();
    all_good(vec![second]).await;
    assert_eq!(origin.requests().len(), 1);
}
