//! What an answer of a service is taken for: a result, or a failure.
//!
//! Any 2xx is a success. JSON is checked and stays as it is, text becomes a JSON string, nothing at all (204, or an empty
//! body) is `null`.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::call::Response;
use super::failure::Failure;
use super::upstream_problem::UpstreamProblem;
use crate::json::{Checked, Limits};

/// How deep a result may be nested: as deep as the JSON readers go that may look at it later.
pub(super) const DEPTH_MAX: u16 = 128;

/// A result as a service gave it, before its branch shapes it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) value: Checked,
    /// What is said of keeping it.
    pub(super) headers: SmallVec<[(HeaderName, HeaderValue); 2]>,
}

/// Takes an answer for what it is.
pub(super) fn received(response: Response) -> Result<Arc<Received>, Failure> {
    let status = response.status;
    let media = Media::of(response.header(&CONTENT_TYPE));
    if status.is_redirection() {
        return Err(Failure::Redirect(status));
    }
    if !status.is_success() {
        let document = (media == Media::Problem).then_some(&response.body);
        let problem = UpstreamProblem::read(document, &response.headers);
        return Err(Failure::Status(status, problem.map(Arc::new)));
    }
    let value = if response.body.is_empty() {
        Checked::null()
    } else {
        match media {
            Media::Json | Media::Problem => {
                let limits = Limits { depth_max: DEPTH_MAX, bytes_max: response.body.len() };
                Checked::new(response.body, &limits).map_err(|_| Failure::InvalidBody)?
            }
            Media::Text => Checked::of_text(&response.body).map_err(|_| Failure::InvalidBody)?,
            Media::Other => return Err(Failure::ContentType),
        }
    };
    Ok(Arc::new(Received { value, headers: response.headers }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    /// `application/json`, or any type with the suffix `+json` (RFC 6839, section 3.1).
    Json,
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// `text/*` in UTF-8 or ASCII.
    Text,
    Other,
}

impl Media {
    /// By the media type (RFC 9110, section 8.3.1). None at all is another.
    fn of(value: Option<&HeaderValue>) -> Self {
        let Some(value) = value.and_then(|value| value.to_str().ok()) else { return Media::Other };
        let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
        let essence = essence.trim().to_ascii_lowercase();
        match essence.split_once('/') {
            Some(("application", "problem+json")) => Media::Problem,
            Some(("application", "json")) => Media::Json,
            Some((_, subtype)) if subtype.ends_with("+json") => Media::Json,
            Some(("text", _)) if is_utf8(parameters) => Media::Text,
            _ => Media::Other,
        }
    }
}

/// Whether no other charset than UTF-8, or its part ASCII, is named.
fn is_utf8(parameters: &str) -> bool {
    parameters.split(';').filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        let value = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset")
            || ["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    fn take(status: u16, content_type: &'static str, body: &'static str) -> Result<String, Failure> {
        let headers = match content_type {
            "" => SmallVec::new(),
            value => SmallVec::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]),
        };
        let status = StatusCode::from_u16(status).unwrap();
        let response = Response { status, headers, body: Bytes::from_static(body.as_bytes()) };
        let value = received(response)?.value.clone();
        Ok(String::from_utf8(value.into_bytes().to_vec()).unwrap())
    }

    #[test]
    fn any_2xx_is_a_success_and_nothing_is_null() {
        for status in [200, 201, 202, 203, 299] {
            assert_eq!(take(status, "application/json", "{\"a\":1.0}").unwrap(), "{\"a\":1.0}");
        }
        for (status, media) in [(204, ""), (205, ""), (200, ""), (200, "application/json")] {
            assert_eq!(take(status, media, "").unwrap(), "null");
        }
    }

    #[test]
    fn json_by_any_name_and_text_as_a_string() {
        for media in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/hal+json",
            "application/problem+json",
        ] {
            assert_eq!(take(200, media, " [1] ").unwrap(), "[1]", "{media}");
        }
        for media in [
            "text/plain",
            "text/csv; charset=UTF-8",
            "text/html;charset=\"utf-8\"; x=y",
            "text/plain;charset=us-ascii",
        ] {
            assert_eq!(take(200, media, "a\"b").unwrap(), r#""a\"b""#, "{media}");
        }
    }

    #[test]
    fn all_else_fails() {
        for media in ["", "application/xml", "text/plain; charset=iso-8859-1", "json", "image/png"] {
            assert_eq!(take(200, media, "1"), Err(Failure::ContentType), "{media}");
        }
        assert_eq!(take(200, "application/json", "{"), Err(Failure::InvalidBody));
        assert_eq!(take(304, "", ""), Err(Failure::Redirect(StatusCode::NOT_MODIFIED)));
        assert_eq!(take(302, "text/html", "x"), Err(Failure::Redirect(StatusCode::FOUND)));
        assert_eq!(take(404, "text/html", "x"), Err(Failure::Status(StatusCode::NOT_FOUND, None)));
        let Err(Failure::Status(_, Some(problem))) =
            take(409, "application/problem+json", r#"{"title":"Taken"}"#)
        else {
            panic!("what the service says goes on");
        };
        assert_eq!(problem.title.as_deref(), Some("Taken"));
    }
}
