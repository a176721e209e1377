//! Configurations with `@NAME@` in place of what differs from run to run.

use anyhow::{Result, bail};

/// Puts values in place of `@NAME@`. A value may hold such names itself, of values further behind.
///
/// # Errors
/// A placeholder of the text has no value: a typing error in a configuration must not reach a rival.
pub fn fill(template: &str, values: &[(String, String)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    match placeholder(&text) {
        Some(name) => bail!("the placeholder @{name}@ has no value"),
        None => Ok(text),
    }
}

/// The first `@NAME@` of capital letters, digits and `_` in a text.
fn placeholder(text: &str) -> Option<&str> {
    let is_name = |part: &&str| {
        part.starts_with(|first: char| first.is_ascii_uppercase())
            && part.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    // What stands between two `@`; neither the part before the first nor the one behind the last does.
    let parts: Vec<&str> = text.split('@').collect();
    parts.get(1..parts.len() - 1)?.iter().copied().find(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_placeholder_gets_its_value() {
        let filled =
            fill("bind :@PORT@ @A@ @PORT@", &values(&[("A", "<@B2@>"), ("PORT", "80"), ("B2", "b")]));
        assert_eq!(filled.unwrap(), "bind :80 <b> 80");
    }

    #[test]
    fn a_placeholder_without_a_value_is_refused_by_name() {
        let error = fill("a@example.com @PROT@", &values(&[("PORT", "80")])).unwrap_err();
        assert_eq!(error.to_string(), "the placeholder @PROT@ has no value");
    }

    #[test]
    fn an_at_sign_alone_is_none() {
        for text in ["", "@", "@@", "\"@type\": x@y", "fd@1 local0 @ 2"] {
            assert_eq!(fill(text, &[]).unwrap(), text);
        }
    }
}
