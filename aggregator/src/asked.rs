//! A request as the edge passes it on: what the client asks, and what the edge knows of it. And what comes back.
//!
//! How both travel over the socket is the server's affair.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Collected};
use sallyport_sidecar::{Refusal, problem};
use serde_json::Value;

/// The field with the route's name. Like the others of this family it is managed: no client can set it.
pub const ROUTE: &str = "Sallyport-Route";
/// The field with the route's path parameters, `name=value&name=value`, percent-encoded as in the canonical path.
pub const PARAMS: &str = "Sallyport-Params";
/// The field with the names of the fields that the route's filters set, which say to services who the client is.
pub const IDENTITY: &str = "Sallyport-Identity";

/// A request of a route that this crate answers.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The route's name.
    pub route: Box<str>,
    /// The method.
    pub method: Method,
    /// The query as it came, without `?`; empty if there is none.
    pub query: Box<str>,
    /// The route's path parameters by name, percent-decoded.
    pub params: Vec<(Box<str>, Box<str>)>,
    /// The claims of the client's identity, an object; `None` for a client without one.
    pub claims: Option<Arc<Value>>,
    /// The client's address.
    pub client: IpAddr,
    /// The id under which the edge logs the request.
    pub request_id: Box<str>,
    /// The head's fields as the filters left them, `Host`, `X-Forwarded-*` and `traceparent` among them.
    pub headers: HeaderMap,
    /// Those fields of it that the route's filters have set: they say to services who the client is.
    pub identity: Vec<HeaderName>,
    /// The body; empty if there is none.
    pub body: Bytes,
}

/// An answer to the edge.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The head's fields, without those that frame the body.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body in pieces, none of them empty.
    pub body: Vec<Bytes>,
    /// What is given back when the body has been sent, or nobody wants it any more.
    pub hold: Option<Box<dyn Any + Send>>,
}

impl Answer {
    /// A problem document (RFC 9457).
    pub fn refusal(refusal: &Refusal, request_id: &str) -> Answer {
        let (head, body) = problem(refusal, request_id).into_parts();
        // It is there at once, whole.
        let body = body.collect().now_or_never().and_then(Result::ok).map(Collected::to_bytes);
        Answer {
            status: head.status,
            headers: head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            body: body.into_iter().filter(|bytes| !bytes.is_empty()).collect(),
            hold: None,
        }
    }
}

impl Asked {
    /// A path parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }
}
