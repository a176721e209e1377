//! What `jwt` is configured with, as written. The doc comments are the reference manual.

use std::fmt;

use sallyport_config::units::{ByteSize, Timespan};
use sallyport_config::{Located, Named};
use sallyport_identity::TokenType;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Lets a request pass only with a valid token (JWT, RFC 7519) of one of the issuers, and says who asks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The issuer whose tokens are accepted, by its name in `issuers`. Either this or `issuers`.
    #[serde(default)]
    pub issuer: Option<Located<String>>,
    /// Several issuers. A token's `iss` chooses among them and must equal one of theirs.
    #[serde(default)]
    pub issuers: Vec<Located<String>>,
    /// Where a token may be: `header` (`Authorization: Bearer`, RFC 6750, section 2.1), `{ cookie: name }`,
    /// `{ query: name }`. A request with two tokens is refused with 400. A query parameter is always taken
    /// out of the URI, before it is logged or sent on. With a cookie, other sites can make a browser send the
    /// token: use `SameSite` and `cors` with `enforce`. Default: `[header]`.
    #[serde(default = "header_only")]
    pub from: Vec<Located<TokenPlace>>,
    /// Whether the upstream gets the token, in the header or cookie where the client put it. Default: false;
    /// whoever has a token can use it elsewhere, so a service gets it only if it needs it.
    #[serde(default)]
    pub forward_token: bool,
    /// Whether a request without a token passes, without an identity. A bad token is refused all the same.
    /// Such a filter does not guard a route. Default: false.
    #[serde(default)]
    pub optional: bool,
    /// Which `typ` a token may have: `any` (JWT, at+jwt, or none) or `at+jwt` (access tokens after RFC 9068
    /// only, so that no ID token passes for one). Default: any.
    #[serde(default)]
    pub typ: TokenType,
    /// The longest token that is looked at; beyond, 401. Default: 8KiB; at most 64KiB.
    #[serde(default = "eight_kib")]
    pub token_limit: Located<ByteSize>,
    /// Scopes that the token must all have, in `scope` (separated by spaces, RFC 8693, section 4.2) or,
    /// without that, `scp` (the same, or a list); else 403.
    #[serde(default)]
    pub scopes: Vec<Located<String>>,
    /// Roles that the token must have; else 403.
    #[serde(default)]
    pub roles: Option<Located<Roles>>,
    /// Conditions on claims, which must all hold; else 403. A value that the claim must equal, in type too;
    /// `{ any: [...] }` for a claim, or a list with an element, that equals one of these; `{ present: true }`
    /// or `{ present: false }`. A name may be a path: `realm_access.kind`.
    #[serde(default)]
    pub claims: Named<Condition>,
    /// Request headers for the upstream, each with the claim (or path) it holds: `X-User-Id: sub`. What
    /// clients send under these names is deleted on every route. Texts go as they are in UTF-8, numbers and
    /// true/false as JSON has them, lists of these joined with `,`; a claim that is missing or null makes no
    /// header. A claim that cannot be told unmistakably in a header (an object, a control character, space at
    /// an end, a comma in a list, more than 4 KiB) is answered with 403.
    #[serde(default)]
    pub forward: Named<Located<String>>,
    /// The `realm` of `WWW-Authenticate`. Default: sallyport.
    #[serde(default = "sallyport")]
    pub realm: Located<String>,
    /// How many verified tokens are remembered, so that their signature is not checked again; 0: none.
    /// Beyond, those not seen for longest are forgotten. One takes about as much memory as its claims.
    /// Default: 10000; at most 1000000.
    #[serde(default = "ten_thousand")]
    pub cache: Located<usize>,
    /// How long a verified token is remembered at most; never beyond its `exp`, nor when its key is
    /// withdrawn. Revocations are looked at on every request. Default: 10m.
    #[serde(default = "ten_minutes")]
    pub cache_ttl: Timespan,
}

/// Where a token may be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenPlace {
    /// `Authorization: Bearer`.
    Header,
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
}

/// Roles that a token must have.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// The claim that holds them, a list or a single text; may be a path: `realm_access.roles`.
    pub claim: String,
    /// The token needs one of these. Either this or `all`.
    #[serde(default)]
    pub any: Vec<String>,
    /// The token needs all of these.
    #[serde(default)]
    pub all: Vec<String>,
}

/// A condition on a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The claim equals this.
    Equals(Scalar),
    /// The claim, or one element of it, equals one of these.
    Any(Vec<Scalar>),
    /// The claim is there; or not there.
    Present(bool),
}

/// A plain value.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any number.
    Number(f64),
    /// A text.
    Text(String),
}

fn header_only() -> Vec<Located<TokenPlace>> {
    vec![Located::nowhere(TokenPlace::Header)]
}

fn eight_kib() -> Located<ByteSize> {
    Located::nowhere(ByteSize(8 * 1024))
}

fn sallyport() -> Located<String> {
    Located::nowhere("sallyport".to_owned())
}

fn ten_thousand() -> Located<usize> {
    Located::nowhere(10_000)
}

fn ten_minutes() -> Timespan {
    Timespan::from_secs(600)
}

struct ConditionVisitor;
struct ScalarVisitor;

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConditionVisitor)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

macro_rules! visit_scalars {
    ($into:expr) => {
        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
            Ok($into(Scalar::Bool(value)))
        }
        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
            Ok($into(Scalar::Integer(value)))
        }
        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok($into(i64::try_from(value).map_or(Scalar::Number(value as f64), Scalar::Integer)))
        }
        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
            Ok($into(Scalar::Number(value)))
        }
        fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
            Ok($into(Scalar::Text(value.to_owned())))
        }
    };
}

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false")
    }

    visit_scalars!(std::convert::identity);
}

impl<'de> Visitor<'de> for ConditionVisitor {
    type Value = Condition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, `{ any: [...] }` or `{ present: true }`")
    }

    visit_scalars!(Condition::Equals);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Condition, A::Error> {
        const WAYS: &[&str] = &["any", "present"];
        let Some(way) = map.next_key::<String>()? else {
            return Err(de::Error::invalid_length(0, &self));
        };
        let condition = match way.as_str() {
            "any" => Condition::Any(map.next_value()?),
            "present" => Condition::Present(map.next_value()?),
            other => return Err(de::Error::unknown_field(other, WAYS)),
        };
        match map.next_key::<String>()? {
            None => Ok(condition),
            Some(_) => Err(de::Error::custom("a condition is either `any` or `present`")),
        }
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClaimCondition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = generator.subschema_for::<Scalar>();
        json_schema!({
            "description": "A value that the claim must equal, `{ any: [...] }` or `{ present: true }`.",
            "anyOf": [
                scalar,
                {
                    "type": "object",
                    "description": "The claim, or an element of it, equals one of these.",
                    "properties": { "any": { "type": "array", "items": scalar, "minItems": 1 } },
                    "required": ["any"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "description": "The claim is there, with any value; or not there.",
                    "properties": { "present": { "type": "boolean" } },
                    "required": ["present"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}
