//! The checks that a certificate of another issuer must pass before it is published. Pure.
//!
//! A certificate that does not pass is not used at all, and what was published before stays. A problem names the object,
//! the key and how to fix it, and never contains any part of a private key.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::{spec::issuer::Place, supplied::reference::ReferenceProblem};
use secure_exporter_pki::{
    inspect::{
        CertificateFacts, InspectError, certificates, check_key_matches, check_server_name, facts,
        verify_chain,
    },
    pem::to_pem,
    secret_text::SecretText,
};

/// Maximum size of a CA bundle. During a change of the issuer, a few of them must fit into a Secret, which holds 1 MiB.
const MAX_BUNDLE_BYTES: usize = 256 * 1024;
/// Maximum size of a certificate chain.
const MAX_CHAIN_BYTES: usize = 64 * 1024;

/// Maximum length of a problem's message, in characters.
const MAX_MESSAGE_CHARS: usize = 1000;

/// [`Supplied::parameters`] of a certificate that was not requested by the operator: different from every fingerprint.
pub const NOT_ASKED: &str = "supplied";

/// Where the serving certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supply {
    /// The operator issues it.
    Managed,
    /// Another issuer issues it: the certificate that passed the checks, or the problem.
    External(Result<Supplied, SupplyProblem>),
}

/// A checked certificate of another issuer with its key and CA bundle. It is serialized again, so that everything else in
/// the files is left out, and equal content is equal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supplied {
    /// The certificate and its intermediates, PEM.
    pub chain_pem: String,
    /// Its private key, PEM.
    pub key_pem: SecretText,
    /// The CA bundle, PEM: at least one CA, each once, in an order that does not depend on the file's.
    pub bundle_pem: String,
    /// The value for [`Leaf::parameters`](crate::rotation::state::Leaf): a fingerprint of the request and its issuer, or
    /// [`NOT_ASKED`].
    pub parameters: String,
}

/// Why there is nothing to use, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupplyReason {
    /// It is the certificate of a CA.
    NotALeaf,
    /// The certificate has expired.
    SuppliedExpired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate is for other names.
    NameMissing,
    /// The certificate is not for servers.
    UsageMissing,
    /// The CA bundle contains a certificate that is not of a CA.
    BundleInvalid,
    /// It is larger than what fits.
    TooLong,
    /// The key cannot be read.
    KeyUnreadable,
    /// The key does not belong to the certificate.
    KeyMismatch,
    /// The CA bundle does not verify the certificate.
    ChainInvalid,
    /// The object has no such key, or it is empty.
    KeyMissing,
    /// The object does not exist.
    SecretMissing,
    /// The Secret may not be referenced.
    ReferenceRefused,
    /// A certificate cannot be read.
    CertificateUnreadable,
    /// Keys of this kind cannot be served.
    KeyUnsupported,
    /// It could not be read this time.
    NotRead,
    /// The issuer has not answered yet.
    IssuerNotReady,
    /// cert-manager is not installed.
    CertManagerMissing,
    /// The operator may not create requests.
    CertManagerForbidden,
    /// The issuer refused the request.
    RequestRefused,
    /// The issuer does not say which CA signs.
    BundleMissing,
}

impl SupplyReason {
    /// Returns the reason as conditions have it.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotALeaf => "NotALeaf",
            Self::SuppliedExpired => "SuppliedExpired",
            Self::NotYetValid => "NotYetValid",
            Self::NameMissing => "NameMissing",
            Self::UsageMissing => "UsageMissing",
            Self::BundleInvalid => "BundleInvalid",
            Self::TooLong => "TooLong",
            Self::KeyUnreadable => "KeyUnreadable",
            Self::KeyMismatch => "KeyMismatch",
            Self::ChainInvalid => "ChainInvalid",
            Self::KeyMissing => "KeyMissing",
            Self::SecretMissing => "SecretMissing",
            Self::ReferenceRefused => "ReferenceRefused",
            Self::CertificateUnreadable => "CertificateUnreadable",
            Self::KeyUnsupported => "KeyUnsupported",
            Self::NotRead => "NotRead",
            Self::IssuerNotReady => "IssuerNotReady",
            Self::CertManagerMissing => "CertManagerMissing",
            Self::CertManagerForbidden => "CertManagerForbidden",
            Self::RequestRefused => "RequestRefused",
            Self::BundleMissing => "BundleMissing",
        }
    }

    /// Whether waiting cannot help: only another certificate can.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::KeyMismatch
                | Self::NotALeaf
                | Self::SuppliedExpired
                | Self::NameMissing
                | Self::UsageMissing
        )
    }
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SupplyProblem {
    /// A word in CamelCase, for programs.
    pub reason: SupplyReason,
    /// What is wrong, where, and how to fix it.
    pub message: String,
}

