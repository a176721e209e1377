//! Who the client is: the headers that the edge sets, and what they say.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use crate::Refusal;

/// The client's address. Only the edge says it: the name is managed, no client can set it.
pub const CLIENT: &str = "Sallyport-Client";
/// The claims of the client's identity: the JSON object in base64url without padding. Absent without an identity. Managed
/// as well.
pub const CLAIMS: &str = "Sallyport-Claims";
/// The id under which the edge logs the request.
const REQUEST_ID: &str = "x-request-id";

/// Who a client is. The edge has checked it.
#[derive(Debug, Clone, PartialEq)]
pub struct Introduction {
    /// The client's address, as trusted proxies tell it.
    pub client: IpAddr,
    /// The claims of the identity that the route's filters established, an object; `None` without one.
    pub claims: Option<Arc<Value>>,
    /// The id under which the edge logs the request; empty if there is none.
    pub request_id: String,
}

impl Introduction {
    /// The client whom these headers name. Claims that cannot be read are refused, never taken for none.
    ///
    /// # Errors
    /// 400: one of the headers is not as the edge writes it.
    pub fn read(headers: &HeaderMap) -> Result<Introduction, Refusal> {
        let client = only(headers, CLIENT)?
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<IpAddr>().ok())
            .ok_or_else(|| Refusal::bad_request("Sallyport-Client is not one IP address"))?;
        let claims = only(headers, CLAIMS)?.map(claims).transpose()?;
        Ok(Introduction { client: client.to_canonical(), claims, request_id: request_id(headers) })
    }
}

/// The id for logs; empty if there is none.
pub fn request_id(headers: &HeaderMap) -> String {
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
    use http::HeaderName;
    use serde_json::json;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn a_client_is_who_the_edge_says() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"ann","exp":9}"#);
        let fields = [(CLIENT, "192.0.2.7"), (CLAIMS, claims.as_str()), (REQUEST_ID, "id-1")];
        let introduction =
            Introduction::read(&headers(&fields)).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert_eq!(introduction.client.to_string(), "192.0.2.7");
        assert_eq!(introduction.claims.as_deref(), Some(&json!({"sub": "ann", "exp": 9})));
        assert_eq!(introduction.request_id, "id-1");
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
            assert!(Introduction::read(&headers(fields)).is_err(), "{fields:?}");
        }
        assert!(Introduction::read(&headers(&[(CLIENT, "::1"), (CLAIMS, &object)])).is_ok());
    }
}
