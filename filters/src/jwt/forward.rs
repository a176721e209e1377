//! Claims as request headers for the upstream, made once for each token.

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, DATE, PROXY_AUTHORIZATION};
use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use sallyport_config::{Located, Report};
use sallyport_identity::Identity;
use serde_json::Value;

use crate::field::FieldName;
use crate::filter::Fault;

/// The longest value of a header.
const VALUE_BYTES_MAX: usize = 4096;

/// Headers that say something else than who asks. A header that is set here is deleted from what clients send
/// on every route: without this list, `forward: { Authorization: sub }` would lock everybody out.
const RESERVED: [HeaderName; 6] =
    [AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, DATE, PROXY_AUTHORIZATION];

/// Which claims go into which headers.
#[derive(Default)]
pub(super) struct Forward {
    headers: Vec<(FieldName, Box<str>)>,
}

/// A claim that no header can tell unmistakably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unforwardable;

/// Values for the headers of a [`Forward`], in its order; `None` for a claim that is not there.
pub(super) type Values = Box<[Option<HeaderValue>]>;

impl Forward {
    /// Adds a header. What is wrong with its name is reported.
    pub(super) fn add(&mut self, name: &Located<String>, claim: &str, report: &mut Report) {
        let Some(field) = FieldName::parse_settable(name, report) else { return };
        if name.contains('_') {
            report
                .error(name.at, format!("`{}` has a `_`, which many servers take for `-`", name.value))
                .hint(format!("write `{}`", name.value.replace('_', "-")));
        } else if RESERVED.contains(field.name()) {
            report
                .error(name.at, format!("`{}` may not be set from a claim", name.value))
                .hint("take a name of your own, such as `X-User-Id`");
        } else if self.names().any(|known| known == field.name()) {
            report.error(name.at, format!("`{}` is set twice", name.value)).hint("case makes no difference");
        } else {
            self.headers.push((field, claim.into()));
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(field, _)| field.name())
    }

    /// The values for one identity.
    pub(super) fn values(&self, identity: &Identity) -> Result<Values, Unforwardable> {
        self.headers.iter().map(|(_, path)| identity.claim(path).map_or(Ok(None), value)).collect()
    }

    /// Sets the headers of an upstream's request.
    pub(super) fn set(&self, values: &Values, head: &mut RequestHeader) -> Result<(), Fault> {
        for ((field, _), value) in self.headers.iter().zip(values) {
            if let Some(value) = value {
                field.set_on_request(head, value.clone())?;
            }
        }
        Ok(())
    }
}

fn value(claim: &Value) -> Result<Option<HeaderValue>, Unforwardable> {
    let text = match claim {
        Value::Null => return Ok(None),
        Value::Array(list) => joined(list)?,
        claim => plain(claim).ok_or(Unforwardable)?,
    };
    // Servers cut space off the ends: ` admin` would arrive as `admin`.
    if text.len() > VALUE_BYTES_MAX || text.trim() != text {
        return Err(Unforwardable);
    }
    HeaderValue::try_from(text).map(Some).map_err(|_| Unforwardable)
}

/// A list as HTTP writes it (RFC 9110, section 5.6.1). An element with a comma would become two, an empty one
/// none.
fn joined(list: &[Value]) -> Result<String, Unforwardable> {
    let mut text = String::new();
    for (index, value) in list.iter().enumerate() {
        let element = plain(value).ok_or(Unforwardable)?;
        if element.is_empty() || element.contains(',') || element.trim() != element {
            return Err(Unforwardable);
        }
        if index > 0 {
            text.push(',');
        }
        text.push_str(&element);
    }
    Ok(text)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn header(claim: Value) -> Result<Option<String>, Unforwardable> {
        let value = value(&claim)?;
        Ok(value.map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap()))
    }

    #[test]
    fn plain_claims_and_lists_of_them_become_text() {
        for (claim, expected) in [
            (json!("ann"), Some("ann")),
            (json!("Zoë"), Some("Zoë")),
            (json!(""), Some("")),
            (json!(42), Some("42")),
            (json!(true), Some("true")),
            (json!(["teacher", 7, false]), Some("teacher,7,false")),
            (json!([]), Some("")),
            (Value::Null, None),
        ] {
            assert_eq!(header(claim.clone()).unwrap().as_deref(), expected, "{claim}");
        }
    }

    /// A claim is chosen by people: it must not make a second header, another element, or another name.
    #[test]
    fn what_a_header_cannot_tell_is_refused() {
        for claim in [
            json!("ann\r\nX-Admin: 1"),
            json!("a\u{0}b"),
            json!(" ann"),
            json!("ann\t"),
            json!("\u{a0}ann"),
            json!({"name": "ann"}),
            json!(["a,admin"]),
            json!(["a", ""]),
            json!([" a"]),
            json!([["a"]]),
            json!([null]),
            json!("x".repeat(VALUE_BYTES_MAX + 1)),
        ] {
            assert_eq!(header(claim.clone()), Err(Unforwardable), "{claim}");
        }
    }

    #[test]
    fn reserved_double_and_wrong_names_are_refused() {
        let mut forward = Forward::default();
        for name in
            ["X-User", "x-user", "Authorization", "Cookie", "Content-Length", "host", "X_Role", "X Role", ""]
        {
            let mut report = Report::default();
            forward.add(&Located::nowhere(name.to_owned()), "sub", &mut report);
            assert_eq!(report.is_empty(), name == "X-User", "{name}: {report}");
        }
        assert_eq!(forward.names().count(), 1);
    }
}
