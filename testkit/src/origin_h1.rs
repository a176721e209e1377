//! How an [`Origin`](crate::Origin) serves its connections: reads a request strictly, then does what the answer says.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::answer::{Answer, Content, Piece};
use crate::body::{Body, Reading, pattern_block};
use crate::origin::{Open, Received, Shared};
use crate::wire::{Framing, Wire, WireError};

pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Small answers must not wait for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        connections.spawn(connection(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let (number, tape) = shared.opened();
    let _open = Open(Arc::clone(&shared));
    let Some(mut wire) = shared.secure(stream, tape).await else { return };
    loop {
        match exchange(&mut wire, number, &shared).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(WireError::Io(_)) => return,
            Err(error) => return shared.violation(error.to_string()),
        }
    }
}

/// Serves one request; `false` when the connection is to end.
async fn exchange(wire: &mut Wire, connection: usize, shared: &Shared) -> Result<bool, WireError> {
    let Some(head) = wire.head().await? else { return Ok(false) };
    let parts: Vec<&str> = head.start.split(' ').collect();
    let &[method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = parts.as_slice() else {
        return Err(WireError::Broken(format!("request line {:?}", head.start)));
    };
    let answer = shared.answer(target);
    let framing = head.request_framing()?;
    let last =
        version == "HTTP/1.0" || head.value("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    let method = method.to_owned();
    let received = Received {
        connection,
        method: method.clone(),
        target: target.to_owned(),
        body: Body::of(b""),
        complete: framing == Framing::None,
        head,
    };
    let index = shared.begin(received);
    if answer.continues {
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if !answer.early {
        read_body(wire, framing, index, shared).await?;
    }
    if let Some(signal) = &answer.held {
        // Who leaves meanwhile is let go, so that a story can wait for that.
        tokio::select! {
            () = signal.given() => {}
            gone = end(wire) => return gone.map(|()| false),
        }
    }
    let stays = write_answer(wire, &answer, &method, index, shared).await?;
    if answer.early {
        read_body(wire, framing, index, shared).await?;
    }
    Ok(stays && !last)
}

/// Waits for the end of what the other side sends.
async fn end(wire: &mut Wire) -> Result<(), WireError> {
    while wire.fill().await? {}
    Ok(())
}

async fn read_body(
    wire: &mut Wire,
    framing: Framing,
    index: usize,
    shared: &Shared,
) -> Result<(), WireError> {
    let mut reading = Reading::default();
    let outcome = wire.body(framing, &mut reading).await;
    shared.body(index, reading.so_far(), outcome.is_ok());
    match outcome {
        // A body that ends early is what an edge does when its client goes away: recorded, no violation.
        Err(WireError::Ended(_)) => Err(WireError::Io(std::io::ErrorKind::UnexpectedEof.into())),
        other => other.map(|_| ()),
    }
}

async fn write_answer(
    wire: &mut Wire,
    answer: &Answer,
    method: &str,
    index: usize,
    shared: &Shared,
) -> Result<bool, WireError> {
    match &answer.content {
        Content::Echo => {
            let body = shared.echo(index);
            let head = head(
                200,
                answer,
                &format!("Content-Type: application/json\r\n{}", length(body.len() as u64)),
            );
            write_whole(wire, method, head, &body).await
        }
        Content::Fixed(status, body) => {
            let length = if matches!(status, 204 | 304) { String::new() } else { length(body.len() as u64) };
            write_whole(wire, method, head(*status, answer, &length), body).await
        }
        Content::Download(bytes) => download(wire, answer, *bytes).await,
        Content::Stream(feed) => {
            let mut pieces = feed.listen();
            wire.write(head(200, answer, "Transfer-Encoding: chunked\r\n").as_bytes()).await?;
            while let Some(piece) = pieces.recv().await {
                match piece {
                    Piece::Data(data) => {
                        let chunk = [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat();
                        wire.write(&chunk).await?;
                    }
                    Piece::End(trailers) => {
                        let trailers: String =
                            trailers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                        wire.write(format!("0\r\n{trailers}\r\n").as_bytes()).await?;
                        return Ok(true);
                    }
                    Piece::Break => return Ok(false),
                }
            }
            Ok(false)
        }
        Content::Raw(bytes) => wire.write(bytes).await.map(|()| false),
        Content::RawKept(bytes) => wire.write(bytes).await.map(|()| true),
        Content::Cut(declared, sent) => {
            wire.write(head(200, answer, &length(*declared)).as_bytes()).await?;
            wire.write(sent).await.map(|()| false)
        }
        Content::Close => Ok(false),
    }
}

async fn write_whole(wire: &mut Wire, method: &str, head: String, body: &[u8]) -> Result<bool, WireError> {
    let mut bytes = head.into_bytes();
    if method != "HEAD" {
        bytes.extend_from_slice(body);
    }
    wire.write(&bytes).await?;
    Ok(true)
}

async fn download(wire: &mut Wire, answer: &Answer, bytes: u64) -> Result<bool, WireError> {
    wire.write(head(200, answer, &length(bytes)).as_bytes()).await?;
    let block = pattern_block();
    let mut left = bytes;
    while left > 0 {
        let piece = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        wire.write(&block[..piece]).await?;
        left -= piece as u64;
    }
    Ok(true)
}

fn head(status: u16, answer: &Answer, framing: &str) -> String {
    let extra: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} From-Origin\r\n{extra}{framing}\r\n")
}

fn length(bytes: u64) -> String {
    format!("Content-Length: {bytes}\r\n")
}
