//! The filter alone, its refusals, and the whole edge over real sockets.

use std::time::{Duration, SystemTime};

use sallyport::filters::identity::{Identity, Issuers};
use sallyport::filters::probe::{Made, Probe};
use sallyport::filters::serde_json::json;
use sallyport_testkit::{EdgeUnderTest, Origin, Tokens};

use super::*;

const ROUTES: &str = include_str!("../routes.yaml");

fn registry() -> Registry {
    Registry::standard().with(Kind::new("maintenance", build))
}

fn at(moment: &str) -> SystemTime {
    OffsetDateTime::parse(moment, &Rfc3339).unwrap().into()
}

/// What a client is told at this moment: `None` if it passes, else `Retry-After`.
fn refused(probe: &Probe, moment: &str, role: Option<&str>) -> Option<String> {
    let mut made = Made::new("GET", "/");
    made.facts.started_at = at(moment);
    made.facts.identity = role.map(|role| {
        let claims = json!({ "role": role });
        Arc::new(Identity { issuer: "main".into(), subject: "alice".into(), claims: claims.into() })
    });
    let reply = probe.request(&mut made)?;
    assert_eq!(reply.status, 503);
    reply
        .headers
        .iter()
        .find(|(name, _)| name == RETRY_AFTER)
        .map(|(_, value)| value.to_str().unwrap().to_owned())
}

#[test]
fn only_the_window_is_closed_and_not_for_everybody() {
    let yaml = "- maintenance: { from: 2026-11-23T02:00:00Z, until: 2026-11-23T05:30:00+01:00, \
                except: { role: operator } }";
    let probe = Probe::from_yaml(&registry(), &Issuers::default(), yaml).unwrap();
    assert_eq!(refused(&probe, "2026-11-23T01:59:59Z", None), None);
    assert_eq!(refused(&probe, "2026-11-23T02:00:00Z", None).as_deref(), Some("9001"));
    assert_eq!(refused(&probe, "2026-11-23T04:29:59.5Z", Some("teacher")).as_deref(), Some("1"));
    assert_eq!(refused(&probe, "2026-11-23T03:00:00Z", Some("operator")), None);
    assert_eq!(refused(&probe, "2026-11-23T04:30:00Z", None), None);
}

#[test]
fn what_is_wrong_is_told_where_it_stands() {
    for (settings, place, text) in [
        ("{ from: tomorrow, until: 2026-11-23T02:00:00Z }", "1:24", "`tomorrow` is not a moment"),
        ("{ from: 2026-11-23T02:00:00Z, until: 2026-11-23T01:00:00Z }", "1:53", "not later than `from`"),
        ("{ from: 2026-11-23T02:00:00Z, untill: 2026-11-23T04:00:00Z }", "1:46", "did you mean `until`?"),
    ] {
        let yaml = format!("- maintenance: {settings}");
        let Err(report) = Probe::from_yaml(&registry(), &Issuers::default(), &yaml) else {
            panic!("accepted: {yaml}");
        };
        assert!(report.contains(place) && report.contains(text), "{report}");
    }
}

#[tokio::test]
async fn an_edge_knows_the_filter_from_the_file_to_the_answer() {
    let origin = Origin::start().await;
    let tokens = Tokens::new("https://id.example.com/", "platform");
    let spell = |moment: SystemTime| OffsetDateTime::from(moment).format(&Rfc3339).unwrap();
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    // The file that people read, moved to the present and to addresses of this test.
    let yaml = [
        ("127.0.0.1:8080", "127.0.0.1:0".to_owned()),
        ("127.0.0.1:3000", origin.address().to_string()),
        ("url: \"https://id.example.com/.well-known/jwks.json\"", "file: jwks.json".to_owned()),
        ("2026-11-23T02:00:00Z", spell(now - hour)),
        ("2026-11-23T04:30:00Z", spell(now + hour)),
    ]
    .iter()
    .fold(ROUTES.to_owned(), |yaml, (from, to)| {
        assert!(yaml.contains(from), "routes.yaml has no `{from}` any more");
        yaml.replace(from, to)
    });
    let jwks = tokens.jwks().to_string();
    let edge = EdgeUnderTest::builder().registry(registry()).file("jwks.json", jwks).start(&yaml).await;

    let teacher = edge.client().await.get("/v1/batches/7").bearer(&tokens.token().sign()).send().await;
    let seconds: u64 = teacher.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3601).contains(&seconds), "{seconds}");
    let problem = teacher.problem(503, "unavailable");
    assert_eq!(problem["detail"], "this service is down for maintenance");
    edge.get("/v1/batches/7").await.problem(401, "unauthorized");
    assert!(origin.requests().is_empty());

    let operator = tokens.token().claim("role", "operator").sign();
    edge.client().await.get("/v1/batches/7").bearer(&operator).send().await.expect(200);
    assert_eq!(origin.last().header("x-user-id"), Some("alice"));
}