impl SupplyProblem {
    /// Creates a problem. Truncates a message that is too long for a condition because of a certificate's content.
    pub fn new(reason: SupplyReason, message: impl AsRef<str>) -> Self {
        Self {
            reason,
            message: message.as_ref().chars().take(MAX_MESSAGE_CHARS).collect(),
        }
    }

    /// Creates a temporary problem: the read failed, everything stays as it is, and no condition changes.
    pub fn unread(message: impl AsRef<str>) -> Self {
        Self::new(SupplyReason::NotRead, message)
    }

    /// Whether the read failed only temporarily.
    pub fn is_passing(&self) -> bool {
        self.reason == SupplyReason::NotRead
    }
}

/// The unchecked parts of a certificate of another issuer. Has no `Debug`, because it contains a private key.
pub struct Material {
    /// The certificate and its intermediates.
    pub chain: Found,
    /// Its private key.
    pub key: Found,
    /// The CA bundle that verifies it.
    pub bundle: Found,
}

/// The content that was found at a place.
#[derive(Clone)]
pub struct Found {
    /// The place.
    pub place: Place,
    /// The content.
    pub content: Content,
}

impl Found {
    /// Creates it from a text.
    pub fn text(place: Place, text: &str) -> Self {
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        Self {
            place,
            content: Content::Bytes(bytes),
        }
    }
}

/// The content of a place.
#[derive(Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Zeroizing<Vec<u8>>),
    /// The object exists, but does not have the key.
    NoKey,
    /// The object does not exist.
    NoObject,
    /// It is a Secret that the resource may not reference.
    Refused(ReferenceProblem),
}

/// Checks a certificate as a scraper that verifies `server_name` does, but more strictly: refuses what any scraper would
/// refuse.
///
/// # Errors
/// The first problem.
pub fn check(
    material: &Material,
    server_name: &str,
    now: Timestamp,
) -> Result<Supplied, SupplyProblem> {
    let chain = read_chain(&material.chain)?;
    let (leaf, leaf_facts) = match chain.as_slice() {
        [leaf, ..] => (leaf, described(&material.chain.place, leaf)?),
        [] => {
            return Err(unreadable(
                &material.chain.place,
                &InspectError::NoCertificate,
            ));
        }
    };
    let key_pem = read_key(&material.key)?;
    let chain_pem = joined(&chain);
    check_pair(
        &material.chain.place,
        &material.key.place,
        &chain_pem,
        &key_pem,
    )?;
    check_leaf(&material.chain.place, leaf, &leaf_facts, server_name, now)?;
    let bundle = read_bundle(&material.bundle)?;
    let bundle_pem = joined(&bundle);
    check_verifies(material, &chain, &bundle, server_name, now)?;
    Ok(Supplied {
        chain_pem,
        key_pem,
        bundle_pem,
        parameters: NOT_ASKED.to_owned(),
    })
}

/// Whether a scraper that trusts `bundle_pem` accepts the certificate chain `chain_pem`. Expired CAs do not count, because
/// not every scraper keeps trusting them.
pub fn verifies(chain_pem: &str, bundle_pem: &str, server_name: &str, now: Timestamp) -> bool {
    let (Ok(chain), Ok(bundle)) = (certificates(chain_pem), certificates(bundle_pem)) else {
        return false;
    };
    verify_chain(&chain, &valid_ones(&bundle, now), server_name, now).is_ok()
}

