//! How long and how much a client may take, so that slow or hostile ones cost little.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use secure_exporter_web_config::RateLimit;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Connections at a time.
pub(super) const MAX_CONNECTIONS: u32 = 512;
/// From the connection to the end of the TLS handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
/// From the first byte of a request to the last of its head.
const HEAD: Duration = Duration::from_secs(5);
/// Between requests, for a client that has not shown credentials yet.
const IDLE_STRANGER: Duration = Duration::from_secs(10);
/// Between requests, for one that has: longer than people's scrape intervals.
const IDLE_FRIEND: Duration = Duration::from_secs(330);
/// Bytes of a request's head; hyper takes no less than 8 KiB.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Fields of a request's head.
pub(super) const MAX_HEADERS: usize = 64;
/// HTTP/2 requests at a time on one connection.
pub(super) const MAX_STREAMS: u32 = 32;
/// How long open requests may go on after SIGTERM. Kubernetes kills after 30 seconds.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// A scrape that the client sets no limit for.
pub(super) const SCRAPE: Duration = Duration::from_secs(60);

/// What one connection is doing, as far as deadlines go.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    eviction: Notify,
}

#[derive(Debug)]
struct State {
    requests: usize,
    head_since: Option<Instant>,
    idle_since: Instant,
    friend: bool,
}

impl Activity {
    /// Of a connection that begins now.
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            requests: 0,
            head_since: None,
            idle_since: Instant::now(),
            friend: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            eviction: Notify::new(),
        })
    }

    /// A request's head is complete; it lasts until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.with(|state| {
            state.requests += 1;
            state.head_since = None;
        });
        Busy(self.clone())
    }

    /// The client has shown credentials, or none are asked for.
    pub(super) fn is_a_friend(&self) {
        self.with(|state| state.friend = true);
    }

    /// Whether nobody would miss the connection: no credentials so far, and no request that waits for its answer.
    pub(super) fn is_idle_stranger(&self) -> bool {
        self.with(|state| !state.friend && state.requests == 0)
    }

    /// Ends the connection.
    pub(super) fn evict(&self) {
        self.eviction.notify_one();
    }

    /// Comes when the connection has to end for another one.
    pub(super) async fn evicted(&self) {
        self.eviction.notified().await;
    }

    /// Ends when the client has taken too long.
    pub(super) async fn expired(&self) {
        loop {
            let deadline = self.with(|state| state.deadline(Instant::now()));
            tokio::time::sleep_until(deadline).await;
            let now = Instant::now();
            if self.with(|state| state.requests == 0 && state.deadline(now) <= now) {
                return;
            }
        }
    }

    fn received(&self) {
        self.with(|state| {
            if state.requests == 0 && state.head_since.is_none() {
                state.head_since = Some(Instant::now());
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn deadline(&self, now: Instant) -> Instant {
        let idle = if self.friend {
            IDLE_FRIEND
        } else {
            IDLE_STRANGER
        };
        match (self.requests, self.head_since) {
            (0, Some(since)) => since + HEAD,
            (0, None) => self.idle_since + idle,
            // Nothing to wait for yet: look again.
            _ => now + HEAD,
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.requests -= 1;
            state.idle_since = Instant::now();
        });
    }
}

/// A stream that tells [`Activity`] when a head begins.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) activity: Arc<Activity>,
    /// False for HTTP/2, which sends frames between requests: bytes do not mean that a head has begun.
    pub(super) bytes_begin_a_head: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.bytes_begin_a_head && buf.filled().len() > before {
            self.activity.received();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

/// The bucket of `rate_limit`; it starts full, and full again when the limit changes.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(Mutex<Option<Bucket>>);

#[derive(Debug)]
struct Bucket {
    limit: RateLimit,
    tokens: f64,
    filled: Instant,
}

impl RateLimiter {
    /// Takes a token; false when there is none.
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
    fn a_started_head_has_less_time_than_an_idle_friend() {
        let activity = Activity::new();
        let deadline = |activity: &Activity| {
            activity.with(|state| state.deadline(Instant::now()) - state.idle_since)
        };
        assert_eq!(deadline(&activity), IDLE_STRANGER);
        drop(activity.begin());
        activity.is_a_friend();
        assert_eq!(deadline(&activity), IDLE_FRIEND);
        activity.received();
        assert!(deadline(&activity) < HEAD + Duration::from_secs(1));
        let busy = activity.begin();
        assert!(activity.with(|state| state.head_since.is_none()));
        drop(busy);
        assert_eq!(deadline(&activity), IDLE_FRIEND);
    }

    #[tokio::test]
    async fn frames_of_http2_are_no_heads() {
        for bytes_begin_a_head in [false, true] {
            let activity = Activity::new();
            let mut watched = Watched {
                stream: &b"bytes"[..],
                activity: activity.clone(),
                bytes_begin_a_head,
            };
            let mut read = Vec::new();
            tokio::io::AsyncReadExt::read_buf(&mut watched, &mut read)
                .await
                .unwrap();
            assert_eq!(
                activity.with(|state| state.head_since.is_some()),
                bytes_begin_a_head
            );
        }
    }
}
