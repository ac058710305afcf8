//! The client CA bundle. As in Go, damaged certificates are skipped.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secure_exporter_pki::chain::check_issuer;
use secure_exporter_pki::{ChainError, TrustAnchors};

use super::files::Pem;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The usable certificates of a bundle, and what is wrong with the others.
pub(crate) struct ClientCas {
    pub(crate) anchors: TrustAnchors,
    pub(crate) warnings: Vec<String>,
}

/// Reads a bundle at this time, in seconds since the epoch.
pub(super) fn read(bundle: &Pem, now: i64) -> ClientCas {
    let mut found = ClientCas {
        anchors: TrustAnchors::default(),
        warnings: Vec::new(),
    };
    let text = String::from_utf8_lossy(&bundle.bytes);
    for (index, Block { line, text }) in blocks(&text).into_iter().enumerate() {
        let place = format!("{}: certificate {} (line {line})", bundle.origin, index + 1);
        let added = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| error.to_string())
            .and_then(|der| {
                let anchor = der.clone();
                found
                    .anchors
                    .add(anchor)
                    .map_err(|error| error.to_string())?;
                Ok(der)
            });
        match added.map(|der| check_issuer(&der, now)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => found.warnings.push(format!(
                "{place} cannot issue client certificates: {}; certificates issued by it are refused",
                reason(error)
            )),
            Err(error) => found
                .warnings
                .push(format!("{place} is damaged and is skipped: {error}")),
        }
    }
    found
}

/// Why a CA may not issue client certificates.
fn reason(error: ChainError) -> String {
    match error {
        ChainError::NotYetValid => "it is not valid yet".to_owned(),
        ChainError::Expired => "it has expired".to_owned(),
        ChainError::WeakKey => "its RSA key has fewer than 2048 bits".to_owned(),
        ChainError::NotAuthority => {
            "it is not a CA or may not sign certificates (basicConstraints, keyUsage)".to_owned()
        }
        ChainError::Purpose => "it is not for clients (extendedKeyUsage)".to_owned(),
        ChainError::CriticalExtension => "it has an unsupported critical extension".to_owned(),
        other => other.to_string(),
    }
}

/// A certificate in PEM, and the line where it begins.
struct Block {
    line: usize,
    text: String,
}

/// Splits a PEM text into certificates. A certificate without an end line ends where the next one begins.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim() == BEGIN {
            is_inside = true;
            blocks.push(Block {
                line: index + 1,
                text: String::new(),
            });
        }
        if let Some(block) = blocks.last_mut().filter(|_| is_inside) {
            block.text.push_str(line.trim());
            block.text.push('\n');
        }
        is_inside &= line.trim() != END;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use zeroize::Zeroizing;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn what_is_broken_is_named_and_skipped() {
        let pem = |is_ca| {
            let mut params = CertificateParams::default();
            params.is_ca = is_ca;
            params
                .self_signed(&KeyPair::generate().unwrap())
                .unwrap()
                .pem()
        };
        let ca = || pem(IsCa::Ca(BasicConstraints::Unconstrained));
        let first = ca();
        let lines = first.lines().count();
        let text = [
            "a comment\n",
            &first,
            BEGIN,
            "\nAAAA\n",
            END,
            "\n",
            BEGIN,
            "\n?!\n",
            END,
            "\n",
            BEGIN,
            "\nAAAA\n",
            &ca(),
            &pem(IsCa::NoCa),
            "-----BEGIN X-----\nAAAA\n-----END X-----\n",
            &ca(),
        ]
        .concat();
        let bundle = Pem {
            origin: "ca.pem".to_owned(),
            bytes: Zeroizing::new(text.into_bytes()),
        };
        let ClientCas { anchors, warnings } = read(&bundle, NOW);
        assert_eq!(anchors.subjects().count(), 4);
        let begin =
            |number: usize, line: usize| format!("ca.pem: certificate {number} (line {line}) ");
        for (warning, begin) in warnings.iter().zip([
            begin(2, lines + 2) + "is damaged and is skipped: ",
            begin(3, lines + 5) + "is damaged and is skipped: ",
            begin(4, lines + 8) + "is damaged and is skipped: ",
            begin(6, 2 * lines + 10) + "cannot issue client certificates: it is not a CA",
        ]) {
            assert!(warning.starts_with(&begin), "{begin}: {warnings:?}");
        }
        assert_eq!(warnings.len(), 4, "{warnings:?}");
    }
}
