//! The server's counters about itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::auth::Verdict;
use crate::credentials::client_certificate::Standing;

/// Plain counters; each is read separately, so they need no common order.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    accepted: AtomicU64,
    missing: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    certificate_missing: AtomicU64,
    certificate_not_trusted: AtomicU64,
    certificate_name_not_allowed: AtomicU64,
    handshake_closed: AtomicU64,
    handshake_client_certificate: AtomicU64,
    handshake_incompatible: AtomicU64,
    handshake_plain: AtomicU64,
    handshake_refused_by_client: AtomicU64,
    handshake_timeout: AtomicU64,
    handshake_tls: AtomicU64,
}

/// Why a TLS handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// Closed before the first byte, as by a port check.
    Closed,
    /// The client's certificate was not issued by a client CA, or is not valid now.
    ClientCertificate,
    /// The client supports none of our versions, cipher suites or groups.
    Incompatible,
    /// The client sent plain HTTP.
    PlainHttp,
    /// The client sent an alert, usually because it does not trust the serving certificate.
    RefusedByClient,
    Timeout,
    /// Anything else that TLS refuses.
    Tls,
}

impl Counters {
    pub(crate) fn authenticated(&self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Accepted => &self.accepted,
            Verdict::Missing => &self.missing,
            Verdict::Refused => &self.refused,
            Verdict::Busy => &self.busy,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// A client that was refused because of its certificate.
    pub(crate) fn certificate_judged(&self, standing: Standing) {
        let counter = match standing {
            Standing::Fine => return,
            Standing::CertificateMissing => &self.certificate_missing,
            Standing::NotTrusted => &self.certificate_not_trusted,
            Standing::NameNotAllowed => &self.certificate_name_not_allowed,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn handshake_failed(&self, failure: HandshakeFailure) {
        let counter = match failure {
            HandshakeFailure::Closed => &self.handshake_closed,
            HandshakeFailure::ClientCertificate => &self.handshake_client_certificate,
            HandshakeFailure::Incompatible => &self.handshake_incompatible,
            HandshakeFailure::RefusedByClient => &self.handshake_refused_by_client,
            HandshakeFailure::PlainHttp => &self.handshake_plain,
            HandshakeFailure::Timeout => &self.handshake_timeout,
            HandshakeFailure::Tls => &self.handshake_tls,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// By `result`, in a fixed order.
    pub(crate) fn authentications(&self) -> [(&'static str, u64); 7] {
        [
            ("accepted", self.accepted.load(Relaxed)),
            (
                "certificate_missing",
                self.certificate_missing.load(Relaxed),
            ),
            (
                "certificate_name_not_allowed",
                self.certificate_name_not_allowed.load(Relaxed),
            ),
            (
                "certificate_not_trusted",
                self.certificate_not_trusted.load(Relaxed),
            ),
            ("missing", self.missing.load(Relaxed)),
            ("refused", self.refused.load(Relaxed)),
            ("throttled", self.busy.load(Relaxed)),
        ]
    }

    /// By `reason`, in a fixed order.
    pub(crate) fn handshake_failures(&self) -> [(&'static str, u64); 7] {
        [
            ("closed", self.handshake_closed.load(Relaxed)),
            (
                "client_certificate",
                self.handshake_client_certificate.load(Relaxed),
            ),
            ("incompatible", self.handshake_incompatible.load(Relaxed)),
            ("plain_http", self.handshake_plain.load(Relaxed)),
            (
                "refused_by_client",
                self.handshake_refused_by_client.load(Relaxed),
            ),
            ("timeout", self.handshake_timeout.load(Relaxed)),
            ("tls", self.handshake_tls.load(Relaxed)),
        ]
    }
}