fn read_chain(found: &Found) -> Result<Vec<CertificateDer<'static>>, SupplyProblem> {
    let chain = read_certificates(found, MAX_CHAIN_BYTES)?;
    for certificate in &chain {
        described(&found.place, certificate)?;
    }
    Ok(chain)
}

fn read_bundle(found: &Found) -> Result<Vec<CertificateDer<'static>>, SupplyProblem> {
    let mut bundle = read_certificates(found, MAX_BUNDLE_BYTES)?;
    for certificate in &bundle {
        let facts = described(&found.place, certificate)?;
        if !facts.is_authority {
            return Err(SupplyProblem::new(
                SupplyReason::BundleInvalid,
                format!(
                    "{}: the certificate of {} is not a CA certificate (CA:TRUE): replace it by the CA that signed it",
                    found.place, facts.subject
                ),
            ));
        }
    }
    // The order means nothing, so another order is the same bundle.
    bundle.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
    bundle.dedup();
    Ok(bundle)
}

fn read_certificates(
    found: &Found,
    max_bytes: usize,
) -> Result<Vec<CertificateDer<'static>>, SupplyProblem> {
    let bytes = present(found)?;
    if bytes.len() > max_bytes {
        return Err(SupplyProblem::new(
            SupplyReason::TooLong,
            format!(
                "{}: {} bytes exceed the maximum of {max_bytes}: remove certificates that are not needed",
                found.place,
                bytes.len()
            ),
        ));
    }
    // The parser's messages repeat parts of the text, which may be a misplaced private key.
    let damaged =
        |problem: &str| unreadable(&found.place, &InspectError::Damaged(problem.to_owned()));
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8 text"))?;
    certificates(text).map_err(|error| match error {
        InspectError::NoCertificate => unreadable(&found.place, &error),
        _ => damaged("it is not PEM"),
    })
}

