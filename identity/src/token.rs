//! One token: taken apart, checked against an issuer, and refused for one of a few fixed reasons.
//!
//! The checks that jsonwebtoken would do on claims are done here, because it asks the clock of the process,
//! skips claims of a wrong type, and takes a missing `aud` or `iss` for a good one. Signatures are its work.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::issuer::{Check, Issuer, Key};

/// Which `typ` a token may have (RFC 8725, section 3.11). Compared in any case, with or without
/// `application/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TokenType {
    /// JWT, at+jwt, or none. Never one of the kinds that are not for access, such as `logout+jwt`.
    #[default]
    #[serde(rename = "any")]
    Any,
    /// at+jwt only.
    #[serde(rename = "at+jwt")]
    AccessToken,
}

/// Why a token is refused. The texts go to the client: they are fixed, and say nothing about keys or
/// settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has more bytes than are looked at.
    TooLong,
    /// It is no compact JWS, or needs what is not understood.
    Malformed,
    /// Its `typ` is not accepted.
    WrongType,
    /// Its `alg` is not on the issuer's list.
    Algorithm,
    /// It was not made with one of the issuer's keys, or that key is gone.
    Signature,
    /// Its `iss` is none of those accepted.
    Issuer,
    /// Its `aud` names nobody here.
    Audience,
    /// A claim is missing, or of the wrong type.
    Claims,
    /// `exp` is past.
    Expired,
    /// `nbf` or `iat` is still to come.
    NotYetValid,
    /// It, or its subject, is on the revocation list.
    Revoked,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Refusal; 11] = [
        Refusal::TooLong,
        Refusal::Malformed,
        Refusal::WrongType,
        Refusal::Algorithm,
        Refusal::Signature,
        Refusal::Issuer,
        Refusal::Audience,
        Refusal::Claims,
        Refusal::Expired,
        Refusal::NotYetValid,
        Refusal::Revoked,
    ];

    /// The reason, for the client.
    pub fn text(self) -> &'static str {
        match self {
            Refusal::TooLong => "the token is too long",
            Refusal::Malformed => "the token is malformed",
            Refusal::WrongType => "the token is of a type that is not accepted",
            Refusal::Algorithm => "the algorithm is not accepted",
            Refusal::Signature => "the signature is not valid",
            Refusal::Issuer => "the issuer is not accepted",
            Refusal::Audience => "the token is for another audience",
            Refusal::Claims => "a required claim is missing or has the wrong type",
            Refusal::Expired => "the token has expired",
            Refusal::NotYetValid => "the token is not valid yet",
            Refusal::Revoked => "the token has been revoked",
        }
    }
}

/// A token in its parts. Nothing in it is to be believed before [`Token::verify`].
pub(crate) struct Token<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    message: &'a [u8],
    payload: Vec<u8>,
    signature: &'a str,
    iss: String,
}

/// What became of a check.
pub(crate) enum Verdict {
    /// The claims, an object that passed every check but those of the route.
    Valid {
        claims: Value,
        expires: f64,
        generation: u64,
        key: Arc<Key>,
    },
    Refused(Refusal),
    /// The key may be one that is not known yet.
    UnknownKey,
    /// The issuer has no usable keys.
    Unavailable,
}

/// The members of the JOSE header that matter (RFC 7515, section 4.1). `jwk`, `jku`, `x5u` and `x5c` offer a
/// key of the sender's choice (RFC 8725, section 3.10): they are not even read.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood; none is (RFC 7515, section 4.1.11).
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    /// Compression and encryption belong to JWE.
    #[serde(default, deserialize_with = "present")]
    zip: bool,
    #[serde(default, deserialize_with = "present")]
    enc: bool,
}

