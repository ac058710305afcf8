//! Network faults between an operator and the API server.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A network fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disruption {
    /// Requests pass.
    #[default]
    None,
    /// Each request is delayed by this time.
    Delay(Duration),
    /// Each new request is answered 429 with `Retry-After: 1`. Requests that are being answered, such as watches, continue.
    TooManyRequests,
    /// Nothing arrives and no connection is closed, as behind a cable that was pulled. This applies to open connections and to
    /// those that are opened meanwhile, and they keep hanging when the disruption has ended for new ones.
    Hang,
    /// Every open connection is closed, and new ones at once.
    Cut,
}

/// The current disruption of a gate, and what it has affected.
#[derive(Default)]
pub struct DisruptionState {
    current: Mutex<Current>,
    disrupted: AtomicU64,
    expired_watches: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Current {
    disruption: Disruption,
    /// How many times connections were made to hang.
    hangs: u64,
    /// How many times all connections were closed.
    cuts: u64,
    /// Whether the gate was dropped.
    is_over: bool,
}

/// The number of hangs and cuts when a connection was opened.
#[derive(Clone, Copy)]
pub struct Opened {
    hangs: u64,
    cuts: u64,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Bytes pass.
    Open,
    /// The connection is open, and nothing passes.
    Hanging,
    /// The connection must be closed.
    Closed,
}

impl DisruptionState {
    /// Replaces the current disruption.
    pub fn set(&self, disruption: Disruption) {
        let mut current = self.lock();
        current.disruption = disruption;
        current.hangs += u64::from(disruption == Disruption::Hang);
        current.cuts += u64::from(disruption == Disruption::Cut);
    }

    /// Closes every connection, also those that hang.
    pub fn end(&self) {
        self.lock().is_over = true;
    }

    /// Counts a new request, and returns the disruption that applies to it and when its connection was opened.
    pub fn new_request(&self) -> (Disruption, Opened) {
        let current = *self.lock();
        if current.disruption != Disruption::None {
            self.disrupted.fetch_add(1, Ordering::SeqCst);
        }
        // A connection that is opened during a hang hangs like those that were opened before it.
        let during_hang = u64::from(current.disruption == Disruption::Hang);
        let (hangs, cuts) = (current.hangs - during_hang, current.cuts);
        (current.disruption, Opened { hangs, cuts })
    }

    /// Returns the state of a connection that was opened earlier.
    pub fn connection(&self, opened: Opened) -> ConnectionState {
        let current = *self.lock();
        if current.is_over || current.cuts != opened.cuts || current.disruption == Disruption::Cut {
            ConnectionState::Closed
        } else if current.hangs != opened.hangs {
            ConnectionState::Hanging
        } else {
            ConnectionState::Open
        }
    }

    /// Returns how many requests came during a disruption.
    pub fn disrupted_requests(&self) -> u64 {
        self.disrupted.load(Ordering::SeqCst)
    }

    /// Counts a part of an answer that says that a watch started from a version which the API server no longer has (410).
    pub fn count_expired_watch(&self, part: &[u8]) {
        let sign = br#""code":410"#;
        if part.windows(sign.len()).any(|bytes| bytes == sign) {
            self.expired_watches.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Returns how many watches were answered 410.
    pub fn expired_watches(&self) -> u64 {
        self.expired_watches.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_hangs_never_recovers() {
        let state = DisruptionState::default();
        let (_, before) = state.new_request();
        state.set(Disruption::Hang);
        let (_, during) = state.new_request();
        state.set(Disruption::None);
        let (_, after) = state.new_request();
        assert_eq!(state.connection(before), ConnectionState::Hanging);
        assert_eq!(state.connection(during), ConnectionState::Hanging);
        assert_eq!(state.connection(after), ConnectionState::Open);
        assert_eq!(state.disrupted_requests(), 1);
        state.end();
        assert_eq!(state.connection(before), ConnectionState::Closed);
    }

    #[test]
    fn a_cut_closes_open_connections_and_no_later_ones() {
        let state = DisruptionState::default();
        let (_, before) = state.new_request();
        state.set(Disruption::Cut);
        state.set(Disruption::None);
        let (_, after) = state.new_request();
        assert_eq!(state.connection(before), ConnectionState::Closed);
        assert_eq!(state.connection(after), ConnectionState::Open);
    }

    #[test]
    fn an_expired_watch_is_counted() {
        let state = DisruptionState::default();
        state.count_expired_watch(br#"{"kind":"Status","code":409}"#);
        assert_eq!(state.expired_watches(), 0);
        state.count_expired_watch(br#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#);
        assert_eq!(state.expired_watches(), 1);
    }
}
