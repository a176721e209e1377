use http::header::CONTENT_LENGTH;
use pingora_core::upstreams::peer::HttpPeer;
use proptest::prelude::*;
use sallyport_wire::READ_BYTES;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

fn peer() -> HttpPeer {
    HttpPeer::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)), false, String::new())
}

fn head(method: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build_no_case(method.as_bytes(), b"/x?q", None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    head
}

/// What was told of an answer: status, body, and whether the connection may serve another exchange.
type Told = (u16, Vec<u8>, bool);

/// Asks with a method, and reads the answer that comes in pieces; then the other side closes if `closes`.
async fn told(method: &str, pieces: &[&[u8]], closes: bool) -> Result<Told> {
    let (near, mut far) = duplex(64 * 1024);
    let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
    exchange.send_head(&head(method, &[])).await?;
    let mut kept = Vec::new();
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    let send = async {
        for piece in &pieces {
            far.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        if closes { drop(far) } else { kept.push(far) }
    };
    let read = async {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            match exchange.next(true).await? {
                HttpTask::Header(head, end) => {
                    status = head.status.as_u16();
                    if end && !head.status.is_informational() {
                        break;
                    }
                }
                HttpTask::Body(chunk, end) => {
                    body.extend_from_slice(&chunk.unwrap_or_default());
                    if end {
                        break;
                    }
                }
                _ => break,
            }
        }
        Ok((status, body, exchange.into_reusable().is_some()))
    };
    let (told, ()) = tokio::join!(read, send);
    told
}

async fn told_at_once(method: &str, answer: &str) -> Result<Told> {
    told(method, &[answer.as_bytes()], false).await
}

#[tokio::test]
async fn a_request_goes_out_as_it_is() {
    let (near, mut far) = duplex(1024);
    let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
    exchange.send_head(&head("POST", &[("host", "a"), ("transfer-encoding", "chunked")])).await.unwrap();
    exchange.send(Some(Bytes::from_static(b"hello")), false).await.unwrap();
    exchange.send(None, true).await.unwrap();
    drop(exchange);
    let mut wire = String::new();
    far.read_to_string(&mut wire).await.unwrap();
    assert_eq!(
        wire.to_ascii_lowercase(),
        "post /x?q http/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
}

/// RFC 9112, section 6.3: a body that is not as long as promised would be read as the next request.
#[tokio::test]
async fn a_body_of_another_length_than_promised_is_an_error() {
    let (near, _far) = duplex(1024);
    let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
    exchange.send_head(&head("POST", &[("content-length", "3")])).await.unwrap();
    assert!(exchange.send(Some(Bytes::from_static(b"four")), true).await.is_err());
    assert!(exchange.send(Some(Bytes::from_static(b"ab")), true).await.is_err());
    assert!(exchange.into_reusable().is_none());
}

#[tokio::test]
async fn a_target_that_would_split_the_head_is_not_sent() {
    let (near, _far) = duplex(1024);
    let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
    let split = RequestHeader::build_no_case("GET", b"/a b", None);
    if let Ok(split) = split {
        assert!(exchange.send_head(&split).await.is_err());
    }
}

/// RFC 9112, section 6.3, in its order.
#[tokio::test]
async fn answers_end_where_the_rules_say() {
    let body = |answer: &'static str| told_at_once("GET", answer);
    assert_eq!(
        body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap(),
        (200, b"hi".to_vec(), true)
    );
    assert_eq!(body("HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n").await.unwrap(), (204, vec![], true));
    assert_eq!(body("HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n").await.unwrap(), (304, vec![], true));
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\nT: t\r\n\r\n";
    assert_eq!(body(chunked).await.unwrap(), (200, b"hi!".to_vec(), true));
    let head = told_at_once("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await.unwrap();
    assert_eq!(head, (200, vec![], true));
    let until_close = told("GET", &[b"HTTP/1.1 200 OK\r\n\r\nhi", b" there"], true).await.unwrap();
    assert_eq!(until_close, (200, b"hi there".to_vec(), false));
    let interim = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n.";
    assert_eq!(body(interim).await.unwrap(), (200, b".".to_vec(), true));
}

/// RFC 9112, section 9.3 and 6.1: what leaves doubt about where the next answer begins ends the connection.
#[tokio::test]
async fn doubtful_connections_are_not_reused() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let (status, body, reusable) = told_at_once("GET", answer).await.unwrap();
        assert_eq!((status, body.as_slice(), reusable), (200, &b"hi"[..], false), "{answer}");
    }
    let kept = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi";
    assert!(told_at_once("GET", kept).await.unwrap().2);
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n",
        "SMTP ready\r\n\r\n",
        "HTTP/1.1 99 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nna me: x\r\n\r\n",
    ] {
        assert!(told_at_once("GET", answer).await.is_err(), "{answer}");
    }
    let short: [&[u8]; 2] = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", b"HTTP/1.1 200"];
    for answer in short {
        assert!(told("GET", &[answer], true).await.is_err());
    }
}

