//! The end of an edge: it says so, ends what is under way, and cuts what does not end.

use std::net::SocketAddr;

use sallyport_testkit::wait::{until, within};
use sallyport_testkit::{Answer, Client, EdgeUnderTest, Origin, Signal};

async fn held(edge: &EdgeUnderTest, origin: &Origin) -> Client {
    let mut client = edge.client().await;
    client.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    origin.wait_for(1).await;
    client
}

async fn refuses_connections(address: SocketAddr) {
    until("the closed front door", || async { tokio::net::TcpStream::connect(address).await.err() }).await;
}

#[tokio::test]
async fn readiness_ends_and_the_exchange_under_way_does_not() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/held", Answer::echo().held(&signal)).start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let (address, admin) = (edge.address("public"), edge.admin_address());
    let mut held = held(&edge, &origin).await;
    let mut idle = edge.client().await;
    idle.get("/").send().await.expect(200);
    let mut silent = edge.client().await;
    let stopping = tokio::spawn(edge.stop());
    refuses_connections(address).await;

    let readiness = Client::plain(admin).await.get("/readyz").send().await.expect(503).json();
    assert_eq!(readiness["ready"], false);
    assert_eq!(readiness["reasons"][0], "the edge is stopping");
    Client::plain(admin).await.get("/healthz").send().await.expect(200);
    assert!(idle.closed().await.is_empty());
    assert!(silent.closed().await.is_empty());
    assert!(!stopping.is_finished());

    signal.give();
    held.response().await.expect(200);
    assert!(held.closed().await.is_empty());
    within("the stop", stopping).await.unwrap();
    refuses_connections(admin).await;
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/held", Answer::echo().held(&signal)).start().await;
    let process = "process: { access_log: \"off\", watch: false, drain: 100ms }\n";
    let edge = EdgeUnderTest::start(&(process.to_owned() + &crate::everything_to(origin.address()))).await;
    let mut held = held(&edge, &origin).await;
    edge.stop().await;
    assert!(held.closed().await.is_empty());
    // It was never answered, so it was the edge that gave up.
    signal.give();
    origin.wait_until_idle().await;
}