fn read_key(found: &Found) -> Result<SecretText, SupplyProblem> {
    let key = PrivateKeyDer::from_pem_slice(present(found)?).map_err(|_| {
        SupplyProblem::new(
            SupplyReason::KeyUnreadable,
            format!(
                "{}: it is not a readable PEM private key: use an unencrypted key in PKCS #8, PKCS #1 or SEC 1 format",
                found.place
            ),
        )
    })?;
    let (label, der) = match &key {
        PrivateKeyDer::Pkcs1(key) => ("RSA PRIVATE KEY", key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => ("EC PRIVATE KEY", key.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(key) => ("PRIVATE KEY", key.secret_pkcs8_der()),
        _ => return Err(unsupported(&found.place)),
    };
    Ok(SecretText::new(to_pem(label, der)))
}

fn check_pair(
    chain_place: &Place,
    key_place: &Place,
    chain_pem: &str,
    key_pem: &SecretText,
) -> Result<(), SupplyProblem> {
    check_key_matches(chain_pem, key_pem).map_err(|error| match error {
        InspectError::UnusableKey => unsupported(key_place),
        _ => SupplyProblem::new(
            SupplyReason::KeyMismatch,
            format!(
                "{key_place} does not match the first certificate in {chain_place}: use the key of that certificate, and put the certificate before its intermediates"
            ),
        ),
    })
}

fn check_leaf(
    place: &Place,
    leaf: &CertificateDer<'_>,
    facts: &CertificateFacts,
    server_name: &str,
    now: Timestamp,
) -> Result<(), SupplyProblem> {
    let problem = |reason, text: String| {
        let message = format!("{place}: the certificate {text}");
        Err(SupplyProblem::new(reason, message))
    };
    if facts.is_authority {
        return problem(
            SupplyReason::NotALeaf,
            "is a CA certificate (CA:TRUE), which scrapers refuse from a server: let the CA issue one with CA:FALSE".to_owned(),
        );
    }
    if facts.not_after <= now {
        let end = facts.not_after;
        return problem(
            SupplyReason::SuppliedExpired,
            format!("expired at {end}: renew it"),
        );
    }
    if now < facts.not_before {
        let begin = facts.not_before;
        return problem(
            SupplyReason::NotYetValid,
            format!(
                "is not valid before {begin}: wait until then, or check the clocks of the issuer and of this cluster"
            ),
        );
    }
    if check_server_name(leaf, server_name).is_err() {
        let names = facts.dns_names.join(", ");
        return problem(
            SupplyReason::NameMissing,
            format!(
                "is for the DNS names [{names}], but scrapers verify {server_name}: issue one with that name in its subject alternative names"
            ),
        );
    }
    if !facts.for_servers {
        return problem(
            SupplyReason::UsageMissing,
            "is not a server certificate: issue one with serverAuth in its extended key usage"
                .to_owned(),
        );
    }
    Ok(())
}

fn check_verifies(
    material: &Material,
    chain: &[CertificateDer<'static>],
    bundle: &[CertificateDer<'static>],
    server_name: &str,
    now: Timestamp,
) -> Result<(), SupplyProblem> {
    let (chain_place, bundle_place) = (&material.chain.place, &material.bundle.place);
    let valid = valid_ones(bundle, now);
    if valid.is_empty() {
        return Err(SupplyProblem::new(
            SupplyReason::ChainInvalid,
            format!(
                "{bundle_place}: no CA in it is valid now: replace it by the current CA bundle"
            ),
        ));
    }
    verify_chain(chain, &valid, server_name, now).map_err(|error| {
        SupplyProblem::new(
            SupplyReason::ChainInvalid,
            format!(
                "{chain_place} cannot be verified with the CA bundle in {bundle_place} ({error}): put the intermediates after the certificate, and the CA that signed it into the CA bundle"
            ),
        )
    })
}

/// Returns the CAs that are valid now. Some scrapers, among them Prometheus, check the validity of the root.
fn valid_ones(
    certificates: &[CertificateDer<'static>],
    now: Timestamp,
) -> Vec<CertificateDer<'static>> {
    let is_valid = |certificate: &&CertificateDer<'_>| {
        facts(certificate).is_ok_and(|facts| facts.not_before <= now && now < facts.not_after)
    };
    certificates.iter().filter(is_valid).cloned().collect()
}

fn present(found: &Found) -> Result<&[u8], SupplyProblem> {
    let place = &found.place;
    match &found.content {
        Content::Bytes(bytes) if !bytes.is_empty() => Ok(bytes),
        Content::Bytes(_) => Err(SupplyProblem::new(
            SupplyReason::KeyMissing,
            format!(
                "{place} is empty: add the content, or change the reference in spec.tls.issuer"
            ),
        )),
        Content::NoKey => Err(SupplyProblem::new(
            SupplyReason::KeyMissing,
            format!("{place} does not exist: add it, or change the reference in spec.tls.issuer"),
        )),
        Content::NoObject => Err(SupplyProblem::new(
            SupplyReason::SecretMissing,
            format!(
                "{} {} does not exist in this namespace: create it, or change the reference in spec.tls.issuer",
                place.kind, place.name
            ),
        )),
        Content::Refused(problem) => Err(SupplyProblem::new(
            SupplyReason::ReferenceRefused,
            format!(
                "{} {}, to which spec.tls.issuer refers, cannot be used: {problem}",
                place.kind, place.name
            ),
        )),
    }
}

fn described(
    place: &Place,
    certificate: &CertificateDer<'_>,
) -> Result<CertificateFacts, SupplyProblem> {
    facts(certificate).map_err(|error| unreadable(place, &error))
}

fn unreadable(place: &Place, error: &InspectError) -> SupplyProblem {
    SupplyProblem::new(
        SupplyReason::CertificateUnreadable,
        format!("{place}: {error}: use PEM certificates"),
    )
}

fn unsupported(place: &Place) -> SupplyProblem {
    SupplyProblem::new(
        SupplyReason::KeyUnsupported,
        format!(
            "{place}: this type of private key is not supported: use ECDSA (P-256 or P-384), RSA of at least 2048 bits, or Ed25519"
        ),
    )
}

fn joined(certificates: &[CertificateDer<'_>]) -> String {
    let each = certificates.iter();
    each.map(|one| to_pem("CERTIFICATE", one)).collect()
}

#[cfg(test)]
mod tests;
