use prometheus::core::Collector;
use sallyport_config::{Report, issuer as written};

use super::*;
use crate::fetch::testing::{Origin, answer, eventually, within_ten_seconds};

/// The public key of RFC 7515, appendix A.3, under a given key id.
fn jwks(kid: &str) -> String {
    format!(
        r#"{{"keys": [{{"kty": "EC", "crv": "P-256", "kid": "{kid}",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}]}}"#
    )
}

fn issuer(json: &str) -> Arc<Issuer> {
    let settings: written::Issuer = serde_json::from_str(json).unwrap();
    let mut report = Report::default();
    let issuer = Issuer::new("main", &settings, &mut report);
    Arc::new(issuer.unwrap_or_else(|| panic!("{report}")))
}

fn with_url(origin: &Origin) -> Arc<Issuer> {
    issuer(&format!(
        r#"{{"issuer": "https://id/", "audiences": ["a"], "jwks": {{"url": "http://{}/jwks.json"}}}}"#,
        origin.address
    ))
}

fn issuers(issuer: &Arc<Issuer>) -> Issuers {
    [issuer.clone()].into_iter().collect()
}

struct Setting {
    keys: Keys,
    stop: watch::Sender<bool>,
}

fn setting() -> Setting {
    let (stop, stopped) = watch::channel(false);
    let keys = Keys::new(Arc::new(Fetcher::new()), &Registry::new(), stopped).unwrap();
    Setting { keys, stop }
}

fn fetches(keys: &Keys, result: &str) -> u64 {
    keys.fetches.with_label_values(&["main", result]).get()
}

#[tokio::test]
async fn keys_are_fetched_at_start_and_when_an_unknown_key_is_met() {
    let origin = Origin::start(|number, _| Some(answer("200 OK", &jwks(&number.to_string())))).await;
    let issuer = with_url(&origin);
    let setting = setting();
    setting.keys.tend(&issuers(&issuer), Path::new("."));
    eventually(|| issuer.key_count() == 1).await;
    assert!(issuer.ready(Instant::now()));
    assert_eq!(origin.requests(), 1);

    let Some(ticket) = wait_ticket(&issuer) else { panic!("an unknown key must ask for a fetch") };
    within_ten_seconds(issuer.refreshed(ticket)).await;
    assert_eq!(origin.requests(), 2);
    eventually(|| fetches(&setting.keys, "ok") == 2).await;
}

fn wait_ticket(issuer: &Issuer) -> Option<crate::issuer::Ticket> {
    match issuer.wants_refresh("unknown", Instant::now()) {
        crate::issuer::Refresh::Wait(ticket) => Some(ticket),
        crate::issuer::Refresh::No => None,
    }
}

#[tokio::test]
async fn a_failed_fetch_is_tried_again_and_keeps_the_old_keys() {
    let origin = Origin::start(|number, _| {
        Some(match number {
            0 => answer("503 Service Unavailable", ""),
            1 => answer("200 OK", &jwks("a")),
            _ => answer("200 OK", "<html>"),
        })
    })
    .await;
    let issuer = with_url(&origin);
    let setting = setting();
    setting.keys.tend(&issuers(&issuer), Path::new("."));
    // The second try comes by itself, after about a second.
    eventually(|| issuer.key_count() == 1).await;
    assert_eq!(fetches(&setting.keys, "status"), 1);

    let ticket = wait_ticket(&issuer).unwrap();
    within_ten_seconds(issuer.refreshed(ticket)).await;
    assert_eq!((issuer.key_count(), issuer.failures()), (1, 1));
    eventually(|| fetches(&setting.keys, "unusable") == 1).await;
}

