//! A branch's call put together for one request: its target, what it carries, and what it is known by.
//!
//! Two keys keep apart what belongs to different clients. [`Errand::flight_key`] holds all that goes over the wire but what
//! is different in every request, so two calls share one only if the service could not tell them apart. `kept` holds the URL, the
//! headers that the branch lists, and what `vary` says; where `vary` names no claim and the cache is not shared, all headers that
//! say who the client is.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderName, HeaderValue, Method};

use super::call::Call;
use super::failure::Failure;
use super::key::{Key, KeyBuilder};
use super::plan::{self, Body, Branch, Cache, Vary};
use super::text::{self, Known};
use super::trace;
use crate::asked::Asked;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What is different in every request, and tells no two calls apart.
const OF_THE_REQUEST: [HeaderName; 2] =
    [HeaderName::from_static("x-request-id"), HeaderName::from_static("tracestate")];
/// JSON is what results are made of; text is taken too, and anything is worth an error that says what came.
const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, text/plain;q=0.5, */*;q=0.1");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What all calls of one request carry, looked up once.
pub(super) struct Carried<'a> {
    asked: &'a Asked,
    forwarded: Vec<(HeaderName, HeaderValue)>,
    identity: Vec<(HeaderName, HeaderValue)>,
    of_the_request: Vec<(HeaderName, HeaderValue)>,
}

/// A call and the keys it is known by.
pub(super) struct Errand {
    pub(super) call: Call,
    /// How many of the call's fields, from the first, tell calls apart.
    telling: usize,
    /// What its result is kept under; `None` if nothing is kept, and nothing kept is given.
    pub(super) kept: Option<Key>,
}

impl<'a> Carried<'a> {
    pub(super) fn new(asked: &'a Asked) -> Self {
        let all = |names: &[HeaderName]| {
            let mut fields = Vec::with_capacity(names.len());
            for name in names {
                fields.extend(asked.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
            }
            fields
        };
        let forwarded = asked.headers.iter().filter(|(name, _)| is_forwarded(name));
        // What every call carries anyway goes along once, whoever has set it.
        let goes_anyway =
            |name: &HeaderName| is_forwarded(name) || *name == TRACEPARENT || OF_THE_REQUEST.contains(name);
        let identity: Vec<_> = asked.identity.iter().filter(|name| !goes_anyway(name)).cloned().collect();
        Carried {
            asked,
            forwarded: forwarded.map(|(name, value)| (name.clone(), value.clone())).collect(),
            identity: all(&identity),
            of_the_request: all(&OF_THE_REQUEST),
        }
    }

    /// Puts a call together.
    ///
    /// # Errors
    /// A value that it needs is not there.
    pub(super) fn errand(
        &self,
        branch: &Branch,
        plan: &plan::Call,
        prefix: &[u8],
        known: &Known<'_>,
    ) -> Result<Errand, Failure> {
        let target = plan.target(known).map_err(|_| Failure::MissingValue)?;
        let shared = branch.cache.as_ref().is_some_and(|cache| cache.shared);
        let (body, content_type) = match &plan.body {
            None => (Bytes::new(), None),
            Some(Body::Request) => (self.asked.body.clone(), self.asked.headers.get(CONTENT_TYPE).cloned()),
            Some(Body::Template(template)) => {
                let body = template.render(known, branch.bytes_max).map_err(|_| Failure::MissingValue)?;
                (body.into_checked().into_bytes(), Some(JSON))
            }
        };
        let mut headers = self.fields(&plan.headers, shared);
        headers.extend(content_type.map(|value| (CONTENT_TYPE, value)));
        let telling = headers.len();
        headers.extend(self.of_the_request.iter().cloned());
        headers.extend(self.asked.headers.get(TRACEPARENT).map(|parent| (TRACEPARENT, trace::child(parent))));
        let kept = branch.cache.as_ref().and_then(|cache| self.kept_key(cache, plan, prefix, &target));
        let call = Call {
            upstream: plan.upstream.clone(),
            method: plan.method.clone(),
            target: target.into(),
            host: self.asked.headers.get(HOST).cloned(),
            headers,
            body,
            bytes_max: branch.bytes_max,
            retry: branch.retry.clone(),
        };
        Ok(Errand { call, telling, kept })
    }

    /// What tells the call apart. With `shared` nothing of the client is among it.
    fn fields(&self, listed: &[HeaderName], shared: bool) -> Vec<(HeaderName, HeaderValue)> {
        let room = self.forwarded.len() + self.identity.len() + listed.len() + 5;
        let mut fields = Vec::with_capacity(room);
        let told = |name: &HeaderName| *name == X_FORWARDED_FOR || *name == AUTHORIZATION || *name == COOKIE;
        fields.extend(self.forwarded.iter().filter(|(name, _)| !shared || !told(name)).cloned());
        if !shared {
            fields.extend(self.identity.iter().cloned());
        }
        let mut accepts = false;
        for name in listed {
            if self.asked.identity.contains(name) || (shared && told(name)) {
                continue;
            }
            accepts |= *name == ACCEPT;
            let values = self.asked.headers.get_all(name).iter();
            fields.extend(values.map(|value| (name.clone(), value.clone())));
        }
        if !accepts {
            fields.push((ACCEPT, ACCEPTED));
        }
        fields
    }

    /// What a result is kept under. `None` for a client without one of the claims that `vary` names, or with one that is
    /// `null`: two who both lack it are not the same client.
    fn kept_key(&self, cache: &Cache, plan: &plan::Call, prefix: &[u8], target: &str) -> Option<Key> {
        let asked = self.asked;
        let mut key = KeyBuilder::new();
        key.part(prefix).part(target.as_bytes()).header(&asked.headers, &HOST);
        for (name, value) in self.forwarded.iter().filter(|(name, _)| *name != X_FORWARDED_FOR) {
            key.part(name.as_str().as_bytes()).part(value.as_bytes());
        }
        // The end of a list of unknown length.
        key.maybe(None);
        for name in &plan.headers {
            key.header(&asked.headers, name);
        }
        for vary in &cache.vary {
            match vary {
                Vary::Claim(path) => {
                    let claim = path.find(asked.claims.as_deref()?).filter(|claim| !claim.is_null())?;
                    // Never fails for a value that was read as JSON; the order of members does not change.
                    key.part(&serde_json::to_vec(claim).ok()?);
                }
                Vary::Header(name) => {
                    key.header(&asked.headers, name);
                }
                Vary::Query(name) => {
                    let value = text::parameter(&asked.query, name).ok();
                    key.maybe(value.as_ref().map(|value| value.as_bytes()));
                }
            }
        }
        if !cache.shared && !cache.vary.iter().any(|vary| matches!(vary, Vary::Claim(_))) {
            self.who(&mut key);
        }
        Some(key.build())
    }

    /// Everything that says who the client is.
    fn who(&self, key: &mut KeyBuilder) {
        for name in &self.asked.identity {
            key.part(name.as_str().as_bytes()).header(&self.asked.headers, name);
        }
        let claims = self.asked.claims.as_deref().and_then(|claims| serde_json::to_vec(claims).ok());
        key.maybe(claims.as_deref());
    }
}

impl Errand {
    /// The same call, to be made once more.
    pub(super) fn again(&self) -> Errand {
        Errand { call: self.call.clone(), telling: self.telling, kept: self.kept.clone() }
    }

    /// What equal calls under way are known by; `None` for a call that is never shared: only GET without a body is.
    pub(super) fn flight_key(&self) -> Option<Key> {
        let call = &self.call;
        if call.method != Method::GET || !call.body.is_empty() {
            return None;
        }
        let mut key = KeyBuilder::new();
        // The call holds the upstream, so that no other can have its address while the call is under way.
        key.part(&(std::sync::Arc::as_ptr(&call.upstream) as usize).to_le_bytes());
        key.part(&call.bytes_max.to_le_bytes());
        match &call.retry {
            None => key.maybe(None),
            Some(retry) => key.maybe(Some(format!("{retry:?}").as_bytes())),
        };
        key.maybe(call.host.as_ref().map(HeaderValue::as_bytes)).part(call.target.as_bytes());
        for (name, value) in call.headers.iter().take(self.telling) {
            key.part(name.as_str().as_bytes()).part(value.as_bytes());
        }
        Some(key.build())
    }
}

/// What the edge says of where a request came from.
fn is_forwarded(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::super::plan::{Compositions, Source};
    use super::*;

    fn asked(claims: Option<Value>) -> Asked {
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", "a.test"), ("x-request-id", "7"), ("x-user-id", "ada")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let named = |name| HeaderName::from_static(name);
        Asked {
            route: "r".into(),
            method: Method::GET,
            query: "".into(),
            params: Vec::new(),
            claims: claims.map(Arc::new),
            client: [192, 0, 2, 7].into(),
            request_id: "7".into(),
            headers,
            identity: ["x-user-id", "x-request-id"].map(named).into(),
            body: Bytes::new(),
        }
    }

    /// The call of a branch with this cache.
    fn errand(cache: &str, claims: Option<Value>) -> Errand {
        let text = format!(
            "version: 1\nlisteners: {{ public: {{ address: 127.0.0.1:8080 }} }}\n\
             upstreams: {{ up: {{ targets: [127.0.0.1:9101] }} }}\n\
             routes:\n- name: r\n  match: GET /a\n  aggregate:\n    a: {{ call: GET up/a, cache: {cache} }}\n"
        );
        let (loaded, mut report) = sallyport_config::load_text("t", &text, Path::new(""), &|_| None).unwrap();
        let upstreams = sallyport_upstreams::load(&loaded, None, &mut report);
        let compositions = Compositions::compile(&loaded.config, &upstreams, &mut report);
        let compositions = compositions.unwrap_or_else(|| panic!("{report}"));
        let branch = &compositions.find("r").unwrap().branches[0];
        let Source::Call(call) = &branch.source else { panic!("a call") };
        let asked = asked(claims);
        let known =
            Known { params: &[], query: "", claims: asked.claims.as_deref(), results: &[], item: None };
        Carried::new(&asked).errand(branch, call, b"p", &known).unwrap()
    }

    /// Two clients who both lack a claim are not the same client.
    #[test]
    fn for_who_lacks_a_claim_nothing_is_kept() {
        let kept = |claims| errand("{ ttl: 1h, vary: [claims.org.id, claims.sub] }", claims).kept;
        for lacking in [
            None,
            Some(json!({})),
            Some(json!({ "sub": "ada" })),
            Some(json!({ "sub": "ada", "org": {} })),
            Some(json!({ "sub": "ada", "org": { "id": null } })),
            Some(json!({ "org": { "id": 7 } })),
        ] {
            assert_eq!(kept(lacking.clone()), None, "{lacking:?}");
        }
        let seven = kept(Some(json!({ "sub": "ada", "org": { "id": 7 } })));
        assert!(seven.is_some());
        assert_eq!(seven, kept(Some(json!({ "org": { "id": 7 }, "sub": "ada", "exp": 1 }))));
        assert_ne!(seven, kept(Some(json!({ "sub": "ada", "org": { "id": "7" } }))));
        assert_ne!(seven, kept(Some(json!({ "sub": "7", "org": { "id": "ada" } }))));
    }

    #[test]
    fn what_every_call_carries_goes_along_once() {
        let call = errand("{ ttl: 1h, vary: [claims.sub] }", None).call;
        let ids = call.headers.iter().filter(|(name, _)| name.as_str() == "x-request-id");
        assert_eq!(ids.count(), 1);
    }
}
