//! What somebody else has issued: the check that it must pass before any of it is published. Pure.
//!
//! Whatever does not pass is not used at all: what was published before stays. A problem names the object, the key and the
//! mend, and never holds any part of a private key.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::spec::issuer::Place;
use secure_exporter_pki::{
    inspect::{
        CertificateFacts, InspectError, certificates, check_key_matches, check_server_name, facts,
        verify_chain,
    },
    pem::to_pem,
    secret_text::SecretText,
};

/// The longest trust bundle, in bytes: while one issuer is followed by the next, a few of them must fit into a Secret,
/// which holds 1 MiB.
const LONGEST_BUNDLE: usize = 256 * 1024;
/// The longest certificate chain, in bytes.
const LONGEST_CHAIN: usize = 64 * 1024;

/// The longest message of a problem, in characters.
const LONGEST_MESSAGE: usize = 1000;

/// [`Supplied::parameters`] where nobody was asked: unlike every fingerprint.
pub const NOT_ASKED: &str = "supplied";

/// Where the certificate that the exporters serve comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supply {
    /// The operator issues it.
    Managed,
    /// Somebody else does: what passed the check, or why nothing did.
    External(Result<Supplied, SupplyProblem>),
}

/// A certificate of somebody else's, its key, and the authorities that verify it, all of which was checked. Only what was
/// checked is in it, written anew: whatever else stood in the same files is left out, and equal content is equal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supplied {
    /// The certificate and its intermediates, PEM.
    pub chain_pem: String,
    /// Its private key, PEM.
    pub key_pem: SecretText,
    /// The authorities, PEM, at least one, each once, in an order that does not depend on the file's.
    pub bundle_pem: String,
    /// What [`Leaf::parameters`](crate::rotation::state::Leaf) becomes: a fingerprint of what was asked for, and of whom,
    /// or [`NOT_ASKED`].
    pub parameters: String,
}

/// Why there is nothing to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SupplyProblem {
    /// One word, for programs.
    pub reason: &'static str,
    /// What is wrong where, and the mend.
    pub message: String,
    /// Whether it is only that it could not be read this time.
    pub is_passing: bool,
}

impl SupplyProblem {
    /// A problem. A message that is too long for a condition, because of what stands in a certificate, is cut.
    pub fn new(reason: &'static str, message: impl AsRef<str>) -> Self {
        Self {
            reason,
            message: message.as_ref().chars().take(LONGEST_MESSAGE).collect(),
            is_passing: false,
        }
    }

    /// It could not be read this time: all stays as it is, and no condition follows.
    pub fn unread(message: impl AsRef<str>) -> Self {
        Self {
            is_passing: true,
            ..Self::new("NotRead", message)
        }
    }
}

/// The parts of a certificate of somebody else's, as they were found. There is no `Debug`: one of them is a private key.
pub struct Material {
    /// The certificate and its intermediates.
    pub chain: Found,
    /// Its private key.
    pub key: Found,
    /// The authorities that verify it.
    pub bundle: Found,
}

/// What was found at a place.
#[derive(Clone)]
pub struct Found {
    /// The place.
    pub place: Place,
    /// What is there.
    pub content: Content,
}

impl Found {
    /// A text.
    pub fn text(place: Place, text: &str) -> Self {
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        Self {
            place,
            content: Content::Bytes(bytes),
        }
    }
}

/// What a place holds.
#[derive(Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Zeroizing<Vec<u8>>),
    /// The object is there, and has no such key.
    NoKey,
    /// There is no such object.
    NoObject,
}

/// Checks what was found as a scraper that knows `server_name` does, and more strictly: what only some scrapers refuse is
/// refused.
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

/// Whether a scraper that trusts `bundle_pem` accepts what is served with `chain_pem`. Authorities that have ended do not
/// count, because not every scraper goes on trusting them.
pub fn verifies(chain_pem: &str, bundle_pem: &str, server_name: &str, now: Timestamp) -> bool {
    let (Ok(chain), Ok(bundle)) = (certificates(chain_pem), certificates(bundle_pem)) else {
        return false;
    };
    verify_chain(&chain, &valid_ones(&bundle, now), server_name, now).is_ok()
}

fn read_chain(found: &Found) -> Result<Vec<CertificateDer<'static>>, SupplyProblem> {
    let chain = read_certificates(found, LONGEST_CHAIN)?;
    for certificate in &chain {
        described(&found.place, certificate)?;
    }
    Ok(chain)
}

