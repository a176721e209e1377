//! The one door through which every answer of the edge itself leaves.
//!
//! `on_response` runs backwards over the filters that saw the request, so that a 401 has its CORS, security and request id
//! headers like any other answer.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderValue, Method};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use pingora_timeout::timeout;
use sallyport_filters::reply::ReplyBody;
use sallyport_filters::{Exchange, Problem, ProblemKind, Reply, request_id};
use serde::Serialize;

use crate::ctx::Ctx;
use crate::end;
use crate::listener::{Conn, Service};

/// How long and how much of a body is read that nobody wants, so that the client gets to read the answer before the
/// connection closes (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// Sends a reply.
///
/// # Errors
/// The client is gone.
pub(crate) async fn send(session: &mut Session, ctx: &mut Ctx, reply: Reply) -> Result<()> {
    let unread = !session.is_body_done() && !session.is_body_empty();
    let continues = session.req_header().headers.contains_key(EXPECT);
    if let ReplyBody::Problem(problem) = &reply.body {
        ctx.problem = Some(problem.kind);
    }
    if unread || ctx.problem.is_some_and(ends_connection) {
        session.set_keepalive(None);
    }
    let (mut head, body) = render(session, ctx, &reply)?;
    shape(session, ctx, &mut head).await;
    let head_only = session.req_header().method == Method::HEAD || body.is_empty();
    session.write_response_header(Box::new(head), head_only).await?;
    if !head_only {
        ctx.response_body.bytes += body.len() as u64;
        session.write_response_body(Some(body), true).await?;
    }
    if unread && !continues {
        // Whatever this ends with, the connection closes now.
        let _ = timeout(LINGER, discard(session)).await;
    }
    Ok(())
}

/// The head of the answer that has been sent. An informational one, such as 100, is not yet an answer.
pub(crate) fn sent(session: &Session) -> Option<&ResponseHeader> {
    session.response_written().filter(|head| !head.status.is_informational())
}

/// After these the rest of the connection cannot be trusted to be where we think it is.
fn ends_connection(kind: ProblemKind) -> bool {
    matches!(
        kind,
        ProblemKind::BadRequest
            | ProblemKind::RequestTimeout
            | ProblemKind::ContentTooLarge
            | ProblemKind::UriTooLong
            | ProblemKind::HeadersTooLarge
    )
}

fn render(session: &Session, ctx: &Ctx, reply: &Reply) -> Result<(ResponseHeader, Bytes)> {
    let mut head = ResponseHeader::build(reply.status, Some(12))?;
    for (name, value) in &reply.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    let body = match &reply.body {
        ReplyBody::Empty => Bytes::new(),
        ReplyBody::Bytes(bytes) => bytes.clone(),
        ReplyBody::Problem(problem) => {
            let id =
                ctx.begun.as_ref().and_then(|begun| begun.facts.request_id.to_str().ok()).unwrap_or_default();
            let html = wants_html(&session.req_header().headers);
            let (content_type, body) = document(problem, id, html);
            head.insert_header(CONTENT_TYPE, content_type)?;
            head.insert_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
            body
        }
    };
    // RFC 9110, section 8.6: no Content-Length with 204 and 304; this edge makes no other reply without one.
    if !matches!(reply.status.as_u16(), 204 | 304) {
        head.insert_header(CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    }
    Ok((head, body))
}

async fn shape(session: &mut Session, ctx: &mut Ctx, head: &mut ResponseHeader) {
    let Some(begun) = &mut ctx.begun else { return };
    let routed = begun.route.is_some();
    let (chain, facts) = begun.split();
    let mut x = Exchange::new(session.req_header_mut(), facts);
    if !routed {
        // The chain of exchanges without a route only names them; it answers nothing.
        let _ = chain.on_request(&mut x).await;
    }
    if let Err(fault) = chain.on_response(&mut x, head) {
        ctx.error = Some(fault.reason);
    }
}

async fn discard(session: &mut Session) {
    let mut read = 0;
    while let Ok(Some(chunk)) = session.read_request_body().await {
        read += chunk.len();
        if read > LINGER_BYTES {
            return;
        }
    }
}

/// An answer to a head that never became a session: the same document, written as it goes over the wire. Logged and
/// counted here, because no later phase will.
pub(crate) fn before_session(service: &Service, conn: &Conn, reply: &Reply) -> Bytes {
    let id = request_id::new_id();
    let id = id.to_str().unwrap_or_default();
    let (content_type, body) = match &reply.body {
        ReplyBody::Problem(problem) => document(problem, id, false),
        ReplyBody::Bytes(bytes) => (HeaderValue::from_static("text/plain"), bytes.clone()),
        ReplyBody::Empty => (HeaderValue::from_static("text/plain"), Bytes::new()),
    };
    end::refused_head(&service.state, conn, reply, id, body.len());
    let mut wire = String::with_capacity(256 + body.len());
    // Writing to a string cannot fail.
    let _ = write!(
        wire,
        "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\nx-request-id: {id}\r\n\
         connection: close\r\n\r\n",
        reply.status,
        content_type.to_str().unwrap_or_default(),
        body.len(),
    );
    let mut bytes = BytesMut::from(wire.as_bytes());
    bytes.extend_from_slice(&body);
    bytes.freeze()
}

/// RFC 9457, section 3.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: String,
}

fn document(problem: &Problem, request_id: &str, html: bool) -> (HeaderValue, Bytes) {
    let (status, title) = (problem.kind.status().as_u16(), problem.kind.title());
    if html {
        let (detail, id) = (escape(&problem.detail), escape(request_id));
        let page = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>{status} {title}</title><h1>{title}</h1><p>{detail}.</p>\
             <p>Status {status}, request id <code>{id}</code></p></html>\n"
        );
        return (HeaderValue::from_static("text/html; charset=utf-8"), Bytes::from(page));
    }
    let document = Document {
        r#type: problem.kind.type_uri(),
        title,
        status,
        detail: &problem.detail,
        instance: format!("urn:sallyport:request:{request_id}"),
    };
    let json = serde_json::to_vec(&document).unwrap_or_default();
    (HeaderValue::from_static("application/problem+json"), Bytes::from(json))
}

/// A browser that navigates names text/html; everybody else gets the problem document.
fn wants_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).any(|accept| {
        accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
                && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
    })
}

fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_a_document_of_rfc_9457() {
        let problem = Problem { kind: ProblemKind::NotFound, detail: "no route".into() };
        let (content_type, body) = document(&problem, "id-1", false);
        assert_eq!(content_type, "application/problem+json");
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:sallyport:problem:not-found", "title": "Not found", "status": 404,
                "detail": "no route", "instance": "urn:sallyport:request:id-1",
            })
        );
    }

    #[test]
    fn what_a_page_repeats_is_escaped() {
        let problem = Problem { kind: ProblemKind::NotFound, detail: "<script>".into() };
        let (_, body) = document(&problem, "\"><img>", true);
        let page = std::str::from_utf8(&body).unwrap();
        assert!(page.contains("&lt;script&gt;") && page.contains("&quot;&gt;&lt;img&gt;"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("<img>"));
    }

    #[test]
    fn only_who_asks_for_html_gets_it() {
        let with = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            wants_html(&headers)
        };
        assert!(with("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(with("application/json, Text/HTML; q=0.5"));
        assert!(!with("*/*") && !with("application/json") && !with("text/html;q=0"));
        assert!(!wants_html(&HeaderMap::new()));
    }
}
