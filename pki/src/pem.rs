//! Writes and splits PEM texts, with Unix line ends.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Splits a PEM text into its certificates.
pub fn single_certificates(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    pem.split_inclusive(END)
        .filter(|part| part.contains(END))
        .map(|part| format!("{}\n", part.trim()))
        .collect()
}

/// Converts DER bytes to PEM text.
pub fn to_pem(label: &str, der: &[u8]) -> String {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    // Never reallocated: the old memory would not be wiped, and may contain a private key.
    let mut pem = String::with_capacity(base64.len() * 66 / 64 + 2 * label.len() + 64);
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    for (index, character) in base64.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

/// Converts rcgen's MIME line ends to those of Unix, which every other PEM file on the node has.
pub(crate) fn unix_lines(pem: String) -> String {
    pem.replace("\r\n", "\n")
}
