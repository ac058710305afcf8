//! What the server counts about itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::auth::Verdict;

/// Plain counters; each is read on its own, so no order between them is kept.
#[derive(Debug, Default)]
pub(super) struct Counters {
    reload_successes: AtomicU64,
    reload_failures: AtomicU64,
    last_reload_failed: AtomicBool,
    accepted: AtomicU64,
    missing: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    handshake_closed: AtomicU64,
    handshake_plain: AtomicU64,
    handshake_timeout: AtomicU64,
    handshake_tls: AtomicU64,
}

/// Why a connection did not become a TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandshakeFailure {
    /// Closed before the first byte: a port check.
    Closed,
    /// Plain HTTP.
    PlainHttp,
    Timeout,
    /// Anything that TLS itself refuses.
    Tls,
}

impl Counters {
    pub(super) fn reload_succeeded(&self) {
        self.reload_successes.fetch_add(1, Relaxed);
        self.configuration_is_good();
    }

    pub(super) fn reload_failed(&self) {
        self.reload_failures.fetch_add(1, Relaxed);
        self.last_reload_failed.store(true, Relaxed);
    }

    /// What is on disk is what is served.
    pub(super) fn configuration_is_good(&self) {
        self.last_reload_failed.store(false, Relaxed);
    }

    pub(super) fn authenticated(&self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Accepted => &self.accepted,
            Verdict::Missing => &self.missing,
            Verdict::Refused => &self.refused,
            Verdict::Busy => &self.busy,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn handshake_failed(&self, failure: HandshakeFailure) {
        let counter = match failure {
            HandshakeFailure::Closed => &self.handshake_closed,
            HandshakeFailure::PlainHttp => &self.handshake_plain,
            HandshakeFailure::Timeout => &self.handshake_timeout,
            HandshakeFailure::Tls => &self.handshake_tls,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn last_reload_successful(&self) -> bool {
        !self.last_reload_failed.load(Relaxed)
    }

    /// By `result`, ordered.
    pub(super) fn reloads(&self) -> [(&'static str, u64); 2] {
        [
            ("failure", self.reload_failures.load(Relaxed)),
            ("success", self.reload_successes.load(Relaxed)),
        ]
    }

    /// By `result`, ordered.
    pub(super) fn authentications(&self) -> [(&'static str, u64); 4] {
        [
            ("accepted", self.accepted.load(Relaxed)),
            ("missing", self.missing.load(Relaxed)),
            ("refused", self.refused.load(Relaxed)),
            ("throttled", self.busy.load(Relaxed)),
        ]
    }

    /// By `reason`, ordered.
    pub(super) fn handshake_failures(&self) -> [(&'static str, u64); 4] {
        [
            ("closed", self.handshake_closed.load(Relaxed)),
            ("plain_http", self.handshake_plain.load(Relaxed)),
            ("timeout", self.handshake_timeout.load(Relaxed)),
            ("tls", self.handshake_tls.load(Relaxed)),
        ]
    }
}
