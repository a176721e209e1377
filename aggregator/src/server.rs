//! The aggregator's HTTP side, for the edge: a request becomes an [`Asked`], an [`Answer`] becomes a response. And what
//! operators of the machine may ask.

use std::any::Any;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Collected, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use percent_encoding::percent_decode_str;
use sallyport_sidecar::{CLIENT, Introduction, Refusal, operational, problem};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::asked::{Answer, Asked, IDENTITY, PARAMS, ROUTE};
use crate::bodies::{Bodies, BodyError, Held};
use crate::host::Host;
use crate::views::changes::{Lines, asked_view};

/// Serves `host` on `listener` until `stop` says true and the answers under way have been given.
pub async fn serve(listener: UnixListener, host: Arc<Host>, stop: watch::Receiver<bool>) {
    let (stopped, bodies) = (stop.clone(), Bodies::new());
    let answer = move |request| respond(host.clone(), bodies.clone(), request, stopped.clone());
    sallyport_sidecar::serve(listener, answer, stop).await;
}

async fn respond(
    host: Arc<Host>,
    bodies: Bodies,
    request: Request<Incoming>,
    stop: watch::Receiver<bool>,
) -> Response<Either<Pieces, Lines>> {
    if request.headers().contains_key(CLIENT) {
        return of_client(&host, &bodies, request).await.map(Either::Left);
    }
    if let Some(view) = asked_view(request.uri().path()).filter(|_| request.method() == Method::GET) {
        return match host.changes(view) {
            Some(changes) => lines(changes.stream(stop)).map(Either::Right),
            None => {
                let refusal = Refusal::new(StatusCode::NOT_FOUND, "not-found", "there is no such view here");
                problem(&refusal, "").map(Pieces::whole).map(Either::Left)
            }
        };
    }
    operational(&host, &request).map(Pieces::whole).map(Either::Left)
}

/// An answer that does not end, for this machine's bridge.
fn lines(lines: Lines) -> Response<Lines> {
    let mut response = Response::new(lines);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn of_client(host: &Host, bodies: &Bodies, request: Request<Incoming>) -> Response<Pieces> {
    match read(host, bodies, request).await {
        // The body's part of the pool is held until there is an answer.
        Ok((asked, _held)) => Pieces::response(host.answer(&asked).await),
        Err((refusal, request_id)) => Pieces::response(Answer::refusal(&refusal, &request_id)),
    }
}

/// Reads what the edge says, to the end of the body.
async fn read(
    host: &Host,
    bodies: &Bodies,
    request: Request<Incoming>,
) -> Result<(Asked, Option<Held>), (Refusal, String)> {
    let (head, body) = request.into_parts();
    let request_id = sallyport_sidecar::request_id(&head.headers);
    let mut asked = of_head(head).map_err(|refusal| (refusal, request_id.clone()))?;
    if body.is_end_stream() {
        return Ok((asked, None));
    }
    let held = bodies.read(body, host.wants_body(&asked.route)).await.map_err(|error| {
        let refusal = match error {
            BodyError::TooLarge => {
                let detail = "the body is larger than a composed answer takes";
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "content-too-large", detail)
            }
            BodyError::Broken => Refusal::bad_request("the body broke off"),
        };
        (refusal, request_id)
    })?;
    asked.body = held.bytes.clone();
    Ok((asked, Some(held)))
}

fn of_head(head: http::request::Parts) -> Result<Asked, Refusal> {
    let Introduction { client, claims, request_id } = Introduction::read(&head.headers)?;
    let text = |name: &str| match head.headers.get(name).map(|value| std::str::from_utf8(value.as_bytes())) {
        Some(Ok(text)) => Ok(text),
        None => Ok(""),
        Some(Err(_)) => Err(Refusal::bad_request(format!("{name} is no text"))),
    };
    let params = text(PARAMS)?.split('&').filter(|pair| !pair.is_empty()).map(param);
    let params = params.collect::<Option<Vec<_>>>();
    let names = text(IDENTITY)?.split(',').filter(|name| !name.is_empty()).map(str::parse);
    let (route, names) = (text(ROUTE)?.into(), names.collect::<Result<Vec<_>, _>>());
    Ok(Asked {
        route,
        params: params.ok_or_else(|| Refusal::bad_request("a path parameter is no text"))?,
        identity: names.map_err(|_| Refusal::bad_request("Sallyport-Identity holds what is no name"))?,
        query: head.uri.query().unwrap_or_default().into(),
        method: head.method,
        claims,
        client,
        request_id: request_id.into(),
        headers: head.headers,
        body: Bytes::new(),
    })
}

/// `name=value`, the value percent-encoded. `None` for what is not UTF-8 when decoded: no service could tell it apart.
fn param(pair: &str) -> Option<(Box<str>, Box<str>)> {
    let (name, value) = pair.split_once('=')?;
    let value = percent_decode_str(value).decode_utf8().ok()?;
    Some((name.into(), value.into()))
}

/// A body in pieces, all there.
pub(crate) struct Pieces {
    rest: std::vec::IntoIter<Bytes>,
    bytes_left: u64,
    /// Given back with the body.
    _hold: Option<Box<dyn Any + Send>>,
}

impl Pieces {
    fn new(pieces: Vec<Bytes>, hold: Option<Box<dyn Any + Send>>) -> Pieces {
        let bytes_left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Pieces { rest: pieces.into_iter(), bytes_left, _hold: hold }
    }

    fn whole(body: Full<Bytes>) -> Pieces {
        // A whole body is there at once.
        let piece = body.collect();
        let bytes = piece.now_or_never().and_then(Result::ok).map(Collected::to_bytes);
        Pieces::new(bytes.into_iter().filter(|bytes| !bytes.is_empty()).collect(), None)
    }

    fn response(answer: Answer) -> Response<Pieces> {
        let mut response = Response::new(Pieces::new(answer.body, answer.hold));
        *response.status_mut() = answer.status;
        response.headers_mut().extend(answer.headers);
        response
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.rest.next();
        if let Some(piece) = &next {
            self.bytes_left -= piece.len() as u64;
        }
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}
