//! The operator's listener: health, readiness, metrics, the running configuration, upstreams, reload.
//!
//! There is no login: it listens on loopback unless told otherwise. A page in a browser on the same machine is kept out by
//! refusing requests that carry an `Origin`, and names other than addresses and `localhost` (DNS rebinding).

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN};
use http::{Method, StatusCode};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream;
use pingora_http::{RequestHeader, ResponseHeader};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::reload::{self, ReloadError};
use crate::run::Inner;

const CONNECTIONS_MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);
const INDEX: &str = "GET  /healthz    the process is alive\n\
    GET  /readyz     it can serve; if not, why\n\
    GET  /metrics    Prometheus\n\
    GET  /config     the running configuration, secrets masked\n\
    GET  /upstreams  targets, their health and load\n\
    GET  /live       clients of the bridge, and how far Kafka was read\n\
    GET  /views      how far views are, and what they hold\n\
    POST /reload     read the configuration again\n";

/// What is answered.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

/// Serves until the edge has stopped, its drain included: `/readyz` tells load balancers to go elsewhere.
pub(crate) async fn serve(socket: TcpListener, edge: Arc<Inner>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut ended = edge.kill.subscribe();
    loop {
        let tcp = tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((tcp, _)) => tcp,
                Err(_) => continue,
            },
            _ = ended.wait_for(|ended| *ended) => return,
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let edge = edge.clone();
        tokio::spawn(async move {
            // A client of the admin listener that takes longer than this has gone.
            let _ = tokio::time::timeout(PATIENCE, one(tcp, &edge)).await;
            drop(place);
        });
    }
}

/// One request; the connection closes behind it.
async fn one(tcp: TcpStream, edge: &Arc<Inner>) -> pingora_error::Result<()> {
    let mut session = ServerSession::new_http1(Box::new(Stream::from(tcp)));
    if !session.read_request().await? {
        return Ok(());
    }
    session.set_keepalive(None);
    let answer = answer(session.req_header(), edge).await;
    let mut head = ResponseHeader::build(answer.status, Some(5))?;
    head.insert_header(CONTENT_TYPE, answer.content_type)?;
    head.insert_header(CONTENT_LENGTH, answer.body.len())?;
    head.insert_header(CACHE_CONTROL, "no-store")?;
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        head.insert_header(ALLOW, "GET, HEAD, POST")?;
    }
    let head_only = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(head)).await?;
    if !head_only {
        session.write_response_body(answer.body.into(), true).await?;
    }
    session.finish().await?;
    Ok(())
}

async fn answer(head: &RequestHeader, edge: &Arc<Inner>) -> Answer {
    if head.headers.contains_key(ORIGIN) || !local_name(head) {
        return text(StatusCode::FORBIDDEN, "this listener is for operators, not for pages in a browser\n");
    }
    let read = head.method == Method::GET || head.method == Method::HEAD;
    match (head.uri.path(), read) {
        ("/", true) => text(StatusCode::OK, INDEX),
        ("/healthz", true) => text(StatusCode::OK, "ok\n"),
        ("/readyz", true) => readiness(edge),
        ("/metrics", true) => Answer {
            status: StatusCode::OK,
            content_type: "text/plain; version=0.0.4",
            body: edge.exposition(),
        },
        ("/config", true) => configuration(edge),
        ("/upstreams", true) => upstreams(edge),
        ("/live", true) => live(edge),
        ("/views", true) => views(edge),
        ("/reload", false) if head.method == Method::POST => reload(edge).await,
        (
            "/" | "/healthz" | "/readyz" | "/metrics" | "/config" | "/upstreams" | "/live" | "/views"
            | "/reload",
            _,
        ) => text(StatusCode::METHOD_NOT_ALLOWED, INDEX),
        _ => text(StatusCode::NOT_FOUND, INDEX),
    }
}

fn local_name(head: &RequestHeader) -> bool {
    let Some(host) = head.headers.get(HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|digit| digit.is_ascii_digit()) { name } else { host }
    });
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

/// Apart from readiness: an edge whose Kafka is away still serves everything else.
fn live(edge: &Inner) -> Answer {
    match edge.live.status() {
        Some(status) => json_answer(StatusCode::OK, &status),
        None => text(StatusCode::NOT_FOUND, "no bridge runs in this process\n"),
    }
}

/// Apart from readiness, for the same reason.
fn views(edge: &Inner) -> Answer {
    match edge.composing.status() {
        Some(status) => json_answer(StatusCode::OK, &status),
        None => text(StatusCode::NOT_FOUND, "no aggregator runs in this process\n"),
    }
}

fn readiness(edge: &Inner) -> Answer {
    let plan = edge.service.state.plan.load();
    let now = Instant::now();
    let mut reasons = Vec::new();
    if edge.stopping() {
        reasons.push("the edge is stopping".to_owned());
    }
    for (name, upstream) in &plan.upstreams {
        if !upstream.ready() {
            reasons.push(format!("upstream {name}: no address is known"));
        }
    }
    for issuer in plan.issuers.iter().filter(|issuer| !issuer.ready(now)) {
        reasons.push(format!("issuer {}: its keys or revocations are not there", issuer.name()));
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(status, &json!({ "ready": reasons.is_empty(), "reasons": reasons }))
}

fn configuration(edge: &Inner) -> Answer {
    let plan = edge.service.state.plan.load();
    let listeners: serde_json::Map<String, Value> =
        edge.bound().iter().map(|(name, bound)| (name.clone(), json!(bound.address))).collect();
    let refused = edge.last_reload.lock().unwrap_or_else(PoisonError::into_inner).clone();
    json_answer(
        StatusCode::OK,
        &json!({
            "generation": plan.generation,
            "loaded_at": unix_seconds(plan.loaded_at),
            "files": plan.loaded.files,
            "addresses": listeners,
            "last_reload_refused": refused,
            "config": plan.loaded.config,
        }),
    )
}

fn upstreams(edge: &Inner) -> Answer {
    let plan = edge.service.state.plan.load();
    let now = Instant::now();
    let snapshots: Vec<_> = plan.upstreams.values().map(|upstream| upstream.snapshot(now)).collect();
    json_answer(StatusCode::OK, &json!({ "upstreams": snapshots }))
}

async fn reload(edge: &Arc<Inner>) -> Answer {
    match reload::reload(edge).await {
        Ok(generation) => json_answer(StatusCode::OK, &json!({ "generation": generation })),
        Err(ReloadError::Config(report)) => {
            json_answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "errors": report.to_json() }))
        }
        Err(error) => json_answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({ "errors": [{ "message": error.to_string() }] }),
        ),
    }
}

fn text(status: StatusCode, body: &str) -> Answer {
    Answer { status, content_type: "text/plain; charset=utf-8", body: body.to_owned() }
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let body = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    Answer { status, content_type: "application/json", body }
}

/// Seconds since 1970, as Prometheus counts time.
pub(crate) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
