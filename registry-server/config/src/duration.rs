//! Durations as Go writes them: `168h`, `1m30s`, `250ms`.
//!
//! A number without a unit is no duration, except 0. Go's YAML library takes it for nanoseconds where it accepts it, which is
//! never the meaning of `interval: 10`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),  // micro sign
    ("\u{3bc}s", 1_000), // Greek mu
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A signed span of time with Go's range (±292 years) and notation (Go's `time.ParseDuration`).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration {
    nanoseconds: i64,
}

impl GoDuration {
    /// Whole seconds.
    pub const fn from_secs(seconds: u32) -> Self {
        Self {
            nanoseconds: seconds as i64 * 1_000_000_000,
        }
    }

    /// Reads Go's notation.
    ///
    /// # Errors
    /// The text is no duration. The caller adds the key and the allowed values.
    pub fn parse(text: &str) -> Result<Self, NotADuration> {
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest.is_empty() {
            return Err(NotADuration);
        }
        if rest.bytes().all(|digit| digit == b'0') {
            return Ok(Self { nanoseconds: 0 });
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (whole, after) = digits(rest);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => digits(after),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(NotADuration);
            }
            let end = after
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let size = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or(NotADuration)?
                .1;
            // Nineteen digits hold every value that fits, and keep the products below inside i128.
            if whole.len() > 19 {
                return Err(NotADuration);
            }
            let whole: i128 = if whole.is_empty() {
                0
            } else {
                whole.parse().map_err(|_| NotADuration)?
            };
            total += whole * size;
            let mut scale = size;
            for digit in fraction.bytes() {
                scale /= 10;
                total += i128::from(digit - b'0') * scale;
            }
            if total > i128::from(i64::MAX) {
                return Err(NotADuration);
            }
            rest = after;
        }
        let nanoseconds = i64::try_from(if negative { -total } else { total }).map_err(|_| NotADuration)?;
        Ok(Self { nanoseconds })
    }

    /// The span, or `None` when it is negative.
    pub fn positive(self) -> Option<Duration> {
        u64::try_from(self.nanoseconds).ok().map(Duration::from_nanos)
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl TryFrom<Duration> for GoDuration {
    type Error = NotADuration;

    fn try_from(span: Duration) -> Result<Self, NotADuration> {
        Ok(Self {
            nanoseconds: i64::try_from(span.as_nanos()).map_err(|_| NotADuration)?,
        })
    }
}

/// Prints the largest units first, without zeros: `1h30m`, `10s`, `1.5s` as `1s500ms`.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanoseconds == 0 {
            return f.write_str("0s");
        }
        if self.nanoseconds < 0 {
            f.write_str("-")?;
        }
        let mut rest = i128::from(self.nanoseconds).abs();
        for unit in ["h", "m", "s", "ms", "us", "ns"] {
            let size = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map_or(1, |(_, size)| *size);
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = GoDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(NotADuration::ALLOWED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
                GoDuration::parse(text).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// The text is not a duration; [`NotADuration::ALLOWED`] describes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a duration")]
pub struct NotADuration;

impl NotADuration {
    /// The allowed forms of a duration, for messages.
    pub const ALLOWED: &str = "a duration such as `30s`, `1m30s` or `168h`";

    /// The allowed forms for this text; a number without a unit is shown with one.
    pub fn allowed(text: &str) -> String {
        let number = text.strip_prefix(['-', '+']).unwrap_or(text);
        match !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()) {
            true => format!(
                "a number with its unit: `{text}s` for seconds, `{text}m` for minutes, `{text}h` for hours"
            ),
            false => Self::ALLOWED.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let got = GoDuration::parse(text).ok().map(|span| span.to_string());
        assert_eq!(got.as_deref(), expected, "input: {text:?}");
    }

    #[test]
    fn go_durations_are_read() {
        check("168h", Some("168h"));
        check("1m30s", Some("1m30s"));
        check("90s", Some("1m30s"));
        check("1.5h", Some("1h30m"));
        check(".5s", Some("500ms"));
        check("-10s", Some("-10s"));
        check("0", Some("0s"));
        check("-0", Some("0s"));
        check("100\u{b5}s", Some("100us"));
    }

    #[test]
    fn other_texts_are_no_durations() {
        for text in [
            "",
            "-",
            "10",
            "-1",
            "5000000000",
            "s",
            "1d",
            "1h ",
            " 1h",
            "1 h",
            "1..5s",
            "999999999h",
            "1e3s",
            "9999999999999999999999s",
        ] {
            check(text, None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_mutated_duration_panics(text in registry_mutation::mutated_text(&["1h30m5.5s", "-10ms", "168h", "9223372036854775807"])) {
            if let Ok(span) = GoDuration::parse(&text) {
                proptest::prop_assert_eq!(GoDuration::parse(&span.to_string()), Ok(span));
            }
        }

        #[test]
        fn no_text_panics_and_what_is_printed_is_read_back(text in "\\PC{0,30}", nanoseconds: i64) {
            let _ = GoDuration::parse(&text);
            let span = GoDuration { nanoseconds };
            proptest::prop_assert_eq!(GoDuration::parse(&span.to_string()), Ok(span));
        }
    }
}
