//! The services behind the demo's edge: batches, files, results, users, the live page. Small, but they do what they say.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, StatusCode};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream;
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::events::{Events, Registered};
use super::live;
use super::signer::Signer;

/// Which service answers on a socket.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service {
    Batches,
    Files,
    Results,
    Live,
    Users,
}

/// The addresses in routes.yaml and who answers there.
pub(super) const ADDRESSES: [(&str, Service); 6] = [
    ("127.0.0.1:9101", Service::Batches),
    ("127.0.0.1:9102", Service::Batches),
    ("127.0.0.1:9201", Service::Files),
    ("127.0.0.1:9301", Service::Results),
    ("127.0.0.1:9401", Service::Live),
    ("127.0.0.1:9501", Service::Users),
];

const CHUNK_BYTES: usize = 64 * 1024;
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// What the services share.
pub(super) struct Platform {
    uploads: PathBuf,
    batches: Mutex<BTreeMap<u64, Registered>>,
    events: Arc<Events>,
    signer: Arc<Signer>,
}

impl Platform {
    /// A platform without batches that keeps uploads in this folder. Call it on a Tokio runtime.
    pub(super) fn new(
        uploads: PathBuf,
        events: Arc<Events>,
        signer: Arc<Signer>,
    ) -> Result<Arc<Platform>, String> {
        let platform = Arc::new(Platform { uploads, batches: Mutex::default(), events, signer });
        let of_commands = Arc::downgrade(&platform);
        platform.events.obey(move |id| of_commands.upgrade()?.batches().get(&id).cloned())?;
        Ok(platform)
    }

    fn batches(&self) -> MutexGuard<'_, BTreeMap<u64, Registered>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers on this socket until the process ends.
pub(super) async fn serve(socket: TcpListener, platform: Arc<Platform>, service: Service) {
    while let Ok((tcp, _)) = socket.accept().await {
        let platform = platform.clone();
        // Head and body are two small writes here; the second must not wait for an acknowledgement of the first.
        let _ = tcp.set_nodelay(true);
        tokio::spawn(async move {
            // A broken connection is the edge's affair, and it will tell.
            let _ = connection(Stream::from(tcp), &platform, service).await;
        });
    }
}

async fn connection(stream: Stream, platform: &Platform, service: Service) -> Result<()> {
    let mut stream: pingora_core::protocols::Stream = Box::new(stream);
    loop {
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive(Some(60));
        if !session.read_request().await? {
            return Ok(());
        }
        if session.req_header().uri.path() == "/healthz" {
            answer(&mut session, StatusCode::OK, &json!({ "ok": true })).await?;
        } else {
            match service {
                Service::Batches => batches(&mut session, platform).await?,
                Service::Files => files(&mut session, platform).await?,
                Service::Results => results(&mut session).await?,
                Service::Users => users(&mut session).await?,
                Service::Live => live::answer(&mut session, &platform.signer).await?,
            }
        }
        match session.finish().await? {
            Some(reusable) => (stream, _) = reusable.into_parts(),
            None => return Ok(()),
        }
    }
}

async fn batches(session: &mut ServerSession, platform: &Platform) -> Result<()> {
    let head = session.req_header();
    let (method, path, owner) = (head.method.clone(), head.uri.path().to_owned(), user(session));
    if method == Method::POST {
        let body = read_body(session).await?;
        let title = serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|body| Some(body.get("title")?.as_str()?.to_owned()));
        let Some(title) = title else {
            return answer(session, StatusCode::BAD_REQUEST, &json!({ "error": "a batch needs a `title`" }))
                .await;
        };
        let batch = {
            let mut batches = platform.batches();
            let batch = Registered { id: batches.len() as u64 + 1, owner, title };
            batches.insert(batch.id, batch.clone());
            batch
        };
        platform.events.registered(&batch).await;
        return answer(session, StatusCode::CREATED, &shown(&batch)).await;
    }
    let found = {
        let batches = platform.batches();
        let own = batches.values().filter(|batch| batch.owner == owner).map(shown);
        match path.strip_prefix("/v1/batches/") {
            None => Some(json!({ "batches": own.collect::<Vec<_>>() })),
            Some(id) => own.into_iter().find(|batch| batch["id"].as_u64() == id.parse().ok()),
        }
    };
    match found {
        Some(found) => answer(session, StatusCode::OK, &found).await,
        None => answer(session, StatusCode::NOT_FOUND, &json!({ "error": "no such batch" })).await,
    }
}

