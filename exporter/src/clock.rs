//! Points in time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the epoch, from the system clock.
pub(crate) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs().cast_signed())
}

/// Formats a time, given in seconds since the epoch, for people.
pub(crate) fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