#[tokio::test]
async fn a_redirect_and_a_dead_server_are_failures() {
    let origin = Origin::start(|_, _| {
        Some("HTTP/1.1 301 Moved\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n".to_owned())
    })
    .await;
    let issuer = with_url(&origin);
    let setting = setting();
    let limit = Duration::from_secs(10);
    setting.keys.prime(&issuers(&issuer), Path::new("."), limit).await;
    assert_eq!((fetches(&setting.keys, "status"), issuer.failures()), (1, 1));

    let address = origin.address;
    drop(origin);
    // Wait until the port is closed, so that the refusal is one.
    within_ten_seconds(async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    setting.keys.prime(&issuers(&issuer), Path::new("."), limit).await;
    assert_eq!((fetches(&setting.keys, "unreachable"), issuer.failures()), (1, 2));
}

#[tokio::test]
async fn priming_fetches_once_and_ends_in_time() {
    let origin = Origin::start(|_, _| Some(answer("200 OK", &jwks("a")))).await;
    let issuer = with_url(&origin);
    let setting = setting();
    let limit = Duration::from_secs(10);
    setting.keys.prime(&issuers(&issuer), Path::new("."), limit).await;
    assert_eq!(issuer.key_count(), 1);
    setting.keys.prime(&issuers(&issuer), Path::new("."), limit).await;
    assert_eq!(origin.requests(), 1, "an issuer that has keys is left alone");

    let silent = Origin::start(|_, _| None).await;
    let issuer = with_url(&silent);
    within_ten_seconds(setting.keys.prime(&issuers(&issuer), Path::new("."), Duration::from_millis(50)))
        .await;
    assert_eq!(issuer.failures(), 1, "whoever waits for the fetch is told of its end");
}

#[tokio::test]
async fn a_second_plan_keeps_tasks_and_ends_those_of_issuers_that_are_gone() {
    let origin = Origin::start(|_, _| Some(answer("200 OK", &jwks("a")))).await;
    let (kept, gone) = (
        with_url(&origin),
        issuer(&format!(
            r#"{{"issuer": "https://other/", "audiences": ["a"], "jwks": {{"url": "http://{}/"}}}}"#,
            origin.address
        )),
    );
    let setting = setting();
    setting.keys.tend(&issuers(&kept), Path::new("."));
    eventually(|| kept.key_count() == 1).await;
    setting.keys.tend(&issuers(&kept), Path::new("."));
    assert_eq!(setting.keys.tasks.lock().unwrap().len(), 1);
    setting.keys.tend(&issuers(&gone), Path::new("."));
    eventually(|| Arc::strong_count(&kept) == 1).await;
    setting.stop.send(true).unwrap();
    eventually(|| gone.key_count() == 1 || Arc::strong_count(&gone) == 2).await;
}

#[test]
fn files_are_read_and_what_is_wrong_is_reported() {
    let base = std::env::temp_dir().join(format!("sallyport-keys-{}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    let issuer = issuer(
        r#"{"issuer": "https://id/", "audiences": ["a"], "jwks": {"file": "jwks.json"},
            "revocations": {"file": "revoked.json"}}"#,
    );
    let all = issuers(&issuer);
    let problems = load_files(&all, &base);
    assert_eq!(problems.len(), 2);
    assert!(problems.iter().all(|problem| problem.reason.contains("cannot be read")), "{problems:?}");
    assert!(!issuer.ready(Instant::now()));

    std::fs::write(base.join("jwks.json"), jwks("a")).unwrap();
    std::fs::write(base.join("revoked.json"), r#"{"jti": ["x"]}"#).unwrap();
    assert_eq!(load_files(&all, &base), []);
    assert!(issuer.ready(Instant::now()));

    std::fs::write(base.join("jwks.json"), "{}").unwrap();
    std::fs::write(base.join("revoked.json"), "[").unwrap();
    let problems = load_files(&all, &base);
    assert_eq!(problems.len(), 2);
    assert!(problems[0].to_string().starts_with("issuer `main`: `"), "{}", problems[0]);
    assert!(issuer.ready(Instant::now()), "what was read before still holds");
    std::fs::remove_dir_all(base).unwrap();
}

#[test]
fn a_file_over_the_limit_is_refused() {
    let path = std::env::temp_dir().join(format!("sallyport-keys-long-{}", std::process::id()));
    std::fs::write(&path, "123456").unwrap();
    assert_eq!(read(&path, 6).unwrap(), b"123456");
    assert_eq!(read(&path, 5).unwrap_err(), "has more than 5 bytes");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_wait_after_failures_doubles_up_to_the_interval() {
    let refresh = Duration::from_secs(600);
    let waits: Vec<u64> =
        [1, 2, 3, 10, 11, 1000].map(|failures| backoff(failures, refresh).as_secs()).to_vec();
    assert_eq!(waits, [1, 2, 4, 512, 600, 600]);
}

#[tokio::test]
async fn ages_are_those_of_issuers_that_have_keys() {
    let origin = Origin::start(|_, _| Some(answer("200 OK", &jwks("a")))).await;
    let issuer = with_url(&origin);
    let setting = setting();
    setting.keys.record_ages(&issuers(&issuer), Instant::now());
    assert_eq!(setting.keys.ages.collect()[0].get_metric().len(), 0);
    setting.keys.prime(&issuers(&issuer), Path::new("."), Duration::from_secs(10)).await;
    setting.keys.record_ages(&issuers(&issuer), Instant::now() + Duration::from_secs(90));
    assert!(setting.keys.ages.with_label_values(&["main"]).get() >= 89);
}
