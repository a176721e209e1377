//! Spans of time.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use super::{UnitError, as_written, number_and_unit};

/// A span of time: `300ms`, `5s`, `10m`, `24h`, or several in falling order, `1h30m`. At most 10 years.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timespan(Duration);

const EXPECTED: &str = "a duration such as 300ms, 5s, 10m, 24h or 1h30m";

/// Units with their milliseconds, the longest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const MILLISECONDS_MAX: u64 = 10 * 366 * 24 * 3_600_000;

impl Timespan {
    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Timespan(Duration::from_secs(seconds))
    }

    /// A span of milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Timespan(Duration::from_millis(milliseconds))
    }
}

impl Deref for Timespan {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl From<Timespan> for Duration {
    fn from(span: Timespan) -> Duration {
        span.0
    }
}

impl FromStr for Timespan {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::expected(EXPECTED, text);
        let mut rest = text;
        let mut total = 0u64;
        let mut units = UNITS.as_slice();
        while !rest.is_empty() {
            let (number, after) = number_and_unit(rest);
            let value: u64 = number.parse().map_err(|_| wrong())?;
            let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, next) = after.split_at(letters);
            if unit.is_empty() {
                return Err(
                    wrong().hint(format!("a number alone has no unit: write `{number}s` or `{number}ms`"))
                );
            }
            let Some(index) = units.iter().position(|(name, _)| *name == unit) else {
                return Err(match likely(unit) {
                    Some(known) if rest == text && next.is_empty() => {
                        wrong().hint(format!("write `{number}{known}`"))
                    }
                    _ => wrong(),
                });
            };
            total = value
                .checked_mul(units[index].1)
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= MILLISECONDS_MAX)
                .ok_or_else(|| wrong().hint("the longest duration is 10 years"))?;
            units = &units[index + 1..];
            rest = next;
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Timespan::from_millis(total)) }
    }
}

/// What was meant by a unit that is written otherwise.
fn likely(unit: &str) -> Option<&'static str> {
    match unit.trim().to_ascii_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" | "s" => Some("s"),
        "min" | "mins" | "minute" | "minutes" | "m" => Some("m"),
        "hr" | "hrs" | "hour" | "hours" | "h" => Some("h"),
        "msec" | "millis" | "millisecond" | "milliseconds" | "ms" => Some("ms"),
        _ => None,
    }
}

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        // 90s stays 90s and 1500ms stays 1500ms: one unit where one is enough and the number stays small.
        for (unit, milliseconds) in UNITS {
            let many = rest / milliseconds;
            if rest % milliseconds == 0 && (1..=999).contains(&many) {
                return write!(f, "{many}{unit}");
            }
        }
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, milliseconds) in UNITS {
            let many = rest / milliseconds;
            rest %= milliseconds;
            if many > 0 {
                write!(f, "{many}{unit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

as_written!(
    Timespan,
    EXPECTED,
    "^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    "A span of time: `300ms`, `5s`, `10m`, `24h`, `1h30m`."
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, milliseconds, canonical) in [
            ("0s", 0, "0s"),
            ("300ms", 300, "300ms"),
            ("5s", 5_000, "5s"),
            ("90s", 90_000, "90s"),
            ("10m", 600_000, "10m"),
            ("24h", 86_400_000, "24h"),
            ("1h30m", 5_400_000, "90m"),
            ("1m1ms", 60_001, "1m1ms"),
        ] {
            let span: Timespan = text.parse().unwrap();
            assert_eq!(*span, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(span.to_string(), canonical);
        }
    }

    #[test]
    fn refuses_and_says_what_would_be_right() {
        let error = |text: &str| text.parse::<Timespan>().unwrap_err().to_string();
        assert_eq!(
            error("5 minutes"),
            "expected a duration such as 300ms, 5s, 10m, 24h or 1h30m, found `5 minutes`\nwrite `5m`"
        );
        assert!(error("30").ends_with("write `30s` or `30ms`"));
        for text in
            ["", "s", "-5s", "1.5s", "5s5s", "1m1h", "5d", "99999999999999999999s", "99999999h", "5s "]
        {
            error(text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(milliseconds in 0..=MILLISECONDS_MAX) {
            let span = Timespan::from_millis(milliseconds);
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}") {
            let _ = text.parse::<Timespan>();
        }
    }
}