fn read_bundle(found: &Found) -> Result<Vec<CertificateDer<'static>>, SupplyProblem> {
    let mut bundle = read_certificates(found, LONGEST_BUNDLE)?;
    for certificate in &bundle {
        let facts = described(&found.place, certificate)?;
        if !facts.is_authority {
            return Err(SupplyProblem::new(
                "BundleInvalid",
                format!(
                    "{}: the certificate of {} is not one of an authority (CA:TRUE): put the authority that signed it there",
                    found.place, facts.subject
                ),
            ));
        }
    }
    // Their order means nothing, and another one is no other bundle.
    bundle.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
    bundle.dedup();
    Ok(bundle)
}

fn read_certificates(
    found: &Found,
    longest: usize,
) -> Result<Vec<CertificateDer<'static>>, SupplyProblem> {
    let bytes = present(found)?;
    if bytes.len() > longest {
        return Err(SupplyProblem::new(
            "TooLong",
            format!(
                "{}: {} bytes are more than the {longest} that fit: leave out the certificates that are not needed",
                found.place,
                bytes.len()
            ),
        ));
    }
    // What the parser says repeats parts of the text, which may be a private key in the wrong place.
    let damaged =
        |problem: &str| unreadable(&found.place, &InspectError::Damaged(problem.to_owned()));
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    certificates(text).map_err(|error| match error {
        InspectError::NoCertificate => unreadable(&found.place, &error),
        _ => damaged("it is not PEM"),
    })
}

fn read_key(found: &Found) -> Result<SecretText, SupplyProblem> {
    let key = PrivateKeyDer::from_pem_slice(present(found)?).map_err(|_| {
        SupplyProblem::new(
            "KeyUnreadable",
            format!(
                "{}: no PEM private key that can be read: put an unencrypted one there (PKCS #8, PKCS #1 or SEC 1)",
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
            "KeyMismatch",
            format!(
                "{key_place} does not belong to the first certificate of {chain_place}: put the two of one pair there, the certificate before its intermediates"
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
            "NotALeaf",
            "is one of an authority (CA:TRUE), which scrapers refuse from a server: issue one by it, with CA:FALSE".to_owned(),
        );
    }
    if facts.not_after <= now {
        let end = facts.not_after;
        return problem("SuppliedExpired", format!("ended at {end}: renew it"));
    }
    if now < facts.not_before {
        let begin = facts.not_before;
        return problem(
            "NotYetValid",
            format!("is valid only from {begin}: it is used from then on, if the clock is right"),
        );
    }
    if check_server_name(leaf, server_name).is_err() {
        let names = facts.dns_names.join(", ");
        return problem(
            "NameMissing",
            format!(
                "is for the DNS names [{names}], and scrapers verify {server_name}: issue one with that name among its subject alternative names"
            ),
        );
    }
    if !facts.for_servers {
        return problem(
            "UsageMissing",
            "is not for servers: issue one whose extended key usage has serverAuth".to_owned(),
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
            "ChainInvalid",
            format!(
                "{bundle_place}: no authority there is valid at this time: put the current ones there"
            ),
        ));
    }
    verify_chain(chain, &valid, server_name, now).map_err(|error| {
        SupplyProblem::new(
            "ChainInvalid",
            format!(
                "{chain_place} is not verified by the authorities in {bundle_place} ({error}): put the intermediates behind the certificate, and the authority that signed it into the bundle"
            ),
        )
    })
}

/// The certificates that are valid now. The root's own dates are checked by some scrapers, and Prometheus is one.
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
            "KeyMissing",
            format!("{place} is empty"),
        )),
        Content::NoKey => Err(SupplyProblem::new(
            "KeyMissing",
            format!("{place} does not exist: add it, or name another place in spec.tls.issuer"),
        )),
        Content::NoObject => Err(SupplyProblem::new(
            "SecretMissing",
            format!(
                "{} {} does not exist in this namespace: create it, or name another one in spec.tls.issuer",
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
        "CertificateUnreadable",
        format!("{place}: {error}: put certificates there as PEM"),
    )
}

fn unsupported(place: &Place) -> SupplyProblem {
    SupplyProblem::new(
        "KeyUnsupported",
        format!(
            "{place}: a private key of this kind cannot be served: use ECDSA (P-256 or P-384), RSA of at least 2048 bits, or Ed25519"
        ),
    )
}

fn joined(certificates: &[CertificateDer<'_>]) -> String {
    let each = certificates.iter();
    each.map(|one| to_pem("CERTIFICATE", one)).collect()
}

#[cfg(test)]
mod tests;
