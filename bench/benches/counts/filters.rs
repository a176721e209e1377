//! Filters, each alone and as a whole chain: all that they do in one exchange. And the memory of tokens without a filter.

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::StatusCode;
use pingora_http::{RequestHeader, ResponseHeader};
use prometheus::IntGauge;
use sallyport_config::{Located, Report};
use sallyport_filters::probe::{Made, Probe};
use sallyport_filters::{Chain, Exchange, Outcome, Registry};
use sallyport_identity::issuer::testing::issuer;
use sallyport_identity::{Issuers, Judgement, Memory, Moment, Verifier};

use crate::case::{Case, again, fresh};
use crate::material::{API_KEYS, Material, now};

const ISSUER: &str = "{ issuer: \"https://id.example.com/\", audiences: [platform], algorithms: [RS256, ES256], \
    jwks: { file: jwks.json } }";
/// As in the example in the README, and as in `edge.rs`.
const WHOLE: &str = "
- request_id
- cors: { origins: [\"https://app.example.com\"], credentials: true }
- security_headers: { preset: api }
- jwt: { issuer: main, forward: { X-User-Id: sub, X-Roles: roles } }
- rate_limit: { rate: 1000000/s, key: jwt.sub }
";
/// Asks for a signature each time: tokens come in turn, and there are more of them than it remembers.
const FORGETFUL: &str = "- jwt: { issuer: main, cache: 2, forward: { X-User-Id: sub } }";

pub(crate) fn cases() -> Vec<Case> {
    let plain = |_: &Material| Vec::new();
    vec![
        filter("filter: request_id", "- request_id", plain),
        filter(
            "filter: ip_allow",
            "- ip_allow: { allow: [10.0.0.0/8, 192.0.2.0/24, \"2001:db8::/32\"], deny: [192.0.2.128/25] }",
            plain,
        ),
        filter(
            "filter: cors",
            "- cors: { origins: [\"https://app.example.com\", \"https://*.example.org\"], credentials: true }",
            |_| vec![vec![("origin", "https://app.example.com".to_owned())]],
        ),
        filter("filter: security_headers", "- security_headers: { preset: api }", plain),
        filter(
            "filter: jwt, remembered",
            "- jwt: { issuer: main, scopes: [read], forward: { X-User-Id: sub } }",
            |material| bearers(&material.es256[..1]),
        ),
        filter("filter: jwt, new, RS256", FORGETFUL, |material| bearers(&material.rs256)),
        filter("filter: jwt, new, ES256", FORGETFUL, |material| bearers(&material.es256)),
        filter(
            "filter: api_key",
            "- api_key: { keys: [{ name: ann, secret: \"file:FOLDER/ann\" }, { name: bob, secret: \"file:FOLDER/bob\" }] }",
            |_| vec![vec![("x-api-key", API_KEYS[1].1.to_owned())]],
        ),
        filter("filter: rate_limit", "- rate_limit: { rate: 1000000/s }", plain),
        filter("filter: concurrency_limit", "- concurrency_limit: { max: 1000 }", plain),
        filter("filter: body_limit", "- body_limit: { max: 1MiB }", plain),
        filter(
            "filter: headers",
            "- headers: { request: { set: { X-From: \"{client}\" }, remove: [Accept] }, response: { set: { X-Id: \"{request_id}\" }, remove: [Server] } }",
            plain,
        ),
        filter("filter: rewrite", "- rewrite: { strip_prefix: /v1, add_prefix: /api }", plain),
        filter("chain: whole, token remembered", WHOLE, |material| {
            bearers(&material.rs256).into_iter().map(with_origin).collect()
        }),
        refusal("chain: whole, no token"),
        again("tokens: one that is remembered", |material| {
            let issuers = issuers(material);
            let verifier: Verifier =
                Verifier::new(&issuers, [&Located::nowhere("main".to_owned())], &mut Report::default())
                    .unwrap()
                    .remembering(
                        Arc::new(Memory::new(10_000, IntGauge::new("tokens", "of the count").unwrap())),
                        Duration::from_secs(600),
                    );
            let moment = Moment { wall: now(), monotonic: Instant::now() };
            let (tokens, mut turn) = (material.rs256.clone(), 0);
            for token in &tokens {
                assert!(matches!(verifier.judge(token.as_bytes(), moment, |_| ()), Judgement::Verified(_)));
            }
            move || {
                turn = (turn + 1) % tokens.len();
                let judgement = verifier.judge(black_box(tokens[turn].as_bytes()), moment, |_| ());
                assert!(matches!(black_box(judgement), Judgement::Remembered(_)));
            }
        }),
    ]
}

type Headers = Vec<(&'static str, String)>;

/// One exchange through a chain and out again. `headers` are those of the requests, which come in turn; none: one request
/// without any beyond the usual.
fn filter(name: &'static str, yaml: &'static str, headers: fn(&Material) -> Vec<Headers>) -> Case {
    fresh(name, move |material| {
        let probe = probe(material, yaml);
        let mut each = headers(material);
        if each.is_empty() {
            each.push(Vec::new());
        }
        let mut each = each.into_iter().cycle();
        let part = move || Parts::new(&each.next().unwrap_or_default());
        (part, move |parts: &mut Parts| {
            assert!(parts.through(probe.chain()), "the request passes");
        })
    })
}

/// The same for a request that is refused.
fn refusal(name: &'static str) -> Case {
    fresh(name, move |material| {
        let probe = probe(material, WHOLE);
        (
            || Parts::new(&with_origin(Vec::new())),
            move |parts: &mut Parts| {
                assert!(!parts.through(probe.chain()), "the request is refused");
            },
        )
    })
}

/// What one exchange consists of.
struct Parts {
    made: Made,
    upstream: RequestHeader,
    response: ResponseHeader,
}

impl Parts {
    fn new(headers: &Headers) -> Parts {
        let usual = [("host", "api.example.com"), ("accept", "*/*"), ("user-agent", "count")];
        let all = usual.into_iter().chain(headers.iter().map(|(name, value)| (*name, &**value)));
        let mut made = all
            .fold(Made::new("GET", "/v1/batches/7?full=1"), |made, (name, value)| made.header(name, value));
        made.facts.started_at = now();
        let upstream = made.request.clone();
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.append_header("Content-Type", "application/json").unwrap();
        response.append_header("Server", "origin").unwrap();
        Parts { made, upstream, response }
    }

    /// All phases; whether the request passed. What a phase leaves behind is dropped elsewhere.
    fn through(&mut self, chain: &Chain) -> bool {
        let x = &mut Exchange::new(&mut self.made.request, &mut self.made.facts);
        let reply = match std::pin::pin!(chain.on_request(x)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(reply) => black_box(reply),
            Poll::Pending => panic!("a filter waits"),
        };
        if reply.is_none() {
            assert!(chain.on_upstream_request(x, &mut self.upstream).is_ok());
        }
        assert!(chain.on_response(x, &mut self.response).is_ok());
        chain.on_end(x, &Outcome { status: Some(StatusCode::OK), took: Duration::from_millis(1) });
        reply.is_none()
    }
}

fn probe(material: &Material, yaml: &str) -> Probe {
    let yaml = yaml.replace("FOLDER", &material.folder.display().to_string());
    Probe::from_yaml(&Registry::standard(), &issuers(material), &yaml)
        .unwrap_or_else(|report| panic!("{report}"))
}

fn issuers(material: &Material) -> Issuers {
    let issuer = issuer("main", ISSUER).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(issuer.replace_keys(&material.jwks, Instant::now()).unwrap(), 2);
    [issuer].into_iter().collect()
}

fn bearers(tokens: &[String]) -> Vec<Headers> {
    tokens.iter().map(|token| vec![("authorization", format!("Bearer {token}"))]).collect()
}

fn with_origin(mut headers: Headers) -> Headers {
    headers.push(("origin", "https://app.example.com".to_owned()));
    headers
}
