//! The state of a connection, which determines its deadlines and whether it can be closed to make room for another.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::{HEAD, IDLE_ADMITTED, IDLE_REFUSED, LEAVE, SCRAPE};

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    eviction: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests that have not been answered yet.
    requests: usize,
    /// Those of them that were accepted.
    admitted: usize,
    /// The time since which a request header is being received.
    head_since: Option<Instant>,
    /// The bytes received last are not a complete header.
    has_begun_a_head: bool,
    idle_since: Instant,
    /// The time since which the client is asked to close the connection.
    leaving_since: Option<Instant>,
    /// Whether the last request was accepted.
    is_admitted: bool,
    /// Whether it was accepted because of its credentials, and the configuration that they were checked with is still in
    /// use.
    is_authenticated: bool,
}

/// How readily a connection is closed to make room for another, the readiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Eviction {
    /// No credentials were accepted, and no request is being answered.
    Unauthenticated,
    /// Credentials were accepted, and there is no request.
    Idle,
}

impl Activity {
    /// Creates the state of a new connection.
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            requests: 0,
            admitted: 0,
            head_since: None,
            has_begun_a_head: false,
            idle_since: Instant::now(),
            leaving_since: None,
            is_admitted: false,
            is_authenticated: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            eviction: Notify::new(),
        })
    }

    /// Records that a request's header is complete. The request lasts until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, has_body: bool) -> Busy {
        self.with(|state| {
            state.requests += 1;
            state.head_since = None;
        });
        Busy {
            activity: self.clone(),
            has_body,
        }
    }

    /// Records that a request is accepted and answered until the guard is dropped, because of the client's credentials or
    /// because none are required.
    pub(super) fn admit(self: &Arc<Self>, is_authenticated: bool) -> Admitted {
        self.with(|state| {
            state.admitted += 1;
            state.is_admitted = true;
            state.is_authenticated = is_authenticated;
        });
        Admitted(self.clone())
    }

    /// Records that a request is refused, which ends what an earlier one was granted.
    pub(super) fn refuse(&self) {
        self.with(|state| {
            state.is_admitted = false;
            state.is_authenticated = false;
        });
    }

    /// Records that the configuration with which the credentials were checked is no longer in use.
    pub(super) fn outlive_configuration(&self) {
        self.with(|state| state.is_authenticated = false);
    }

    /// Records that the client is asked to close the connection.
    pub(super) fn leave(&self) {
        let now = Instant::now();
        self.with(|state| {
            state.leaving_since.get_or_insert(now);
        });
    }

    /// Returns how readily it can be closed, and since when; `None` while a request is being answered.
    pub(super) fn eviction(&self) -> Option<(Eviction, Instant)> {
        self.with(|state| {
            let eviction = match state {
                State { admitted: 1.., .. } => None,
                State {
                    is_authenticated: false,
                    ..
                } => Some(Eviction::Unauthenticated),
                State { requests: 0, .. } => Some(Eviction::Idle),
                _ => None,
            };
            Some((eviction?, state.idle_since))
        })
    }

    /// Closes the connection.
    pub(super) fn evict(&self) {
        self.eviction.notify_one();
    }

    /// Completes when the connection must be closed to make room for another.
    pub(super) async fn evicted(&self) {
        self.eviction.notified().await;
    }

    /// Completes when the client has taken too long. Must be polled after the connection, so that it sees the deadlines of
    /// what the client has just sent.
    pub(super) async fn expired(&self) {
        let mut timer = pin!(tokio::time::sleep(HEAD));
        poll_fn(|cx| {
            loop {
                let now = Instant::now();
                let deadline = self.with(|state| state.deadline());
                if deadline.is_some_and(|deadline| deadline <= now) {
                    return Poll::Ready(());
                }
                // A timer that fires too early is cheaper than setting one for every request.
                let due = deadline.unwrap_or(now + IDLE_ADMITTED);
                if timer.is_elapsed() || due < timer.deadline() {
                    timer.as_mut().reset(due);
                }
                ready!(timer.as_mut().poll(cx));
            }
        })
        .await;
    }

    /// Records received bytes, which may complete a header.
    fn received(&self, end_a_head: bool) {
        self.with(|state| {
            state.has_begun_a_head = !end_a_head;
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
    /// Returns when the connection will be closed unless something happens; `None` while the server is at work.
    fn deadline(&self) -> Option<Instant> {
        let idle = if self.is_admitted {
            IDLE_ADMITTED
        } else {
            IDLE_REFUSED
        };
        let next = match (self.requests, self.head_since) {
            (0, Some(since)) => Some(since + HEAD),
            (0, None) => Some(self.idle_since + idle),
            _ => None,
        };
        let leave = self.leaving_since.map(|since| {
            let last = since + SCRAPE + LEAVE;
            match self.requests {
                0 => last.min(since.max(self.idle_since) + LEAVE),
                _ => last,
            }
        });
        next.into_iter().chain(leave).min()
    }
}

/// A request that has not been answered yet.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
    has_body: bool,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.with(|state| {
            state.requests -= 1;
            state.idle_since = Instant::now();
            // Bytes that follow a request and do not belong to its body are the beginning of the next one.
            if state.requests == 0 && state.has_begun_a_head && !self.has_body {
                state.head_since = Some(state.idle_since);
            }
        });
    }
}

/// A request that was accepted and is being answered.
#[derive(Debug)]
pub(super) struct Admitted(Arc<Activity>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.with(|state| state.admitted -= 1);
    }
}

