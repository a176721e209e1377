//! A value that is never shown.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::Fault;
use crate::node::Node;
use crate::secrets;

/// A secret: `${NAME}` for an environment variable, or `file:path` for a file relative to the configuration file,
/// whose last line break does not count. Written in the file itself it is refused. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value. Keep it out of logs, labels and errors.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// For secrets that are made at run time, and for tests.
impl From<String> for Secret {
    fn from(value: String) -> Self {
        Secret(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let fault = |message: &str| {
            let mut fault = Fault::from_text(message);
            fault.at = node.location();
            D::Error::custom(fault)
        };
        let Some(written) = node.text().filter(|text| !text.is_empty()) else {
            return Err(fault("expected a secret\nwrite `${NAME}` or `file:path`"));
        };
        let known = node.secrets().cloned().or_else(secrets::current);
        let resolved = known.unwrap_or_default().resolve(written);
        resolved.map(Secret).map_err(|message| fault(&message))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|file:.+)$",
            "description": "A secret: `${NAME}` for an environment variable or `file:path` for a file.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn never_prints() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""***""#);
        assert_eq!(secret.expose(), "hunter2");
    }

    /// `Node::parse` reads the environment of the process; cargo sets this variable.
    #[test]
    fn comes_from_the_environment() {
        let mut report = Report::default();
        let node = Node::parse("a", "${CARGO_PKG_NAME}", &mut report).unwrap();
        let secret: Secret = node.decode(&mut report).unwrap();
        assert_eq!(secret.expose(), "sallyport-config");
        assert_eq!(format!("{node:?}"), r#""${CARGO_PKG_NAME}""#);
    }

    #[test]
    fn a_literal_is_refused_and_not_repeated() {
        let mut report = Report::default();
        let node = Node::parse("a", "k: hunter2", &mut report).unwrap();
        let none: Option<std::collections::BTreeMap<String, Secret>> = node.decode(&mut report);
        assert!(none.is_none());
        let error = report.errors().next().unwrap();
        assert!(!error.message.contains("hunter2") && error.message.contains("may not stand in the file"));
        assert_eq!((error.at.line, error.at.column), (1, 4));
    }

    #[test]
    fn another_deserializer_has_no_secrets() {
        assert!(serde_json::from_str::<Secret>(r#""hunter2""#).is_err());
        assert!(serde_json::from_str::<Secret>(r#""${CARGO_PKG_NAME}""#).is_err());
    }
}
