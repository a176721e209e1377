//! So many in such a time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Timespan, UnitError, as_written};

/// So many in such a time: `20/s`, `100/m`, `1000/h`, `5/10s`. Neither is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In what time.
    pub per: Duration,
}

const EXPECTED: &str = "a rate such as 20/s, 100/m, 1000/h or 5/10s";

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::expected(EXPECTED, text);
        let Some((count, per)) = text.split_once('/') else {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let hint = format!("a number alone has no unit: write `{text}/s` or `{text}/m`");
            return Err(if digits { wrong().hint(hint) } else { wrong() });
        };
        if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let count: u32 = count.parse().map_err(|_| wrong().hint("the largest count is 4294967295"))?;
        let span: Timespan = match per {
            "ms" | "s" | "m" | "h" => format!("1{per}").parse().map_err(|_| wrong())?,
            "sec" | "second" => return Err(wrong().hint(format!("write `{count}/s`"))),
            "min" | "minute" => return Err(wrong().hint(format!("write `{count}/m`"))),
            "hour" => return Err(wrong().hint(format!("write `{count}/h`"))),
            _ => per.parse().map_err(|_| wrong())?,
        };
        if count == 0 || span.is_zero() {
            return Err(wrong().hint("neither the count nor the time may be zero"));
        }
        Ok(Rate { count, per: *span })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = Timespan::from_millis(u64::try_from(self.per.as_millis()).unwrap_or(u64::MAX)).to_string();
        let bare = per.strip_prefix('1').filter(|unit| !unit.starts_with(|c: char| c.is_ascii_digit()));
        let single = bare.filter(|unit| unit.bytes().all(|b| b.is_ascii_alphabetic()));
        write!(f, "{}/{}", self.count, single.unwrap_or(&per))
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

as_written!(
    Rate,
    EXPECTED,
    "^[0-9]+/([smh]|ms|(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
    "So many in such a time: `20/s`, `100/m`, `1000/h`, `5/10s`."
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, count, seconds) in
            [("20/s", 20, 1), ("100/m", 100, 60), ("1000/h", 1000, 3600), ("5/10s", 5, 10)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate, Rate { count, per: Duration::from_secs(seconds) });
            assert_eq!(rate.to_string(), text);
        }
    }

    #[test]
    fn refuses_and_says_what_would_be_right() {
        let error = |text: &str| text.parse::<Rate>().unwrap_err().to_string();
        assert_eq!(
            error("20"),
            "expected a rate such as 20/s, 100/m, 1000/h or 5/10s, found `20`\n\
             a number alone has no unit: write `20/s` or `20/m`"
        );
        assert!(error("20/sec").ends_with("write `20/s`"));
        assert!(error("0/s").ends_with("may be zero"));
        for text in ["", "/s", "-1/s", "1/", "1/0s", "1/d", "+1/s", "99999999999/s", "1/s/s"] {
            error(text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(count in 1u32.., milliseconds in 1u64..1_000_000_000) {
            let rate = Rate { count, per: Duration::from_millis(milliseconds) };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9/smh ]{0,12}|.{0,12}") {
            let _ = text.parse::<Rate>();
        }
    }
}
