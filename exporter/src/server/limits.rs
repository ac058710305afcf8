//! The time and resources that a client may use, so that slow or hostile clients have little effect.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use secure_exporter_web_config::RateLimit;
use tokio::time::Instant;

/// Maximum number of connections, if the limit on open files allows them.
pub(crate) const MAX_CONNECTIONS: u32 = 512;
/// Minimum of that number, however low the limit on open files is.
const MIN_CONNECTIONS: u32 = 8;
/// Connections may use one in this many of the files that may be open. The others are for the collectors, which keep some
/// files open and open others in each scrape.
const FILES_PER_CONNECTION: u64 = 4;
/// From the start of the connection to the end of the TLS handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
/// From the first byte of a request to the end of its header.
pub(super) const HEAD: Duration = Duration::from_secs(5);
/// Between requests, if the last request was refused or there was none.
pub(super) const IDLE_REFUSED: Duration = Duration::from_secs(10);
/// Between requests, if the last request was accepted: longer than usual scrape intervals.
pub(super) const IDLE_ADMITTED: Duration = Duration::from_secs(330);
/// From asking a client to close the connection, or from the response after that, to the end of the connection.
pub(super) const LEAVE: Duration = Duration::from_secs(15);
/// Bytes of a request's header; hyper's minimum is 8 KiB.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Fields of a request's header.
pub(super) const MAX_HEADERS: usize = 64;
/// Concurrent HTTP/2 requests on one connection.
pub(super) const MAX_STREAMS: u32 = 32;
/// How long open requests may take after SIGTERM. Kubernetes kills the process after 30 seconds.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// The timeout of a scrape for which the client sets no limit.
pub(super) const SCRAPE: Duration = Duration::from_secs(60);

/// Returns the maximum number of connections of a process that may open this many files; `None` means no limit.
pub(crate) fn max_connections(files: Option<u64>) -> u32 {
    let share = files.map_or(u64::MAX, |files| files / FILES_PER_CONNECTION);
    u32::try_from(share)
        .unwrap_or(u32::MAX)
        .clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

/// The token bucket of `rate_limit`. It starts full, and is full again after the limit has changed.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(Mutex<Option<Bucket>>);

#[derive(Debug)]
struct Bucket {
    limit: RateLimit,
    tokens: f64,
    filled: Instant,
}

impl RateLimiter {
    /// Takes a token; false if there is none.
    pub(super) fn admit(&self, limit: Option<RateLimit>, now: Instant) -> bool {
        let Some(limit) = limit else { return true };
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Bucket {
            limit,
            tokens: f64::from(limit.burst),
            filled: now,
        };
        let bucket = match &mut *bucket {
            Some(bucket) if bucket.limit == limit => bucket,
            other => other.insert(full),
        };
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64()
            / limit.interval.as_secs_f64();
        bucket.tokens = (bucket.tokens + gained).min(f64::from(limit.burst));
        bucket.filled = now;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_burst_and_then_one_per_interval() {
        let limiter = RateLimiter::default();
        let limit = Some(RateLimit {
            interval: Duration::from_secs(1),
            burst: 2,
        });
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let admitted = [0, 0, 0, 500, 1_000, 1_100, 60_000, 60_000, 60_000]
            .map(|time| limiter.admit(limit, at(time)));
        assert_eq!(
            admitted,
            [true, true, false, false, true, false, true, true, false]
        );
        assert!(limiter.admit(None, at(60_000)));
    }

    #[test]
    fn connections_are_a_share_of_the_files_that_may_be_open() {
        let limits = [
            None,
            Some(1 << 20),
            Some(2048),
            Some(1024),
            Some(256),
            Some(9),
        ];
        assert_eq!(limits.map(max_connections), [512, 512, 512, 256, 64, 8]);
    }
}