#[derive(Deserialize)]
struct Unverified {
    iss: String,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl<'a> Token<'a> {
    /// Takes a compact JWS (RFC 7515, section 7.1) apart. A JWE has five parts and is refused.
    pub(crate) fn parse(token: &'a [u8], typ: TokenType) -> Result<Token<'a>, Refusal> {
        let text = std::str::from_utf8(token).map_err(|_| Refusal::Malformed)?;
        let (message, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (head, payload) = message.split_once('.').ok_or(Refusal::Malformed)?;
        if signature.is_empty() || payload.contains('.') {
            return Err(Refusal::Malformed);
        }
        let head = object(head)?;
        let payload = object(payload)?;
        let header: Header<'_> = serde_json::from_slice(&head).map_err(|_| Refusal::Malformed)?;
        // `none` is no algorithm to this type, in whatever case.
        let algorithm = header.alg.parse().map_err(|_| Refusal::Algorithm)?;
        if header.crit || header.zip || header.enc {
            return Err(Refusal::Malformed);
        }
        let unverified: Unverified = serde_json::from_slice(&payload).map_err(|_| Refusal::Claims)?;
        if !typ.accepts(header.typ.as_deref()) {
            return Err(Refusal::WrongType);
        }
        let (kid, iss) = (header.kid, unverified.iss);
        Ok(Token { algorithm, kid, message: message.as_bytes(), payload, signature, iss })
    }

    /// The issuer that the token claims to be from: good for choosing among issuers, and for nothing else.
    pub(crate) fn unverified_issuer(&self) -> &str {
        &self.iss
    }

    /// The key id that the token names.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Checks the token against one issuer, at `now` by the wall clock (seconds since 1970) and `instant` by
    /// the other.
    pub(crate) fn verify(&self, issuer: &Issuer, now: f64, instant: Instant) -> Verdict {
        let Some(keys) = issuer.keys(instant) else { return Verdict::Unavailable };
        if !issuer.accepts_algorithm(self.algorithm) {
            return Verdict::Refused(Refusal::Algorithm);
        }
        let key = match keys.check(self.algorithm, self.kid.as_deref(), self.message, self.signature) {
            Check::Invalid => return Verdict::Refused(Refusal::Signature),
            Check::UnknownKey => return Verdict::UnknownKey,
            Check::Valid(key) => key,
        };
        let Ok(claims) = serde_json::from_slice::<Value>(&self.payload) else {
            return Verdict::Refused(Refusal::Malformed);
        };
        match check_claims(&claims, issuer, now) {
            Ok(expires) => Verdict::Valid { claims, expires, generation: keys.generation(), key },
            Err(refusal) => Verdict::Refused(refusal),
        }
    }
}

impl TokenType {
    /// Whether this `typ` is accepted.
    fn accepts(self, typ: Option<&str>) -> bool {
        let Some(typ) = typ else { return self == TokenType::Any };
        let prefix = "application/";
        let short = match typ.get(..prefix.len()) {
            Some(start) if start.eq_ignore_ascii_case(prefix) => &typ[prefix.len()..],
            _ => typ,
        };
        short.eq_ignore_ascii_case("at+jwt") || (self == TokenType::Any && short.eq_ignore_ascii_case("JWT"))
    }
}

/// RFC 7519, section 4.1, with every claim that is there of the right type. The answer is `exp`.
fn check_claims(claims: &Value, issuer: &Issuer, now: f64) -> Result<f64, Refusal> {
    if claims.get("iss").and_then(Value::as_str) != Some(issuer.iss()) {
        return Err(Refusal::Issuer);
    }
    if !audiences(claims)?.any(|audience| issuer.accepts_audience(audience)) {
        return Err(Refusal::Audience);
    }
    if claims.get("sub").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(Refusal::Claims);
    }
    if claims.get("jti").is_some_and(|id| !id.is_string()) {
        return Err(Refusal::Claims);
    }
    let skew = issuer.skew().as_secs_f64();
    let expires = date(claims, "exp")?.ok_or(Refusal::Claims)?;
    // "On or after" the moment of `exp` a token is not accepted.
    if now >= expires + skew {
        return Err(Refusal::Expired);
    }
    let (from, issued) = (date(claims, "nbf")?, date(claims, "iat")?);
    if from.into_iter().chain(issued).any(|from| from > now + skew) {
        return Err(Refusal::NotYetValid);
    }
    Ok(expires)
}

/// `aud`: a text or a list of texts.
fn audiences(claims: &Value) -> Result<impl Iterator<Item = &str>, Refusal> {
    let list = match claims.get("aud") {
        Some(one @ Value::String(_)) => std::slice::from_ref(one),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => list.as_slice(),
        Some(_) => return Err(Refusal::Claims),
        None => return Err(Refusal::Audience),
    };
    Ok(list.iter().filter_map(Value::as_str))
}

/// A NumericDate (RFC 7519, section 2): seconds since 1970, perhaps a fraction. JSON has no NaN and the
/// parser refuses what is too large for a double, so that comparisons are sound.
fn date(claims: &Value, name: &str) -> Result<Option<f64>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            number.as_f64().filter(|seconds| seconds.is_finite()).map(Some).ok_or(Refusal::Claims)
        }
        Some(_) => Err(Refusal::Claims),
    }
}

/// The JSON object that a part encodes. serde would read a list as a struct, too; that is not a header.
fn object(part: &str) -> Result<Vec<u8>, Refusal> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)?;
    if json.trim_ascii_start().first() == Some(&b'{') { Ok(json) } else { Err(Refusal::Malformed) }
}
