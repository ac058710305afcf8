//! Points in time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, as the system's clock has it.
pub(crate) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs().cast_signed())
}

/// A point in time as people read it, of seconds since 1970.
pub(crate) fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
