//! Who the client is, from the headers that the edge sets.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::Refusal;
use crate::hello::Hello;

/// The client's address.
pub(super) const CLIENT: &str = "sallyport-client";
/// The claims of its identity: a JSON object in base64url without padding. Absent without an identity.
const CLAIMS: &str = "sallyport-claims";
/// The id under which the edge logs the request.
const REQUEST_ID: &str = "x-request-id";

/// The client. Claims that cannot be read are refused, never taken for none.
pub(super) fn hello(headers: &HeaderMap) -> Result<Hello, Refusal> {
    let client = only(headers, CLIENT)?
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<IpAddr>().ok())
        .ok_or_else(|| Refusal::bad_request("Sallyport-Client is not one IP address"))?;
    let claims = only(headers, CLAIMS)?.map(claims).transpose()?;
    // The edge counts the connection for as long as it is open; nothing has to be held here.
    Ok(Hello { client: client.to_canonical(), claims, request_id: request_id(headers), hold: Box::new(()) })
}

/// The id for logs; empty if there is none.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
}

fn claims(value: &HeaderValue) -> Result<Arc<Value>, Refusal> {
    let json = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok();
    match json.and_then(|json| serde_json::from_slice::<Value>(&json).ok()) {
        Some(claims @ Value::Object(_)) => Ok(Arc::new(claims)),
        _ => Err(Refusal::bad_request("Sallyport-Claims is not a JSON object in base64url")),
    }
}

/// A header that may be there once.
fn only<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Refusal::bad_request(format!("{name} is there more than once"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_client_is_who_the_edge_says() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"ann","exp":9}"#);
        let fields = [(CLIENT, "192.0.2.7"), (CLAIMS, claims.as_str()), (REQUEST_ID, "id-1")];
        let hello = hello(&headers(&fields)).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert_eq!(hello.client.to_string(), "192.0.2.7");
        assert_eq!(hello.claims.as_deref(), Some(&json!({"sub": "ann", "exp": 9})));
        assert_eq!(hello.request_id, "id-1");
    }

    #[test]
    fn nobody_is_taken_for_somebody_else() {
        let array = URL_SAFE_NO_PAD.encode("[]");
        let object = URL_SAFE_NO_PAD.encode("{}");
        let rows: &[&[(&'static str, &str)]] = &[
            &[],
            &[(CLIENT, "")],
            &[(CLIENT, "host.example")],
            &[(CLIENT, "192.0.2.7, 192.0.2.8")],
            &[(CLIENT, "192.0.2.7"), (CLIENT, "192.0.2.7")],
            &[(CLIENT, "::1"), (CLAIMS, "")],
            &[(CLIENT, "::1"), (CLAIMS, "{}")],
            &[(CLIENT, "::1"), (CLAIMS, &array)],
            &[(CLIENT, "::1"), (CLAIMS, &object), (CLAIMS, &object)],
        ];
        for fields in rows {
            assert!(hello(&headers(fields)).is_err(), "{fields:?}");
        }
        assert!(hello(&headers(&[(CLIENT, "::1"), (CLAIMS, &object)])).is_ok());
    }
}
