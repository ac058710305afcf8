//! The CA bundle: the certificates of all CAs that scrapers trust.

use std::collections::BTreeMap;

use crate::rotation::state::Authority;
use secure_exporter_pki::pem::single_certificates;

/// Joins the CA certificates, each once, lowest generation first, so that the same state is always the same text.
pub fn bundle(authorities: &BTreeMap<u64, Authority>) -> String {
    let mut bundle: Vec<String> = Vec::new();
    for authority in authorities.values() {
        for certificate in single_certificates(&authority.certificate_pem) {
            if !bundle.contains(&certificate) {
                bundle.push(certificate);
            }
        }
    }
    bundle.concat()
}
