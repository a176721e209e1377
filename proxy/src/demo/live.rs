//! The live page, and what a platform of one's own would have a login for: a token for whoever asks.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{StatusCode, Uri};
use pingora_core::protocols::http::ServerSession;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use serde_json::json;

use super::services::answer as answer_json;
use super::signer::Signer;

const PAGE: &str = include_str!("live.html");
/// What everybody subscribes to. Who sees which events of it is the edge's affair.
const CHANNEL: &str = "batch:*";
/// Bytes of a user's name.
const USER_BYTES_MAX: usize = 32;

/// The page's script stands in the page: this allows it and no other.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let script = PAGE.split_once("<script>").and_then(|(_, rest)| rest.split_once("</script>"));
    let digest = digest::digest(&digest::SHA256, script.map_or("", |(script, _)| script).as_bytes());
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        STANDARD.encode(digest)
    )
});

/// Answers `/live` and `/live/session?user=NAME`.
pub(super) async fn answer(session: &mut ServerSession, signer: &Signer) -> Result<()> {
    let uri = &session.req_header().uri;
    if uri.path() != "/live/session" {
        return page(session).await;
    }
    let Some(user) = user(uri).map(str::to_owned) else {
        let error = "`user` is a name of letters, digits and `-`";
        return answer_json(session, StatusCode::BAD_REQUEST, &json!({ "error": error })).await;
    };
    match signer.session(&user) {
        Ok(token) => {
            answer_json(session, StatusCode::OK, &json!({ "token": token, "channel": CHANNEL })).await
        }
        Err(error) => {
            log::warn!("the demo cannot sign a token: {error}");
            answer_json(session, StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": "no token" })).await
        }
    }
}

fn user(uri: &Uri) -> Option<&str> {
    let mut parameters = uri.query()?.split('&');
    let user = parameters.find_map(|parameter| parameter.strip_prefix("user="))?;
    let plain = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (plain && (1..=USER_BYTES_MAX).contains(&user.len())).then_some(user)
}

async fn page(session: &mut ServerSession) -> Result<()> {
    let mut head = ResponseHeader::build(StatusCode::OK, Some(4))?;
    head.insert_header(CONTENT_TYPE, "text/html; charset=utf-8")?;
    head.insert_header(CONTENT_LENGTH, PAGE.len())?;
    head.insert_header(CONTENT_SECURITY_POLICY, POLICY.as_str())?;
    head.insert_header(CACHE_CONTROL, "no-cache")?;
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(Bytes::from_static(PAGE.as_bytes()), true).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_get_a_token() {
        let of = |uri: &'static str| user(&Uri::from_static(uri)).map(str::to_owned);
        assert_eq!(of("/live/session?x=1&user=alice").as_deref(), Some("alice"));
        for uri in [
            "/live/session",
            "/live/session?user=",
            "/live/session?user=a%2Ab",
            "/live/session?user=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(of(uri), None, "{uri}");
        }
    }

    #[test]
    fn the_policy_allows_the_one_script_of_the_page() {
        assert_eq!(PAGE.matches("<script>").count(), 1);
        assert!(POLICY.contains("script-src 'sha256-"));
    }
}
