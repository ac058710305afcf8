//! The trust bundle: the certificates of all authorities that scrapers are told to trust.

use std::collections::BTreeMap;

use crate::rotation::state::Authority;

/// Joins the authorities' certificates, each once, lowest generation first, so that the same state is always the same text.
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

/// The certificates of a PEM text, each as a text of its own.
pub fn single_certificates(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    pem.split_inclusive(END)
        .filter(|part| part.contains(END))
        .map(|part| format!("{}\n", part.trim()))
        .collect()
}
