use super::testing::{Origin, TlsOrigin, answer, within_ten_seconds};
use super::*;

const LIMITS: Limits = Limits { timeout: Duration::from_secs(10), body_bytes_max: 1000 };

#[tokio::test]
async fn fetches_what_a_url_names() {
    let origin = Origin::start(|_, head| {
        assert!(head.starts_with("GET /keys?a=b HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("\r\nhost: 127.0.0.1:"), "{head}");
        Some(answer("200 OK", "{}"))
    })
    .await;
    let url = format!("http://{}/keys?a=b", origin.address);
    let fetched = Fetcher::new().get(&url, None, LIMITS).await.unwrap();
    assert_eq!((fetched.status, &fetched.body[..]), (StatusCode::OK, &b"{}"[..]));
}

#[tokio::test]
async fn a_name_is_resolved_and_every_address_is_tried() {
    // `localhost` may be ::1 first, where nothing listens.
    let origin = Origin::start(|_, _| Some(answer("404 Not Found", "no"))).await;
    let url = format!("http://localhost:{}", origin.address.port());
    let fetched = Fetcher::new().get(&url, None, LIMITS).await.unwrap();
    assert_eq!(fetched.status, StatusCode::NOT_FOUND, "a bad status is an answer");
}

#[tokio::test]
async fn informational_answers_are_skipped_and_chunks_joined() {
    let origin = Origin::start(|_, _| {
        let body = "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        Some(format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n{body}"))
    })
    .await;
    let fetched = Fetcher::new().get(&format!("http://{}/", origin.address), None, LIMITS).await.unwrap();
    assert_eq!(&fetched.body[..], b"abc");
}

#[tokio::test]
async fn a_body_over_the_limit_is_an_error_with_and_without_length() {
    let long = "x".repeat(1001);
    let unframed = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{long}");
    for text in [answer("200 OK", &long), unframed] {
        let origin = Origin::start(move |_, _| Some(text.clone())).await;
        let error =
            Fetcher::new().get(&format!("http://{}/", origin.address), None, LIMITS).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { bytes_max: 1000, .. }), "{error}");
    }
    let fits = answer("200 OK", &"x".repeat(1000));
    let origin = Origin::start(move |_, _| Some(fits.clone())).await;
    let fetched = Fetcher::new().get(&format!("http://{}/", origin.address), None, LIMITS).await.unwrap();
    assert_eq!(fetched.body.len(), 1000);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let origin = Origin::start(|_, _| {
        Some(
            "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n".to_owned(),
        )
    })
    .await;
    let error = Fetcher::new().get(&format!("http://{}/", origin.address), None, LIMITS).await.unwrap_err();
    assert_eq!(error, FetchError::Redirect { host: "127.0.0.1".to_owned(), status: StatusCode::FOUND });
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_server_that_does_not_answer_or_stops_in_the_middle_is_given_up() {
    let after = Duration::from_millis(50);
    let limits = Limits { timeout: after, ..LIMITS };
    let origin = Origin::start(|_, _| None).await;
    let get = async { Fetcher::new().get(&format!("http://{}/", origin.address), None, limits).await };
    let error = within_ten_seconds(get).await.unwrap_err();
    assert_eq!(error, FetchError::Timeout { host: "127.0.0.1".to_owned(), after });

    let origin =
        Origin::start(|_, _| Some("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_owned())).await;
    let error = Fetcher::new().get(&format!("http://{}/", origin.address), None, LIMITS).await.unwrap_err();
    assert!(matches!(error, FetchError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_a_failed_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Fetcher::new().get(&format!("http://{address}/secret-path"), None, LIMITS).await.unwrap_err();
    assert!(matches!(&error, FetchError::Connect { host, .. } if host == "127.0.0.1"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn refused_urls_say_why_and_never_print_credentials() {
    for (url, why) in [
        ("", "not a URL"),
        ("/keys", "https://"),
        ("ftp://a/", "https://"),
        ("file:///etc/passwd", "not a URL"),
        ("http://user:hunter2@a/", "user name or password"),
        ("http://hunter2@a/", "user name or password"),
        ("http://a:99999/", "port"),
        ("http://a:0/", "port"),
        ("http://a:/", "port"),
        ("http://a b/", "not a URL"),
    ] {
        let error = Place::parse(url).err().unwrap_or_else(|| panic!("{url} was taken")).to_string();
        assert!(error.contains(why), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let long = format!("http://a/{}", "x".repeat(2048));
    assert!(Place::parse(&long).err().unwrap().to_string().contains("2048"));
}

#[test]
fn urls_are_taken_apart() {
    for (url, tls, host, port, target) in [
        ("http://a", false, "a", 80, "/"),
        ("https://a/x?y#z", true, "a", 443, "/x?y"),
        ("https://a:8443/", true, "a", 8443, "/"),
        ("http://[::1]:81/", false, "::1", 81, "/"),
    ] {
        let place = Place::parse(url).unwrap();
        let parts = (place.tls, &*place.host, place.port, &*place.target);
        assert_eq!(parts, (tls, host, port, target), "{url}");
        assert_eq!(place.sni().is_empty(), !tls);
    }
}

#[test]
fn periods_are_spread_by_a_tenth() {
    let second = Duration::from_secs(1);
    let periods: Vec<Duration> = (0..100).map(|_| spread(second)).collect();
    assert!(periods.iter().all(|p| (Duration::from_millis(899)..=Duration::from_millis(1101)).contains(p)));
    assert!(periods.iter().any(|p| *p != periods[0]));
}

#[tokio::test]
async fn https_is_checked_against_the_given_authorities() {
    let origin = TlsOrigin::start("127.0.0.1", true);
    let other = TlsOrigin::start("127.0.0.1", true);
    let misnamed = TlsOrigin::start("elsewhere.example", true);
    let read = |origin: &TlsOrigin, name: &str| {
        let path = origin.ca_file(name);
        let ca = crate::trust::authorities(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        ca
    };
    let (right, wrong) = (read(&origin, "fetch-right"), read(&other, "fetch-wrong"));
    let fetcher = Fetcher::new();
    let url = format!("https://{}/", origin.address);
    assert_eq!(&fetcher.get(&url, Some(&right), LIMITS).await.unwrap().body[..], b"well");
    for ca in [Some(&wrong), None] {
        let error = fetcher.get(&url, ca, LIMITS).await.unwrap_err();
        assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    }
    let ca = read(&misnamed, "fetch-misnamed");
    let error = fetcher.get(&format!("https://{}/", misnamed.address), Some(&ca), LIMITS).await.unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
}
