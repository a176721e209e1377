//! A small HTTP/1.1 service on loopback that does to each path what a test tells it to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// What a path does.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// Answers: status, fields, body.
    Answer(u16, String, Vec<u8>),
    /// The head of a longer answer, half of its body, and the end of the connection.
    BreaksOff,
    /// Nothing, until the other side closes.
    Hangs,
    /// Answers once for each permit.
    Waits(Arc<Semaphore>, Box<Does>),
    /// The first of these, then the others; the last again and again.
    First(Vec<Does>),
    /// On a connection that has had a request before: the end of it, without an answer. Else the answer.
    ClosesWhenReused(Box<Does>),
}

impl Does {
    pub(crate) fn json(body: &str) -> Does {
        Does::Answer(200, "content-type: application/json\r\n".to_owned(), body.as_bytes().to_vec())
    }

    pub(crate) fn typed(status: u16, media: &str, body: &str) -> Does {
        Does::Answer(status, format!("content-type: {media}\r\n"), body.as_bytes().to_vec())
    }

    pub(crate) fn with(self, fields: &str) -> Does {
        match self {
            Does::Answer(status, before, body) => Does::Answer(status, format!("{before}{fields}\r\n"), body),
            other => other,
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

#[derive(Default)]
struct Shared {
    paths: Mutex<HashMap<String, Does>>,
    seen: Mutex<Vec<Seen>>,
    arrived: watch::Sender<usize>,
    answered: watch::Sender<usize>,
    left: watch::Sender<usize>,
}

pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Origin {
    pub(crate) async fn new() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Origin { address, shared }
    }

    /// What a path does from now on.
    pub(crate) fn on(&self, path: &str, does: Does) {
        self.shared.paths.lock().unwrap().insert(path.to_owned(), does);
    }

    /// A path that answers once for each permit of what is returned.
    pub(crate) fn gate(&self, path: &str, does: Does) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.on(path, Does::Waits(gate.clone(), Box::new(does)));
        gate
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn arrived(&self, count: usize) {
        self.shared.arrived.subscribe().wait_for(|seen| *seen >= count).await.unwrap();
    }

    /// Waits until so many have been answered.
    pub(crate) async fn answered(&self, count: usize) {
        self.shared.answered.subscribe().wait_for(|seen| *seen >= count).await.unwrap();
    }

    /// How many have been answered.
    pub(crate) fn answered_so_far(&self) -> usize {
        *self.shared.answered.borrow()
    }

    /// Waits until so many requests were given up by the other side.
    pub(crate) async fn left(&self, count: usize) {
        self.shared.left.subscribe().wait_for(|seen| *seen >= count).await.unwrap();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    let mut requests = 0;
    while let Some(seen) = read(&mut stream, &mut buffer).await {
        requests += 1;
        let path = seen.line.split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
        shared.seen.lock().unwrap().push(seen);
        shared.arrived.send_modify(|count| *count += 1);
        let does = {
            let mut paths = shared.paths.lock().unwrap();
            match paths.get_mut(&path) {
                Some(Does::First(list)) if list.len() > 1 => list.remove(0),
                Some(Does::First(list)) => list[0].clone(),
                Some(does) => does.clone(),
                None => Does::typed(404, "text/plain", "no such path"),
            }
        };
        if !act(&mut stream, does, requests, &shared).await {
            return;
        }
        shared.answered.send_modify(|count| *count += 1);
    }
}

/// Whether the connection goes on.
async fn act(stream: &mut TcpStream, mut does: Does, requests: usize, shared: &Shared) -> bool {
    loop {
        does = match does {
            Does::Answer(status, fields, body) => {
                let length =
                    if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
                let head = format!("HTTP/1.1 {status} X\r\n{fields}{length}\r\n");
                return stream.write_all(&[head.as_bytes(), &body].concat()).await.is_ok();
            }
            Does::BreaksOff => {
                let head =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n[1,2";
                let _ = stream.write_all(head.as_bytes()).await;
                return false;
            }
            Does::Hangs => {
                until_closed(stream).await;
                shared.left.send_modify(|count| *count += 1);
                return false;
            }
            Does::Waits(gate, then) => {
                let open = tokio::select! {
                    permit = gate.acquire() => { permit.unwrap().forget(); true }
                    () = until_closed(stream) => false,
                };
                if !open {
                    shared.left.send_modify(|count| *count += 1);
                    return false;
                }
                *then
            }
            Does::ClosesWhenReused(_) if requests > 1 => return false,
            Does::ClosesWhenReused(then) => *then,
            Does::First(mut list) => list.remove(0),
        };
    }
}

async fn until_closed(stream: &mut TcpStream) {
    let mut rest = [0; 64];
    while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {}
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut lines = head.lines().map(str::to_owned);
    let line = lines.next().unwrap();
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| {
            line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        })
        .collect();
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { line, fields, body: buffer.drain(..length).collect() })
}
