//! What a connection is doing, for the deadlines that it has and for the choice of connections that make room.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::{HEAD, IDLE_ADMITTED, IDLE_REFUSED, LEAVE, SCRAPE};

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    eviction: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests that have no answer yet.
    requests: usize,
    /// Those of them that were let in.
    admitted: usize,
    /// Since when a head is being received.
    head_since: Option<Instant>,
    /// The bytes received last are no whole head.
    has_begun_a_head: bool,
    idle_since: Instant,
    /// Since when the client is asked to close the connection.
    leaving_since: Option<Instant>,
    /// The last request that was judged was let in.
    is_admitted: bool,
    /// It was let in for its credentials, and the configuration is still the one that they were judged by.
    is_authenticated: bool,
}

/// How readily a connection makes room for another, the readiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Eviction {
    /// No credentials were accepted, and no request is being answered.
    Unauthenticated,
    /// Credentials were accepted, and there is no request.
    Idle,
}

impl Activity {
    /// Of a connection that begins now.
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

    /// A request's head is complete; it lasts until the guard is dropped.
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

    /// A request is let in and answered until the guard is dropped: for the client's credentials, or because none are asked
    /// for.
    pub(super) fn admit(self: &Arc<Self>, is_authenticated: bool) -> Admitted {
        self.with(|state| {
            state.admitted += 1;
            state.is_admitted = true;
            state.is_authenticated = is_authenticated;
        });
        Admitted(self.clone())
    }

    /// A request is refused: what an earlier one was granted ends.
    pub(super) fn refuse(&self) {
        self.with(|state| {
            state.is_admitted = false;
            state.is_authenticated = false;
        });
    }

    /// The configuration that judged the credentials is no longer the one that is served.
    pub(super) fn outlive_configuration(&self) {
        self.with(|state| state.is_authenticated = false);
    }

    /// The client is asked to close the connection.
    pub(super) fn leave(&self) {
        let now = Instant::now();
        self.with(|state| {
            state.leaving_since.get_or_insert(now);
        });
    }

    /// How readily it makes room, and since when it could have; `None` while a request is being answered.
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

    /// Ends the connection.
    pub(super) fn evict(&self) {
        self.eviction.notify_one();
    }

    /// Comes when the connection has to end for another one.
    pub(super) async fn evicted(&self) {
        self.eviction.notified().await;
    }

    /// Ends when the client has taken too long. To be polled whenever the connection has been: then deadlines hold that
    /// came with what the client has just sent.
    pub(super) async fn expired(&self) {
        let mut timer = pin!(tokio::time::sleep(HEAD));
        poll_fn(|cx| {
            loop {
                let now = Instant::now();
                let deadline = self.with(|state| state.deadline());
                if deadline.is_some_and(|deadline| deadline <= now) {
                    return Poll::Ready(());
                }
                // A timer that rings too early is cheaper than one that is set for every request.
                let due = deadline.unwrap_or(now + IDLE_ADMITTED);
                if timer.is_elapsed() || due < timer.deadline() {
                    timer.as_mut().reset(due);
                }
                ready!(timer.as_mut().poll(cx));
            }
        })
        .await;
    }

    /// Bytes have come in that are, or are not, the end of a head.
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
    /// When the connection ends unless something happens; `None` while that is up to us.
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

/// A request that has no answer yet.
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
            // What came behind the request, unless it was its body, is the beginning of the next.
            if state.requests == 0 && state.has_begun_a_head && !self.has_body {
                state.head_since = Some(state.idle_since);
            }
        });
    }
}

/// A request that is let in and being answered.
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

/// A stream that tells [`Activity`] when a head begins.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// `None` for HTTP/2, which sends frames between requests: bytes do not mean that a head has begun.
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

    /// How long it may last from when it was last idle.
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
    fn who_is_asked_to_leave_has_time_for_the_answer_alone() {
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
    fn room_is_made_by_whom_nothing_is_known_of_and_by_nobody_who_is_answered() {
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
        // Before the timer would ring that was set first.
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