/// RFC 9110, section 8.6.
#[tokio::test]
async fn a_length_said_twice_is_one_length() {
    for lengths in ["Content-Length: 2, 2\r\ncontent-length: 2", "Content-Length: 2,2", "Content-Length: 002"]
    {
        let (near, mut far) = duplex(1024);
        let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
        far.write_all(format!("HTTP/1.1 200 Fine\r\n{lengths}\r\n\r\nhi").as_bytes()).await.unwrap();
        let HttpTask::Header(head, false) = exchange.next(true).await.unwrap() else { panic!("no head") };
        let told: Vec<_> = head.headers.get_all(CONTENT_LENGTH).iter().collect();
        assert_eq!(told, ["2"], "{lengths}");
        assert_eq!(head.get_reason_phrase(), Some("Fine"));
    }
}

/// RFC 9110, section 8.6, and RFC 9112, section 6.1: clients have waited for a body of that length.
#[tokio::test]
async fn an_answer_that_has_no_body_promises_none() {
    for status in ["103 Early", "204 No Content"] {
        let (near, mut far) = duplex(1024);
        let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n");
        far.write_all(answer.as_bytes()).await.unwrap();
        let HttpTask::Header(head, _) = exchange.next(true).await.unwrap() else { panic!("no head") };
        let names: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x"], "{status}");
    }
}

/// RFC 9112, section 6.1: a request of two lengths is how requests are smuggled, whoever has made it so.
#[tokio::test]
async fn a_request_is_framed_in_one_way() {
    let (near, _far) = duplex(1024);
    let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
    let both = head("POST", &[("content-length", "3"), ("transfer-encoding", "chunked")]);
    assert!(exchange.send_head(&both).await.is_err());
    let other = head("POST", &[("transfer-encoding", "gzip")]);
    assert!(exchange.send_head(&other).await.is_err());
    exchange.send_head(&head("GET", &[])).await.unwrap();
    assert!(exchange.send(Some(Bytes::from_static(b"more")), true).await.is_err());
}

proptest! {
    /// However an answer is cut into pieces, it is the same answer.
    #[test]
    fn pieces_do_not_matter(cuts in proptest::collection::vec(1_usize..90, 0..12), chunked: bool) {
        let answer: &[u8] = if chunked {
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        } else {
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(answer.len())).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &answer[cut[0]..cut[1]]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        prop_assert_eq!(runtime.block_on(told("GET", &pieces, false)).unwrap(), (200, b"hello".to_vec(), true));
    }
}

#[tokio::test]
async fn a_whole_request_goes_out_whole() {
    for length in [0, 5, TOGETHER_BYTES_MAX + 1] {
        let (near, mut far) = duplex(64 * 1024);
        let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
        let body = vec![b'x'; length];
        exchange.send_whole(&head("POST", &[("content-length", &length.to_string())]), &body).await.unwrap();
        far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        exchange.next(false).await.unwrap();
        drop(exchange.into_reusable().unwrap());
        let mut wire = Vec::new();
        far.read_to_end(&mut wire).await.unwrap();
        assert!(wire.ends_with(&[b"\r\n\r\n", &body[..]].concat()), "{length}");
    }
    for fields in [("content-length", "4"), ("transfer-encoding", "chunked")] {
        let (near, _far) = duplex(1024);
        let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
        assert!(exchange.send_whole(&head("POST", &[fields]), b"three").await.is_err());
    }
}

/// Reads an answer that comes in pieces with its body in one buffer; then the other side closes if `closes`.
async fn gathered(pieces: &[&[u8]], closes: bool) -> Result<(Vec<u8>, bool)> {
    let (near, mut far) = duplex(16 * 1024);
    let mut exchange = Http1::new(Connection::of(Box::new(near)), &peer());
    exchange.send_head(&head("GET", &[])).await?;
    let mut kept = Vec::new();
    let send = async {
        for piece in pieces {
            far.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        if closes { drop(far) } else { kept.push(far) }
    };
    let read = async {
        while !matches!(exchange.next(false).await?, HttpTask::Header(..)) {}
        let mut body = BytesMut::new();
        while !exchange.next_into(&mut body, false).await? {}
        Ok((body.to_vec(), exchange.into_reusable().is_some()))
    };
    let (read, ()) = tokio::join!(read, send);
    read
}

#[tokio::test]
async fn a_body_is_gathered_however_long_it_is() {
    for length in [1, 100, READ_BYTES - 1, READ_BYTES, 3 * READ_BYTES + 7] {
        let body: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let (first, rest) = body.split_at(length / 3);
        let answer = [head.as_bytes(), first].concat();
        assert_eq!(gathered(&[&answer, rest], false).await.unwrap(), (body.clone(), true), "{length}");
        // What follows is no part of it.
        let more = [rest, b"HTTP"].concat();
        assert_eq!(gathered(&[&answer, &more], true).await.unwrap(), (body.clone(), false), "{length}");
        assert!(gathered(&[&answer, &rest[1..]], true).await.is_err(), "{length}");
    }
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
    for at in 50..chunked.len() {
        let (first, rest) = chunked.split_at(at);
        assert_eq!(gathered(&[first, rest], false).await.unwrap(), (b"hi!".to_vec(), true));
    }
}

/// RFC 9112, section 9.3.1: a request may be sent again on its own only if the connection was closed before any answer.
#[tokio::test]
async fn only_a_close_before_any_byte_speaks_for_a_stale_connection() {
    for (came, stale) in [("", true), ("H", false), ("HTTP/1.1 100 Continue\r\n\r\n", false)] {
        let error = told("GET", &[came.as_bytes()], true).await.unwrap_err();
        assert_eq!(matches!(error.retry, RetryType::ReusedOnly), stale, "{came:?}");
    }
}
