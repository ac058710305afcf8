//! The trust bundle: the certificates of all authorities that scrapers are told to trust.

use std::collections::BTreeMap;

use crate::rotation::state::Authority;

/// Joins the authorities' certificates, lowest generation first, so that the same state is always the same text.
pub fn bundle(authorities: &BTreeMap<u64, Authority>) -> String {
    authorities
        .values()
        .map(|authority| format!("{}\n", authority.certificate_pem.trim_end()))
        .collect()
}
