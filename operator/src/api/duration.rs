//! Durations as they are written in the spec: `8760h`, `1h30m`, `90s`.

use jiff::SignedDuration;

/// Why a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text is not a sequence of numbers with h, m or s.
    #[error(
        "{0:?} is not a duration in hours, minutes and seconds: use hours, for example 2160h for 90 days"
    )]
    Malformed(String),
    /// The duration does not fit into an i64 of seconds.
    #[error("duration {0:?} is too long")]
    TooLong(String),
}

/// Parses a duration of one or more `<number><h|m|s>`: Go's format without signs and fractions.
pub fn parse_duration(text: &str) -> Result<SignedDuration, DurationError> {
    let mut seconds: i64 = 0;
    let mut digits: Option<i64> = None;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            digits = digits
                .unwrap_or(0)
                .checked_mul(10)
                .and_then(|n| n.checked_add(i64::from(digit)))
                .map_or_else(
                    || Err(DurationError::TooLong(text.to_owned())),
                    |n| Ok(Some(n)),
                )?;
            continue;
        }
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(DurationError::Malformed(text.to_owned())),
        };
        seconds = digits
            .take()
            .ok_or_else(|| DurationError::Malformed(text.to_owned()))?
            .checked_mul(unit)
            .and_then(|part| part.checked_add(seconds))
            .ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
    }
    if text.is_empty() || digits.is_some() {
        return Err(DurationError::Malformed(text.to_owned()));
    }
    Ok(SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_and_seconds_are_parsed() {
        for (text, seconds) in [
            ("8760h", 31_536_000),
            ("1h30m", 5400),
            ("90s", 90),
            ("1m1m", 120),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(SignedDuration::from_secs(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "h",
            "1",
            "1d",
            "-1h",
            "1.5h",
            "1h30",
            "1 h",
            "9999999999999999h",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let days = parse_duration("90d").unwrap_err().to_string();
        assert!(days.contains("2160h"), "{days}");
    }
}
