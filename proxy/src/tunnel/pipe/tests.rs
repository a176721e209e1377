use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;
use crate::tunnel::frames::close_of_server;

/// How it ended, who ended it first, and the bytes from and to the client.
type End = (Result<(), Broken>, Option<From>, (u64, u64));

/// Both far ends of a pipe that runs until it resolves or is told to close.
struct Ends {
    client: DuplexStream,
    upstream: DuplexStream,
    close: Option<tokio::sync::oneshot::Sender<()>>,
    pipe: tokio::task::JoinHandle<End>,
}

fn pipe(room: usize, from_client: &[u8], to_client: &[u8], head_bytes: usize) -> Ends {
    let (client, near_client) = duplex(room);
    let (upstream, near_upstream) = duplex(room);
    let (close, mut closing) = tokio::sync::oneshot::channel();
    let mut pipe =
        Pipe::new(near_client, near_upstream, from_client.to_vec(), to_client.to_vec(), head_bytes);
    let pipe = tokio::spawn(async move {
        let end = tokio::select! {
            biased;
            end = &mut pipe => end,
            Ok(()) = &mut closing => {
                pipe.close(1001);
                let end = (&mut pipe).await;
                pipe.shut().await;
                end
            }
        };
        (end, pipe.first_to_end(), pipe.bytes())
    });
    Ends { client, upstream, close: Some(close), pipe }
}

impl Ends {
    fn close(&mut self) {
        self.close.take().unwrap().send(()).unwrap();
    }
}

async fn exactly(stream: &mut DuplexStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, bytes);
}

const FRAME: &[u8] = b"\x81\x05hello";

#[tokio::test]
async fn what_came_early_goes_first_on_both_sides() {
    let mut ends = pipe(64, b"\x82\x00", b"HEAD\x82\x00", 4);
    exactly(&mut ends.upstream, b"\x82\x00").await;
    exactly(&mut ends.client, b"HEAD\x82\x00").await;
    ends.client.write_all(FRAME).await.unwrap();
    exactly(&mut ends.upstream, FRAME).await;
    ends.upstream.write_all(FRAME).await.unwrap();
    exactly(&mut ends.client, FRAME).await;
    drop(ends.client);
    assert_eq!(ends.upstream.read(&mut [0; 8]).await.unwrap(), 0);
    drop(ends.upstream);
    let (end, first, bytes) = ends.pipe.await.unwrap();
    assert!(end.is_ok());
    assert_eq!((first, bytes), (Some(From::Client), (9, 9)), "the head is not counted");
}

#[tokio::test]
async fn one_side_may_end_before_the_other() {
    let mut ends = pipe(64, b"", b"", 0);
    ends.upstream.shutdown().await.unwrap();
    assert_eq!(ends.client.read(&mut [0; 8]).await.unwrap(), 0);
    ends.client.write_all(FRAME).await.unwrap();
    exactly(&mut ends.upstream, FRAME).await;
    drop(ends.client);
    assert_eq!(ends.pipe.await.unwrap().1, Some(From::Upstream));
}

#[tokio::test]
async fn a_slow_side_gets_all_in_order() {
    let mut ends = pipe(1000, b"", b"", 0);
    let sent: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let (mut upstream, sending) = (ends.upstream, sent.clone());
    let writer = tokio::spawn(async move {
        upstream.write_all(&sending).await.unwrap();
        upstream
    });
    exactly(&mut ends.client, &sent).await;
    drop(writer.await.unwrap());
    assert_eq!(ends.client.read(&mut [0; 8]).await.unwrap(), 0);
    drop(ends.client);
    assert!(ends.pipe.await.unwrap().0.is_ok());
}

/// RFC 6455, sections 5.5.1 and 5.4: a Close frame stands between frames, and nothing follows it.
#[tokio::test]
async fn a_close_of_the_edge_waits_for_the_end_of_the_frame() {
    let mut ends = pipe(64, b"", b"", 0);
    ends.upstream.write_all(&FRAME[..3]).await.unwrap();
    exactly(&mut ends.client, &FRAME[..3]).await;
    ends.close();
    // To the upstream nothing is under way: it is told at once, masked.
    let mut close = [0; 8];
    ends.upstream.read_exact(&mut close).await.unwrap();
    assert_eq!(close[..2], [0x88, 0x82]);
    assert_eq!([close[6] ^ close[2], close[7] ^ close[3]], 1001_u16.to_be_bytes());
    // The rest of the frame, a frame that comes too late, and the upstream's answer.
    let late = [&FRAME[3..], FRAME, &close_of_server(1001)].concat();
    ends.upstream.write_all(&late).await.unwrap();
    exactly(&mut ends.client, &[&FRAME[3..], &close_of_server(1001)].concat()).await;
    ends.client.write_all(&[0x88, 0x80, 1, 2, 3, 4]).await.unwrap();
    assert_eq!(ends.client.read(&mut [0; 8]).await.unwrap(), 0, "one Close frame, no more");
    assert!(ends.pipe.await.unwrap().0.is_ok());
    assert_eq!(ends.upstream.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn who_was_passed_a_close_gets_no_second() {
    let mut ends = pipe(64, b"", b"", 0);
    ends.upstream.write_all(&close_of_server(1000)).await.unwrap();
    exactly(&mut ends.client, &close_of_server(1000)).await;
    ends.close();
    let mut close = [0; 8];
    ends.upstream.read_exact(&mut close).await.unwrap();
    ends.client.write_all(&[0x88, 0x80, 1, 2, 3, 4]).await.unwrap();
    assert_eq!(ends.client.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(ends.pipe.await.unwrap().1, Some(From::Upstream));
}

/// RFC 6455, section 7.1.1: the server closes first, and a client that does not follow is not waited for.
#[tokio::test]
async fn after_both_closes_one_end_is_enough() {
    let mut ends = pipe(64, b"", b"", 0);
    ends.client.write_all(&[0x88, 0x80, 1, 2, 3, 4]).await.unwrap();
    exactly(&mut ends.upstream, &[0x88, 0x80, 1, 2, 3, 4]).await;
    ends.upstream.write_all(&close_of_server(1000)).await.unwrap();
    drop(ends.upstream);
    exactly(&mut ends.client, &close_of_server(1000)).await;
    let (end, first, _) = ends.pipe.await.unwrap();
    assert!(end.is_ok());
    assert_eq!(first, Some(From::Client));
}

#[tokio::test]
async fn a_side_that_breaks_is_named() {
    let ends = pipe(64, b"", b"", 0);
    drop(ends.upstream);
    let mut client = ends.client;
    // The end of the upstream is no error; writing to what is gone is one.
    client.write_all(FRAME).await.unwrap();
    let (end, _, _) = ends.pipe.await.unwrap();
    assert_eq!(end.unwrap_err().side, From::Upstream);
}
