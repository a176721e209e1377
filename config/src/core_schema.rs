//! The core schema of YAML 1.2.2 (section 10.3): what a plain scalar means where no type says otherwise.

/// What a scalar is taken for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text,
}

/// Reads a scalar. A quoted one is always text.
pub(crate) fn read(text: &str, plain: bool) -> Plain {
    if !plain {
        return Plain::Text;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        _ => {}
    }
    if let Some(value) = unsigned(text) {
        return Plain::Unsigned(value);
    }
    if let Some(value) = signed(text) {
        return Plain::Signed(value);
    }
    float(text).map_or(Plain::Text, Plain::Float)
}

/// A whole number that is not negative: decimal, `0o17` or `0x1f`.
pub(crate) fn unsigned(text: &str) -> Option<u64> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric());
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal).then(|| u64::from_str_radix(octal, 8).ok()).flatten();
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal).then(|| u64::from_str_radix(hexadecimal, 16).ok()).flatten();
    }
    text.parse().ok()
}

/// A whole number with a sign.
pub(crate) fn signed(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// A finite number; `.inf` and `.nan` mean nothing in a configuration.
pub(crate) fn float(text: &str) -> Option<f64> {
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    let value: f64 = if numeric { text.parse().ok()? } else { return None };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// YAML 1.1 takes these for booleans, base-60 numbers and the like; YAML 1.2 does not.
    #[test]
    fn nothing_of_yaml_1_1() {
        for text in
            ["yes", "on", "off", "no", "y", "22:22", "1_000", "0b1", ".inf", ".nan", "infinity", "0xg"]
        {
            assert_eq!(read(text, true), Plain::Text, "{text}");
        }
    }

    #[test]
    fn the_core_schema() {
        assert_eq!(read("~", true), Plain::Null);
        assert_eq!(read("True", true), Plain::Bool(true));
        assert_eq!(read("0x1f", true), Plain::Unsigned(31));
        assert_eq!(read("-3", true), Plain::Signed(-3));
        assert_eq!(read("1.10", true), Plain::Float(1.1));
        assert_eq!(read("7", false), Plain::Text);
        assert_eq!(read("-", true), Plain::Text);
        assert_eq!(read("1e999", true), Plain::Text);
    }
}