fn shown(batch: &Registered) -> Value {
    json!({ "id": batch.id, "owner": batch.owner, "title": batch.title })
}

async fn files(session: &mut ServerSession, platform: &Platform) -> Result<()> {
    let head = session.req_header();
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let Some(place) = place(&platform.uploads, &user(session), &path) else {
        return answer(session, StatusCode::BAD_REQUEST, &json!({ "error": "not a file's name" })).await;
    };
    if method == Method::PUT {
        if let Some(folder) = place.parent() {
            tokio::fs::create_dir_all(folder)
                .await
                .or_err(ErrorType::FileCreateError, "a folder for uploads")?;
        }
        let mut file = File::create(&place).await.or_err(ErrorType::FileCreateError, "an upload")?;
        let mut bytes = 0;
        while let Some(chunk) = session.read_request_body().await? {
            bytes += chunk.len();
            file.write_all(&chunk).await.or_err(ErrorType::FileWriteError, "an upload")?;
        }
        file.flush().await.or_err(ErrorType::FileWriteError, "an upload")?;
        return answer(session, StatusCode::CREATED, &json!({ "bytes": bytes })).await;
    }
    match File::open(&place).await {
        Ok(file) => download(session, file).await,
        Err(_) => answer(session, StatusCode::NOT_FOUND, &json!({ "error": "no such file" })).await,
    }
}

async fn download(session: &mut ServerSession, mut file: File) -> Result<()> {
    let length = file.metadata().await.or_err(ErrorType::FileReadError, "a download")?.len();
    let mut head = ResponseHeader::build(StatusCode::OK, Some(3))?;
    head.insert_header(CONTENT_TYPE, "application/octet-stream")?;
    head.insert_header(CONTENT_LENGTH, length)?;
    session.write_response_header(Box::new(head)).await?;
    let mut left = length;
    while left > 0 {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = file.read(&mut chunk).await.or_err(ErrorType::FileReadError, "a download")?;
        if read == 0 {
            return Err(Error::explain(ErrorType::FileReadError, "the file became shorter"));
        }
        chunk.truncate(read);
        left = left.saturating_sub(read as u64);
        session.write_response_body(Bytes::from(chunk), left == 0).await?;
    }
    Ok(())
}

/// Marks of a batch: made up from its name, but always the same for it.
async fn results(session: &mut ServerSession) -> Result<()> {
    let batch = session.req_header().uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let sum: u32 = batch.bytes().map(u32::from).sum();
    let results =
        json!({ "batch": batch, "essays": sum % 40 + 1, "mean_mark": f64::from(sum % 50) / 10.0 + 5.0 });
    answer(session, StatusCode::OK, &results).await
}

/// The profile of a user: made up from the name, and nobody gets another's.
async fn users(session: &mut ServerSession) -> Result<()> {
    let id = session.req_header().uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    if id != user(session) {
        return answer(session, StatusCode::NOT_FOUND, &json!({ "error": "no such user" })).await;
    }
    let mut letters = id.chars();
    let name: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    let profile = json!({ "id": id, "name": name, "mail": format!("{id}@example.com"), "language": "en" });
    answer(session, StatusCode::OK, &profile).await
}

/// Where a user's file is. The edge has made the path canonical; a service looks all the same.
fn place(uploads: &Path, user: &str, path: &str) -> Option<PathBuf> {
    let name = Path::new(path.strip_prefix("/v1/files/")?);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let inside = !name.as_os_str().is_empty() && name.components().all(plain);
    let safe = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') && !user.is_empty();
    (inside && safe).then(|| uploads.join(user).join(name))
}

/// Who asks: the edge has checked it, and nobody else can set this header.
fn user(session: &ServerSession) -> String {
    String::from_utf8_lossy(session.get_header_bytes("x-user-id")).into_owned()
}

async fn read_body(session: &mut ServerSession) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = session.read_request_body().await? {
        body.extend_from_slice(&chunk);
        if body.len() > BATCH_BYTES_MAX {
            return Error::e_explain(ErrorType::ReadError, "the body is too large for a batch");
        }
    }
    Ok(body)
}

pub(super) async fn answer(session: &mut ServerSession, status: StatusCode, body: &Value) -> Result<()> {
    let body = format!("{body}\n");
    let mut head = ResponseHeader::build(status, Some(3))?;
    head.insert_header(CONTENT_TYPE, "application/json")?;
    head.insert_header(CONTENT_LENGTH, body.len())?;
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(Bytes::from(body), true).await
}
