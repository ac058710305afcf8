//! PEM texts: written, split, and with the line ends of Unix.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// The certificates of a PEM text, each as a text of its own.
pub fn single_certificates(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    pem.split_inclusive(END)
        .filter(|part| part.contains(END))
        .map(|part| format!("{}\n", part.trim()))
        .collect()
}

/// PEM text of DER bytes.
pub fn to_pem(label: &str, der: &[u8]) -> String {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    // Never grown afterwards: what it grows out of would not be wiped where it holds a private key.
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

/// rcgen ends lines as MIME does; every other PEM file on the node ends them as Unix does.
pub(crate) fn unix_lines(pem: String) -> String {
    pem.replace("\r\n", "\n")
}
