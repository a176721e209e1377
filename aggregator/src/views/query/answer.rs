//! The answer of a query: headers, validators, and 304 where the client has it already.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::time::Duration;

use super::position;
use crate::asked::Answer;
use crate::views::hot::Weigh;
use crate::views::versions::Offsets;

/// How far the view has come: the last record of each partition that is in the answer.
const VIEW_OFFSETS: HeaderName = HeaderName::from_static("view-offsets");
/// How many records the view was behind the ends of its topics.
const VIEW_LAG: HeaderName = HeaderName::from_static("view-lag");
/// `false` where the view has not all rows.
const VIEW_COMPLETE: HeaderName = HeaderName::from_static("view-complete");

/// What a query came to, as it is kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// The document and its validator; `None`: there is no such row.
    pub(super) document: Option<(Bytes, HeaderValue)>,
    /// What the rows are made of.
    pub(super) offsets: std::sync::Arc<Offsets>,
}

impl Kept {
    pub(super) fn new(body: Option<Vec<u8>>, offsets: Offsets) -> Self {
        let document = body.map(|body| {
            let tag = entity_tag(&body);
            (Bytes::from(body), tag)
        });
        Kept { document, offsets: offsets.into() }
    }
}

impl Weigh for Kept {
    fn weight(&self) -> usize {
        let document = self.document.as_ref().map_or(0, |(body, tag)| body.len() + tag.len());
        document + self.offsets.0.len() * size_of::<(std::sync::Arc<str>, i32, i64)>()
    }
}

/// A strong validator (RFC 9110, section 8.8.3), equal on all nodes for equal bodies.
fn entity_tag(body: &[u8]) -> HeaderValue {
    // The keys are fixed, and so is the function: other nodes, and other builds, have to say the same.
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(body);
    let tag = format!("\"{:032x}\"", hasher.finish128().as_u128());
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// What an answer says of the view.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) offsets: &'a Offsets,
    pub(super) lag: Option<u64>,
    pub(super) complete: bool,
    pub(super) max_age: Duration,
}

impl About<'_> {
    /// 200 with a document, or 304 if the client has it.
    pub(super) fn answer(&self, document: &Bytes, tag: &HeaderValue, request: &HeaderMap) -> Answer {
        let mut headers = Vec::with_capacity(7);
        let unchanged = has_already(request, tag);
        if !unchanged {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        headers.push((header::ETAG, tag.clone()));
        headers.push((header::CACHE_CONTROL, self.cache_control()));
        headers.push((header::VARY, HeaderValue::from_static("Authorization, Cookie")));
        self.view(&mut headers);
        let (status, body) = match unchanged {
            true => (StatusCode::NOT_MODIFIED, Vec::new()),
            false => (StatusCode::OK, vec![document.clone()]),
        };
        Answer { status, headers, body, hold: None }
    }

    /// Adds what is said of the view.
    pub(super) fn view(&self, headers: &mut Vec<(HeaderName, HeaderValue)>) {
        headers.extend(position::header(self.offsets).map(|offsets| (VIEW_OFFSETS, offsets)));
        headers.extend(self.lag.map(|lag| (VIEW_LAG, HeaderValue::from(lag))));
        if !self.complete {
            headers.push((VIEW_COMPLETE, HeaderValue::from_static("false")));
        }
    }

    fn cache_control(&self) -> HeaderValue {
        let private = HeaderValue::from_static("private, no-cache");
        match self.max_age.as_secs() {
            0 => private,
            seconds => HeaderValue::try_from(format!("private, max-age={seconds}")).unwrap_or(private),
        }
    }
}

/// Whether `If-None-Match` has the tag: compared weakly, and `*` has all (RFC 9110, section 13.1.2).
fn has_already(request: &HeaderMap, tag: &HeaderValue) -> bool {
    request.get_all(header::IF_NONE_MATCH).iter().any(|field| {
        let mut rest = field.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        // A tag may hold commas; what cannot be read ends the list.
        while !rest.is_empty() {
            rest = rest.strip_prefix(b"W/").unwrap_or(rest);
            let Some(end) =
                rest.strip_prefix(b"\"").and_then(|rest| rest.iter().position(|byte| *byte == b'"'))
            else {
                return false;
            };
            let (found, behind) = rest.split_at(end + 2);
            if found == tag.as_bytes() {
                return true;
            }
            let comma = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
            let next = behind.iter().position(|byte| !comma(byte)).unwrap_or(behind.len());
            rest = behind.get(next..).unwrap_or_default();
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110, section 13.1.2.
    #[test]
    fn a_client_that_has_it_gets_304() {
        let tag = entity_tag(b"{}");
        let text = tag.to_str().unwrap().to_owned();
        for (fields, expected) in [
            (vec![text.clone()], true),
            (vec![format!("W/{text}")], true),
            (vec![format!("\"a,b\", W/\"\" ,{text}")], true),
            (vec!["\"x\"".to_owned(), text.clone()], true),
            (vec![" * ".to_owned()], true),
            (vec!["\"*\"".to_owned()], false),
            (vec![text.trim_matches('"').to_owned()], false),
            (vec![format!("x, {text}")], false),
            (vec![text.to_uppercase()], text == text.to_uppercase()),
            (vec!["\"".to_owned()], false),
            (vec![], false),
        ] {
            let mut request = HeaderMap::new();
            for field in &fields {
                request.append(header::IF_NONE_MATCH, HeaderValue::try_from(field).unwrap());
            }
            assert_eq!(has_already(&request, &tag), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_validator_is_that_of_the_bytes() {
        assert_eq!(entity_tag(b"{}"), "\"95f44026b86983962d7672b2fc3683b6\"");
        assert_ne!(entity_tag(b"{}"), entity_tag(b"{ }"));
    }

    #[test]
    fn an_answer_says_how_old_it_is() {
        let offsets = Offsets(vec![("t".into(), 0, 8)]);
        let about =
            About { offsets: &offsets, lag: Some(3), complete: false, max_age: Duration::from_secs(7) };
        let kept = Kept::new(Some(b"{}".to_vec()), Offsets::default());
        let (body, tag) = kept.document.unwrap();
        let answer = about.answer(&body, &tag, &HeaderMap::new());
        let all: Vec<String> = answer
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(
            all,
            [
                "content-type: application/json".to_owned(),
                format!("etag: {}", tag.to_str().unwrap()),
                "cache-control: private, max-age=7".to_owned(),
                "vary: Authorization, Cookie".to_owned(),
                "view-offsets: t/0@7".to_owned(),
                "view-lag: 3".to_owned(),
                "view-complete: false".to_owned(),
            ]
        );
        let request = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        let about = About { lag: None, complete: true, max_age: Duration::ZERO, ..about };
        let unchanged = about.answer(&body, &entity_tag(b"{}"), &request);
        assert_eq!(
            (unchanged.status, unchanged.body.len(), unchanged.headers.len()),
            (StatusCode::NOT_MODIFIED, 0, 4)
        );
        assert!(
            unchanged
                .headers
                .contains(&(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")))
        );
    }
}
