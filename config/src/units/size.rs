//! Sizes in bytes.

use std::fmt;
use std::str::FromStr;

use super::{UnitError, as_written, number_and_unit};

/// A number of bytes: `240B`, `60KiB`, `10MiB`, `1GiB`; decimal as `kB`, `MB`, `GB`. A bare `0` needs no unit.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const EXPECTED: &str = "a size such as 240B, 60KiB, 10MiB or 1GiB";

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::expected(EXPECTED, text);
        let (number, unit) = number_and_unit(text);
        if number.is_empty() {
            return Err(wrong());
        }
        let too_large = || wrong().hint("the largest size is 16384 PiB");
        let value: u64 = number.parse().map_err(|_| too_large())?;
        if unit.is_empty() {
            let hint =
                || format!("a number alone has no unit: write `{number}B`, `{number}KiB` or `{number}MiB`");
            return if value == 0 { Ok(ByteSize(0)) } else { Err(wrong().hint(hint())) };
        }
        match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, bytes)) => value.checked_mul(*bytes).map(ByteSize).ok_or_else(too_large),
            None => Err(match likely(unit) {
                Some(known) => wrong().hint(format!("write `{number}{known}`")),
                None => wrong(),
            }),
        }
    }
}

/// What was meant by a unit that is written otherwise.
fn likely(unit: &str) -> Option<&'static str> {
    match unit.trim().to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => Some("B"),
        "k" | "kb" | "kib" => Some("KiB"),
        "m" | "mb" | "mib" => Some("MiB"),
        "g" | "gb" | "gib" => Some("GiB"),
        "t" | "tb" | "tib" => Some("TiB"),
        _ => None,
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes));
        match exact {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

as_written!(
    ByteSize,
    EXPECTED,
    "^(0|[0-9]+(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB))$",
    "A number of bytes: `240B`, `60KiB`, `10MiB`, `1GiB`; decimal: `kB`, `MB`, `GB`."
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, bytes, canonical) in [
            ("0", 0, "0B"),
            ("240B", 240, "240B"),
            ("60KiB", 61_440, "60KiB"),
            ("10MiB", 10 << 20, "10MiB"),
            ("1000kB", 1_000_000, "1MB"),
            ("1024MiB", 1 << 30, "1GiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), canonical);
        }
    }

    #[test]
    fn refuses_and_says_what_would_be_right() {
        let error = |text: &str| text.parse::<ByteSize>().unwrap_err().to_string();
        assert_eq!(
            error("10mb"),
            "expected a size such as 240B, 60KiB, 10MiB or 1GiB, found `10mb`\nwrite `10MiB`"
        );
        assert!(error("100").ends_with("write `100B`, `100KiB` or `100MiB`"));
        for text in ["", "MiB", "-1B", "1.5MiB", "10 MiB", "99999999999999999999B", "99999999999TiB", "1PiB"]
        {
            error(text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes: u64) {
            let size = ByteSize(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn round_sizes_are_read(number in 0..1u64 << 24, shift in 0u32..40) {
            let size = ByteSize(number << shift);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
