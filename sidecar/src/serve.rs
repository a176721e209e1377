//! Accepts the edge's connections and lets hyper speak HTTP/1.1 on them, until told to stop.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use log::{debug, error};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections at a time that speak HTTP, streams of events among them; more wait in the socket's queue. The limits on
/// clients are the sidecar's, and lower.
const CONNECTIONS_MAX: usize = 100_000;
/// Bytes of a head. The edge has limited it already, and added the claims.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of a head.
const FIELDS_MAX: usize = 256;
/// Time for a head, counted from the end of the answer before it. Longer than the edge keeps a connection in its pool, so
/// that it is the edge that closes one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// The pause after a failure to accept, which is a lack of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `answer` on `listener`. When `stop` says true, or its sender is gone, nobody is accepted any more, connections
/// end behind the answer that they are at, and this returns when all have: an answer without an end is for the caller to
/// end. Dropped before, it cuts them off. Connections that were upgraded are not its business.
pub async fn serve<A, F, B>(listener: UnixListener, answer: A, mut stop: watch::Receiver<bool>)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = told_to(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, answer.clone(), stop.clone()));
                }
                Err(error) => {
                    error!("cannot accept a connection of the edge: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection, up to its end as an HTTP connection.
async fn connection<A, F, B>(stream: UnixStream, answer: A, mut stop: watch::Receiver<bool>)
where
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let answer = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(FIELDS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        // What a head that is not complete may take; hyper looks at its size when it is.
        .max_buf_size(2 * HEAD_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer).with_upgrades());
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = told_to(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!("a connection of the edge failed: {error}");
    }
}

/// Waits until `stop` says true, or nobody can say so any more.
async fn told_to(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