/// The last two bytes that a client has sent, without carriage returns.
#[derive(Debug, Default)]
struct Tail([u8; 2]);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let mut last = bytes.iter().rev().copied().filter(|byte| *byte != b'\r');
        let [_, known] = self.0;
        if let Some(one) = last.next() {
            self.0 = [last.next().unwrap_or(known), one];
        }
    }

    fn ends_a_head(&self) -> bool {
        self.0 == *b"\n\n"
    }
}

/// A stream that reports to [`Activity`] when a header begins.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// `None` for HTTP/2, where frames between requests do not mean that a header has begun.
    tail: Option<Tail>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, http2: bool) -> Self {
        let tail = (!http2).then(Tail::default);
        Self {
            stream,
            activity,
            tail,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let Self {
            stream,
            activity,
            tail,
        } = &mut *self;
        let result = Pin::new(stream).poll_read(cx, buf);
        let received = buf.filled().get(before..).unwrap_or_default();
        if let Some(tail) = tail
            && !received.is_empty()
        {
            tail.push(received);
            activity.received(tail.ends_a_head());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Returns how long it may last after it was last idle.
    fn time_left(activity: &Activity) -> Option<Duration> {
        activity.with(|state| Some(state.deadline()? - state.idle_since))
    }

    #[test]
    fn every_head_has_its_time_whatever_was_let_in_before() {
        let activity = Activity::new();
        let left = || time_left(&activity);
        assert_eq!(left(), Some(IDLE_REFUSED));
        let busy = activity.begin(false);
        let admitted = activity.admit(true);
        assert_eq!(left(), None);
        drop((admitted, busy));
        assert_eq!(left(), Some(IDLE_ADMITTED));
        for _ in 0..2 {
            activity.received(false);
            assert!(left() < Some(HEAD + Duration::from_secs(1)));
            activity.received(true);
            drop(activity.begin(false));
            assert_eq!(left(), Some(IDLE_ADMITTED));
        }
        activity.refuse();
        assert_eq!(left(), Some(IDLE_REFUSED));
    }

    #[test]
    fn what_follows_a_request_begins_the_next_head() {
        let left_after = |has_body| {
            let activity = Activity::new();
            activity.received(true);
            let busy = activity.begin(has_body);
            drop(activity.admit(false));
            activity.received(false);
            drop(busy);
            time_left(&activity)
        };
        assert_eq!(left_after(false), Some(HEAD));
        assert_eq!(left_after(true), Some(IDLE_ADMITTED));
    }

    #[test]
    fn a_client_that_is_asked_to_disconnect_only_has_time_for_the_response() {
        let activity = Activity::new();
        drop(activity.admit(true));
        let busy = activity.begin(false);
        activity.leave();
        let since = activity.with(|state| state.leaving_since.unwrap());
        let deadline = || activity.with(|state| state.deadline().unwrap());
        assert_eq!(deadline(), since + SCRAPE + LEAVE);
        drop(busy);
        let answered = activity.with(|state| state.idle_since);
        assert_eq!(deadline(), answered + LEAVE);
        activity.leave();
        assert_eq!(activity.with(|state| state.leaving_since), Some(since));
    }

    #[test]
    fn unauthenticated_connections_are_closed_first_and_answered_ones_never() {
        let activity = Activity::new();
        let eviction = || activity.eviction().map(|(eviction, _)| eviction);
        assert_eq!(eviction(), Some(Eviction::Unauthenticated));
        let busy = activity.begin(false);
        assert_eq!(eviction(), Some(Eviction::Unauthenticated));
        let admitted = activity.admit(true);
        assert_eq!(eviction(), None);
        drop(admitted);
        assert_eq!(eviction(), None);
        drop(busy);
        assert_eq!(eviction(), Some(Eviction::Idle));
        activity.outlive_configuration();
        assert_eq!(eviction(), Some(Eviction::Unauthenticated));
        drop(activity.admit(false));
        assert_eq!(eviction(), Some(Eviction::Unauthenticated));
        drop(activity.admit(true));
        activity.refuse();
        assert_eq!(eviction(), Some(Eviction::Unauthenticated));
    }

    #[tokio::test]
    async fn a_deadline_holds_that_comes_after_the_timer_was_set() {
        let activity = Activity::new();
        drop(activity.admit(true));
        let mut expired = pin!(activity.expired());
        let at_once = tokio::time::timeout(Duration::ZERO, expired.as_mut());
        assert!(at_once.await.is_err());
        let soon = Instant::now() + Duration::from_millis(100);
        activity.with(|state| state.head_since = Some(soon - HEAD));
        // Before the timer that was set first would fire.
        let rings = tokio::time::timeout(HEAD / 2, expired);
        rings.await.unwrap();
        assert!(Instant::now() >= soon);
    }

    #[test]
    fn the_end_of_a_head_is_seen_in_any_pieces() {
        let ends = |pieces: &[&str]| {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.push(piece.as_bytes()));
            tail.ends_a_head()
        };
        assert!(ends(&["GET / HTTP/1.1\r\nHost: x\r\n\r\n"]));
        assert!(ends(&["GET / HTTP/1.1\r", "\n\r", "\n"]));
        assert!(ends(&["GET / HTTP/1.1\n\n"]));
        assert!(!ends(&["GET / HTTP/1.1\r\n"]));
        assert!(!ends(&["GET / HTTP/1.1\r\n\r\n", "G"]));
        assert!(!ends(&[]));
    }

    #[tokio::test]
    async fn frames_of_http2_are_no_heads() {
        for http2 in [false, true] {
            let activity = Activity::new();
            let mut watched = Watched::new(&b"bytes"[..], activity.clone(), http2);
            let mut read = Vec::new();
            tokio::io::AsyncReadExt::read_buf(&mut watched, &mut read)
                .await
                .unwrap();
            assert_eq!(activity.with(|state| state.head_since.is_some()), !http2);
        }
    }
}
