//! What a route asks of a valid token: scopes, roles, and conditions on claims.

use sallyport_identity::Identity;
use serde_json::Value;

use super::config::{Condition, Roles, Scalar};

/// Conditions, ready to be judged. Without any, every token meets them.
pub(super) struct Conditions {
    pub(super) scopes: Box<[Box<str>]>,
    pub(super) roles: Option<Roles>,
    pub(super) claims: Box<[(Box<str>, Condition)]>,
}

/// What a token that meets not all conditions lacks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    Scope,
    Role,
    Claim,
}

impl Conditions {
    pub(super) fn judge(&self, identity: &Identity) -> Result<(), Lack> {
        if !self.scopes.iter().all(|scope| has_scope(&identity.claims, scope)) {
            return Err(Lack::Scope);
        }
        if self.roles.as_ref().is_some_and(|roles| !has_roles(identity, roles)) {
            return Err(Lack::Role);
        }
        if !self.claims.iter().all(|(path, condition)| holds(identity.claim(path), condition)) {
            return Err(Lack::Claim);
        }
        Ok(())
    }
}

fn has_scope(claims: &Value, wanted: &str) -> bool {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(list)) => list.split(' ').any(|scope| scope == wanted),
        Some(Value::Array(list)) => list.iter().any(|scope| scope.as_str() == Some(wanted)),
        _ => false,
    }
}

fn has_roles(identity: &Identity, roles: &Roles) -> bool {
    let claim = identity.claim(&roles.claim);
    let has = |role: &String| match claim {
        Some(Value::String(one)) => one == role,
        Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(role)),
        _ => false,
    };
    if roles.all.is_empty() { roles.any.iter().any(has) } else { roles.all.iter().all(has) }
}

fn holds(claim: Option<&Value>, condition: &Condition) -> bool {
    match (condition, claim) {
        (Condition::Present(present), claim) => *present == claim.is_some_and(|value| !value.is_null()),
        (_, None) => false,
        (Condition::Equals(wanted), Some(value)) => equal(value, wanted),
        (Condition::Any(wanted), Some(Value::Array(list))) => {
            list.iter().any(|value| wanted.iter().any(|wanted| equal(value, wanted)))
        }
        (Condition::Any(wanted), Some(value)) => wanted.iter().any(|wanted| equal(value, wanted)),
    }
}

/// Equal in type and value: the text `true` is not the truth.
fn equal(value: &Value, wanted: &Scalar) -> bool {
    match (wanted, value) {
        (Scalar::Bool(wanted), Value::Bool(value)) => wanted == value,
        (Scalar::Text(wanted), Value::String(value)) => wanted == value,
        (Scalar::Integer(wanted), Value::Number(value)) => match value.as_i64() {
            Some(value) => value == *wanted,
            None => value.is_f64() && value.as_f64() == Some(*wanted as f64),
        },
        (Scalar::Number(wanted), Value::Number(value)) => value.as_f64() == Some(*wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identity(claims: Value) -> Identity {
        Identity { issuer: "main".into(), subject: "ann".into(), claims: claims.into() }
    }

    #[test]
    fn scopes_are_words_of_scope_or_else_scp() {
        for (claims, expected) in [
            (json!({"scope": "read write"}), true),
            (json!({"scope": "readwrite"}), false),
            (json!({"scope": "reader"}), false),
            (json!({"scp": ["write", "read"]}), true),
            (json!({"scp": "write read"}), true),
            (json!({"scp": ["write read"]}), false),
            (json!({"scope": "", "scp": ["read"]}), false),
            (json!({"scope": 1}), false),
            (json!({}), false),
        ] {
            assert_eq!(has_scope(&claims, "read"), expected, "{claims}");
        }
    }

    #[test]
    fn roles_are_any_or_all_of_a_claim() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let any =
            Roles { claim: "realm_access.roles".into(), any: names(&["teacher", "admin"]), all: vec![] };
        let all = Roles { any: vec![], all: names(&["teacher", "admin"]), ..any.clone() };
        for (claims, has_any, has_all) in [
            (json!({"realm_access": {"roles": ["teacher"]}}), true, false),
            (json!({"realm_access": {"roles": ["admin", "x", "teacher"]}}), true, true),
            (json!({"realm_access": {"roles": "admin"}}), true, false),
            (json!({"realm_access": {"roles": "teacher admin"}}), false, false),
            (json!({"realm_access": {"roles": {"admin": true}}}), false, false),
            (json!({"realm_access.roles": ["admin"]}), true, false),
            (json!({}), false, false),
        ] {
            let identity = identity(claims);
            assert_eq!(has_roles(&identity, &any), has_any, "{identity:?}");
            assert_eq!(has_roles(&identity, &all), has_all, "{identity:?}");
        }
    }

    #[test]
    fn claims_are_compared_with_their_type() {
        let text = |text: &str| Scalar::Text(text.to_owned());
        let claims = json!({"t": "acme", "b": true, "n": 3, "f": 3.0, "h": 1.5, "l": ["x", 2], "z": null, "big": 1e18});
        let identity = identity(claims);
        for (name, condition, expected) in [
            ("t", Condition::Equals(text("acme")), true),
            ("t", Condition::Equals(text("Acme")), false),
            ("b", Condition::Equals(Scalar::Bool(true)), true),
            ("b", Condition::Equals(text("true")), false),
            ("b", Condition::Equals(Scalar::Integer(1)), false),
            ("n", Condition::Equals(Scalar::Integer(3)), true),
            ("n", Condition::Equals(Scalar::Number(3.0)), true),
            ("n", Condition::Equals(text("3")), false),
            ("f", Condition::Equals(Scalar::Integer(3)), true),
            ("h", Condition::Equals(Scalar::Number(1.5)), true),
            ("big", Condition::Equals(Scalar::Integer(1_000_000_000_000_000_000)), true),
            ("l", Condition::Equals(text("x")), false),
            ("l", Condition::Any(vec![text("y"), Scalar::Integer(2)]), true),
            ("l", Condition::Any(vec![text("2")]), false),
            ("n", Condition::Any(vec![Scalar::Integer(2), Scalar::Integer(3)]), true),
            ("none", Condition::Any(vec![text("x")]), false),
            ("none", Condition::Equals(text("")), false),
            ("t", Condition::Present(true), true),
            ("none", Condition::Present(true), false),
            ("none", Condition::Present(false), true),
            ("z", Condition::Present(true), false),
        ] {
            assert_eq!(holds(identity.claim(name), &condition), expected, "{name} {condition:?}");
        }
    }
}
