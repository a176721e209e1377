//! Listeners that a reload renames, adds and removes: no socket is lost, no open connection breaks. Listeners that
//! share a port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sallyport_testkit::wait::until;
use sallyport_testkit::{Answer, Client, EdgeUnderTest, Origin, Signal};

fn listeners(names: &[&str], origin: &Origin) -> String {
    let lines: String =
        names.iter().map(|name| format!("  {name}: {{ address: \"127.0.0.1:0\" }}\n")).collect();
    format!("listeners:\n{lines}{}", crate::everything_to(origin.address()))
}

async fn refuses_connections(address: SocketAddr) {
    until("the closed front door", || async { tokio::net::TcpStream::connect(address).await.err() }).await;
}

#[tokio::test]
async fn a_listener_under_another_name_listens_on() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/held", Answer::echo().held(&signal)).start().await;
    let edge = EdgeUnderTest::start(&listeners(&["public"], &origin)).await;
    let address = edge.address("public");
    let mut idle = edge.client().await;
    idle.get("/").send().await.expect(200);
    let mut held = edge.client().await;
    held.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    origin.wait_for(2).await;
    edge.rewrite(&listeners(&["front"], &origin));
    edge.reload().await.unwrap();
    assert_eq!(edge.address("front"), address);
    signal.give();
    held.response().await.expect(200);
    for client in [&mut idle, &mut held, &mut Client::plain(address).await] {
        client.get("/").send().await.expect(200);
    }
    let log = edge.access_log(5).await;
    assert_eq!(log[4]["listener"], "front", "a new connection belongs to the new name");
}

#[tokio::test]
async fn listeners_come_and_go_beside_one_that_stays() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&listeners(&["public"], &origin)).await;
    let address = edge.address("public");
    let mut staying = edge.client().await;
    staying.get("/").send().await.expect(200);

    // Port 0 is a new port each time, so the newcomer is another socket, whatever its name sorts before.
    edge.rewrite(&listeners(&["another", "public"], &origin));
    edge.reload().await.unwrap();
    let another = edge.address("another");
    assert!(edge.address("public") == address && another != address);
    let mut guest = Client::plain(another).await;
    guest.get("/").send().await.expect(200);

    edge.rewrite(&listeners(&["public"], &origin));
    edge.reload().await.unwrap();
    refuses_connections(another).await;
    for client in [&mut staying, &mut guest, &mut edge.client().await] {
        client.get("/").send().await.expect(200);
    }
}

#[tokio::test]
async fn each_listener_keeps_its_socket_whatever_the_order() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&listeners(&["b", "a", "c"], &origin)).await;
    let before = ["a", "b", "c"].map(|name| edge.address(name));
    for order in [["b", "a", "c"], ["c", "b", "a"]] {
        edge.rewrite(&listeners(&order, &origin));
        edge.reload().await.unwrap();
        assert_eq!(["a", "b", "c"].map(|name| edge.address(name)), before, "{order:?}");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_had_changes_nothing() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&listeners(&["public"], &origin)).await;
    let taken = format!(
        "listeners:\n  front: {{ address: \"127.0.0.1:0\" }}\n  taken: {{ address: \"{}\" }}\nroutes: []\n",
        origin.address()
    );
    edge.rewrite(&taken);
    let error = edge.reload().await.unwrap_err();
    assert!(error.contains("taken") && error.contains(&origin.address().to_string()), "{error}");
    edge.get("/").await.expect(200);
}

/// `reuse_port`: two edges at one port are both served by the kernel, and one that does not say so is kept out.
#[tokio::test]
async fn edges_share_a_port_if_both_say_so() {
    let yaml = |address: SocketAddr, more: &str, body: &str| {
        format!(
            "listeners: {{ public: {{ address: \"{address}\"{more} }} }}\n\
             routes:\n  - {{ match: /, public: true, respond: {{ body: \"{body}\" }} }}\n"
        )
    };
    let shared = ", reuse_port: true";
    let one = EdgeUnderTest::start(&yaml("127.0.0.1:0".parse().unwrap(), shared, "one")).await;
    let address = one.address("public");
    let refused = EdgeUnderTest::builder().try_start(&yaml(address, "", "three")).await.err().unwrap();
    assert!(refused.contains(&format!("listener public: cannot listen on {address}")), "{refused}");
    let two = EdgeUnderTest::start(&yaml(address, shared, "two")).await;
    for (edge, body) in [(&one, "one"), (&two, "two")] {
        until(body, || async { (edge.get("/").await.expect(200).text() == body).then_some(()) }).await;
    }

    // The first must have said so as well as the second.
    let alone = EdgeUnderTest::start(&yaml("127.0.0.1:0".parse().unwrap(), "", "alone")).await;
    let again = yaml(alone.address("public"), shared, "again");
    assert!(EdgeUnderTest::builder().try_start(&again).await.is_err(), "the first did not share its port");
}

#[tokio::test]
async fn no_request_fails_while_the_listener_changes_its_name() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&listeners(&["public"], &origin)).await;
    let address = edge.address("public");
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    // A few requests a connection: accepting goes on, too.
                    let mut client = Client::plain(address).await;
                    for _ in 0..5 {
                        client.get("/").send().await.expect(200);
                        let echo = client.request("POST", "/").body("body").send().await.expect(200);
                        assert_eq!(echo.json()["body"], "body");
                        count += 2;
                    }
                }
                count
            })
        })
        .collect();
    for round in 0..20 {
        edge.rewrite(&listeners(&[&format!("name-{round}")], &origin));
        edge.reload().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for client in clients {
        sent += client.await.unwrap();
    }
    assert!(sent > 0);
    assert_eq!(edge.address("name-19"), address);
    assert_eq!(origin.requests().len(), sent);
}
