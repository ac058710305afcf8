//! From when until when certificates are valid.

use jiff::{SignedDuration, Timestamp};
use time::OffsetDateTime;

use crate::error::IssueError;

/// How long a certificate authority is valid: ten years. Scrapers hold copies of it which nobody renews for them, so it
/// outlives the longest leaf (five years) twice.
pub const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(87_600);

/// How far in the past a certificate's validity begins, so that a scraper whose clock is slow does not refuse it.
pub const BACKDATING: SignedDuration = SignedDuration::from_hours(1);

/// The beginning of a certificate that is issued at `now`.
pub(crate) fn begin(now: Timestamp) -> Result<Timestamp, IssueError> {
    now.checked_sub(BACKDATING)
        .map_err(|_| IssueError::OutOfTime)
}

/// The end of a certificate that is issued at `now` and lives for `life`.
pub(crate) fn end(now: Timestamp, life: SignedDuration) -> Result<Timestamp, IssueError> {
    now.checked_add(life).map_err(|_| IssueError::OutOfTime)
}

/// A time as rcgen takes it.
pub(crate) fn x509_time(at: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| IssueError::OutOfTime)
}
