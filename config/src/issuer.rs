//! `issuers:`: who may sign tokens, with which keys, and what a token must say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::located::Located;
use crate::units::{Secret, Timespan};

/// An issuer of tokens (JWT, RFC 7519).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The exact `iss` claim.
    pub issuer: Located<String>,
    /// The issuer's public keys (JWK set, RFC 7517). Either this or `hmac_secret`.
    #[serde(default)]
    pub jwks: Option<Jwks>,
    /// A secret shared with the issuer, for HS256, HS384 and HS512 only, at least 32 bytes. `${ENV}` or `file:`.
    #[serde(default)]
    pub hmac_secret: Option<Located<Secret>>,
    /// Accepted `aud` values; a token needs one of them.
    pub audiences: Vec<String>,
    /// Accepted algorithms. A token's own `alg` chooses among these and nothing else (RFC 8725, section 3.1).
    /// Default: RS256 and ES256 with `jwks`; HS256 with `hmac_secret`.
    #[serde(default)]
    pub algorithms: Vec<Located<Algorithm>>,
    /// How far clocks may differ when `exp`, `nbf` and `iat` are judged. Default: 60s; at most 5m.
    #[serde(default)]
    pub skew: Option<Located<Timespan>>,
    /// Tokens that are refused although they are valid.
    #[serde(default)]
    pub revocations: Option<Revocations>,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwks {
    /// An `https:` URL (`http:` only to a loopback address). Either this or `file`.
    #[serde(default)]
    pub url: Option<Located<String>>,
    /// A file, relative to the configuration file; read again when it changes.
    #[serde(default)]
    pub file: Option<Located<String>>,
    /// PEM file with the authorities that the URL's certificate is checked against. Default: the system's.
    #[serde(default)]
    pub ca: Option<Located<String>>,
    /// How often the URL is read. Default: 10m.
    #[serde(default = "ten_minutes")]
    pub refresh: Timespan,
    /// The least time between two reads that an unknown key id asks for. Default: 30s.
    #[serde(default = "half_a_minute")]
    pub cooldown: Timespan,
    /// How long keys are used while the URL cannot be read; beyond, every token of the issuer is refused. Default: 24h.
    #[serde(default = "a_day")]
    pub max_stale: Timespan,
}

/// Tokens that are refused although they are valid.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// A JSON file, read again when it changes:
    /// `{"jti": ["id", ...], "sub": {"subject": 1700000000, ...}}`; a token of a subject is refused when its `iat` is
    /// before the given time, in seconds since 1970.
    pub file: Located<String>,
}

/// A signature algorithm (RFC 7518, section 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

fn ten_minutes() -> Timespan {
    Timespan::from_secs(600)
}

fn half_a_minute() -> Timespan {
    Timespan::from_secs(30)
}

fn a_day() -> Timespan {
    Timespan::from_secs(86_400)
}
