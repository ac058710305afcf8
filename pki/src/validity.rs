//! The validity of certificates.

use jiff::{SignedDuration, Timestamp};
use time::OffsetDateTime;

use crate::error::IssueError;

/// How long a CA is valid: ten years, twice the longest lifetime of a certificate, because some scrapers use a copy of the CA
/// that is not updated automatically.
pub const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(87_600);

/// How far in the past a certificate's validity begins, so that a scraper whose clock is slow does not refuse it.
pub const BACKDATING: SignedDuration = SignedDuration::from_hours(1);

/// Returns the start of the validity of a certificate that is issued at `now`.
pub(crate) fn begin(now: Timestamp) -> Result<Timestamp, IssueError> {
    now.checked_sub(BACKDATING)
        .map_err(|_| IssueError::OutOfTime)
}

/// Returns the end of the validity of a certificate that is issued at `now` and valid for `life`.
pub(crate) fn end(now: Timestamp, life: SignedDuration) -> Result<Timestamp, IssueError> {
    now.checked_add(life).map_err(|_| IssueError::OutOfTime)
}

/// Converts a time for rcgen.
pub(crate) fn x509_time(at: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| IssueError::OutOfTime)
}
