//! When credentials were last used. A request needs only an atomic store; locks are used when connections are opened and
//! when the uses are listed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// The maximum number of client certificates that are remembered without an open connection; the least recently used ones
/// are forgotten first.
const MAX_CERTIFICATES: usize = 64;
/// The number of bytes of the SHA-256 that identifies a certificate, as for password hashes.
const ID_BYTES: usize = 6;

/// The use of one password hash in this process.
#[derive(Debug, Default)]
pub(crate) struct CredentialUse {
    last: LastUse,
    successes: AtomicU64,
}

impl CredentialUse {
    /// Records that it authenticated a request.
    pub(crate) fn succeeded(&self, now: i64) {
        self.last.set(now);
        self.successes.fetch_add(1, Relaxed);
    }

    /// Seconds since the epoch; `None` before the first use.
    pub(crate) fn last_used(&self) -> Option<i64> {
        self.last.get()
    }

    pub(crate) fn successes(&self) -> u64 {
        self.successes.load(Relaxed)
    }
}

/// The use of one client certificate in this process.
#[derive(Debug, Default)]
pub(crate) struct CertificateUse(LastUse);

impl CertificateUse {
    /// Records that a request with it was authenticated.
    pub(crate) fn used(&self, now: i64) {
        self.0.set(now);
    }
}

/// The verified client certificates, by ID.
#[derive(Debug, Default)]
pub(crate) struct ClientCertificates(Mutex<BTreeMap<String, Arc<CertificateUse>>>);

impl ClientCertificates {
    /// Returns the use of one certificate. The certificate is remembered as long as this value is held, for example by a
    /// connection.
    pub(crate) fn of(&self, leaf_der: &[u8]) -> Arc<CertificateUse> {
        let id = certificate_id(leaf_der);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_CERTIFICATES && !known.contains_key(&id) {
            forget_the_longest_unused(&mut known);
        }
        known.entry(id).or_default().clone()
    }

    /// Returns IDs and last uses, ordered by ID, without certificates that authenticated no request.
    pub(crate) fn last_uses(&self) -> Vec<(String, i64)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .filter_map(|(id, usage)| Some((id.clone(), usage.0.get()?)))
            .collect()
    }
}

/// Certificates of open connections stay, so that no use is lost; the number of connections is limited.
fn forget_the_longest_unused(known: &mut BTreeMap<String, Arc<CertificateUse>>) {
    let idle = known
        .iter()
        .filter(|(_, usage)| Arc::strong_count(usage) == 1);
    let oldest = idle
        .min_by_key(|(_, usage)| usage.0.get())
        .map(|(id, _)| id.clone());
    if let Some(id) = oldest {
        known.remove(&id);
    }
}

/// The first 12 hexadecimal digits, in lower case, of the SHA-256 of the certificate.
fn certificate_id(leaf_der: &[u8]) -> String {
    let digest = Sha256::digest(leaf_der);
    hexadecimal(digest.get(..ID_BYTES).unwrap_or_default())
}

/// In lower case, without separators.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since the epoch; 0 means never.
#[derive(Debug, Default)]
struct LastUse(AtomicI64);

impl LastUse {
    fn set(&self, now: i64) {
        self.0.store(now, Relaxed);
    }

    fn get(&self) -> Option<i64> {
        match self.0.load(Relaxed) {
            0 => None,
            time => Some(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_certificate_is_forgotten_unless_its_connection_is_open() {
        let certificates = ClientCertificates::default();
        let open = certificates.of(&[0]);
        open.used(1);
        for n in 1..=MAX_CERTIFICATES as i64 {
            certificates.of(&n.to_be_bytes()).used(n + 1);
        }
        let ids: Vec<_> = certificates
            .last_uses()
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        assert_eq!(ids.len(), MAX_CERTIFICATES);
        assert!(ids.contains(&certificate_id(&[0])));
        assert!(!ids.contains(&certificate_id(&1_i64.to_be_bytes())));
        assert!(ids.contains(&certificate_id(&2_i64.to_be_bytes())));
        assert!(Arc::ptr_eq(&open, &certificates.of(&[0])));
    }

    #[test]
    fn a_certificate_that_authenticated_no_request_is_not_listed() {
        let certificates = ClientCertificates::default();
        let usage = certificates.of(b"abc");
        assert_eq!(certificates.last_uses(), []);
        usage.used(5);
        // printf abc | sha256sum
        assert_eq!(certificates.last_uses(), [("ba7816bf8f01".to_owned(), 5)]);
    }
}
