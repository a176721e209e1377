//! Requests sent ahead of their answers (RFC 9112, section 9.3.2): answered in order, and the origin sees exactly them.

use sallyport_testkit::{Answer, Client, EdgeUnderTest, Origin, Signal};

async fn edge() -> (Origin, EdgeUnderTest) {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    (origin, edge)
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Expects an echo of each of these requests, in this order.
async fn echoes(client: &mut Client, requests: &[(&str, &str)]) {
    for (method, target) in requests {
        let echo = client.response_to(method).await.expect(200).json();
        assert_eq!((echo["method"].as_str(), echo["target"].as_str()), (Some(*method), Some(*target)));
    }
    assert!(client.unread().is_empty(), "more than was asked for: {:?}", client.unread());
}

fn saw(origin: &Origin, targets: &[&str]) {
    let seen: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, targets);
    assert!(origin.violations().is_empty(), "{:?}", origin.violations());
    assert!(origin.requests().iter().all(|request| request.complete));
}

#[tokio::test]
async fn five_requests_in_one_write() {
    let (origin, edge) = edge().await;
    let targets = ["/0", "/1", "/2", "/3", "/4"];
    let mut client = edge.client().await;
    client.send(targets.map(get).concat()).await;
    echoes(&mut client, &targets.map(|target| ("GET", target))).await;
    // The connection is as good as before.
    client.send(get("/after")).await;
    echoes(&mut client, &[("GET", "/after")]).await;
    saw(&origin, &["/0", "/1", "/2", "/3", "/4", "/after"]);
}

#[tokio::test]
async fn four_requests_behind_one_that_the_origin_holds() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/0", Answer::echo().held(&signal)).start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let mut client = edge.client().await;
    client.send(get("/0")).await;
    origin.wait_for(1).await;
    for target in ["/1", "/2", "/3", "/4"] {
        client.send(get(target)).await;
    }
    // The edge has had every occasion to see them once another connection was served.
    edge.get("/other").await.expect(200);
    saw(&origin, &["/0", "/other"]);
    signal.give();
    echoes(&mut client, &["/0", "/1", "/2", "/3", "/4"].map(|target| ("GET", target))).await;
    saw(&origin, &["/0", "/other", "/1", "/2", "/3", "/4"]);
}

#[tokio::test]
async fn a_request_behind_a_body_of_a_length() {
    let (origin, edge) = edge().await;
    let mut client = edge.client().await;
    let post = "POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    client.send(post.to_owned() + &get("/get")).await;
    echoes(&mut client, &[("POST", "/post"), ("GET", "/get")]).await;
    // The same where the body's end and the next head come in a later write.
    let (head, rest) = post.split_at(post.len() - 3);
    client.send(head).await;
    origin.wait_for(3).await;
    client.send(rest.to_owned() + &get("/get2")).await;
    echoes(&mut client, &[("POST", "/post"), ("GET", "/get2")]).await;
    saw(&origin, &["/post", "/get", "/post", "/get2"]);
    let bodies: Vec<String> = origin.requests().iter().map(|request| request.body.text()).collect();
    assert_eq!(bodies, ["hello", "", "hello", ""]);
}

#[tokio::test]
async fn a_request_behind_a_chunked_body() {
    let (origin, edge) = edge().await;
    let mut client = edge.client().await;
    let post =
        "POST /post HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    client.send(post.to_owned() + &get("/get")).await;
    echoes(&mut client, &[("POST", "/post"), ("GET", "/get")]).await;
    client.send_slowly(post.to_owned() + &get("/slow")).await;
    echoes(&mut client, &[("POST", "/post"), ("GET", "/slow")]).await;
    saw(&origin, &["/post", "/get", "/post", "/slow"]);
    let bodies: Vec<String> = origin.requests().iter().map(|request| request.body.text()).collect();
    assert_eq!(bodies, ["hello", "", "hello", ""]);
}

// What looks like a request inside a body is body.
#[tokio::test]
async fn a_request_inside_a_body_is_none() {
    let (origin, edge) = edge().await;
    let inside = get("/inside");
    let mut client = edge.client().await;
    let head = format!("POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", inside.len());
    client.send(head + &inside + &get("/get")).await;
    echoes(&mut client, &[("POST", "/post"), ("GET", "/get")]).await;
    saw(&origin, &["/post", "/get"]);
    assert_eq!(origin.requests()[0].body.text(), inside);
}

#[tokio::test]
async fn a_malformed_head_behind_a_good_one_is_refused_in_its_turn() {
    for bad in [
        "GET /bad HTTP/1.1\r\nHost: localhost\r\nA : b\r\n\r\n",
        "GET /bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        let (origin, edge) = edge().await;
        let mut client = edge.client().await;
        client.send(get("/good") + bad + &get("/behind")).await;
        assert_eq!(client.response().await.expect(200).json()["target"], "/good", "{bad:?}");
        client.response().await.problem(400, "bad-request");
        let after = client.closed().await;
        assert!(after.is_empty(), "{bad:?}: {:?}", String::from_utf8_lossy(&after));
        saw(&origin, &["/good"]);
    }
}

// What follows a body that nobody read is not looked at: the client is told so by the closing connection.
#[tokio::test]
async fn nothing_behind_a_refused_body_is_a_request() {
    let origin = Origin::start().await;
    let edge =
        EdgeUnderTest::start(&(crate::everything_to(origin.address()) + "    body_limit: 10B\n")).await;
    let inside = get("/inside");
    let mut client = edge.client().await;
    let head = format!("POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", inside.len());
    client.send(head + &inside + &get("/behind")).await;
    let refused = client.response_to("POST").await;
    assert_eq!(refused.header("connection"), Some("close"));
    refused.problem(413, "content-too-large");
    assert!(client.closed().await.is_empty());
    assert!(origin.requests().is_empty());
}
