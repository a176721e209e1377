//! Answers, and their bodies.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use hyper::Response;
use hyper::body::{Frame, SizeHint};
use sallyport_sidecar::Refusal;

use super::events::EventsBody;

/// What follows a head.
pub(super) enum Body {
    Full(Full<Bytes>),
    Events(EventsBody),
}

impl Body {
    pub(super) fn empty() -> Self {
        Body::Full(Full::default())
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Full(body) => Pin::new(body).poll_frame(cx),
            Body::Events(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(body) => body.is_end_stream(),
            Body::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(body) => body.size_hint(),
            Body::Events(_) => SizeHint::default(),
        }
    }
}

/// A problem document (RFC 9457), with the headers that its status asks for.
pub(super) fn problem(refusal: &Refusal, request_id: &str) -> Response<Body> {
    let mut response = sallyport_sidecar::problem(refusal, request_id).map(Body::Full);
    match refusal.status {
        StatusCode::METHOD_NOT_ALLOWED => {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        // RFC 6455, section 4.4, and RFC 9110, section 15.5.22.
        StatusCode::UPGRADE_REQUIRED => {
            let headers = response.headers_mut();
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        _ => {}
    }
    response
}
