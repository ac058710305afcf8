//! Reads certificates: facts for the status, and the checks that a client makes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::time::ASN1Time;
use zeroize::Zeroizing;

use crate::secret_text::SecretText;

/// What stands in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Serial number, lower-case hexadecimal.
    pub serial_number: String,
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// DNS names among the subject alternative names.
    pub dns_names: Vec<String>,
    /// IP addresses among the subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub sha256_fingerprint: String,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// Whether a server may present it.
    pub for_servers: bool,
}

/// Why a certificate or key was refused. No variant holds any part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// There is no certificate in the text.
    #[error("no PEM certificate found")]
    NoCertificate,
    /// There is no key in the text, or none that can be read.
    #[error("no PEM private key found")]
    NoKey,
    /// The certificate is damaged.
    #[error("the certificate cannot be read: {0}")]
    Damaged(String),
    /// The key is of a kind that cannot be used.
    #[error("the private key cannot be used")]
    UnusableKey,
    /// Key and certificate are of two pairs.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The name is neither a DNS name nor an IP address.
    #[error("{0:?} is not a server name")]
    BadServerName(String),
    /// Whoever it is shown to would refuse the certificate.
    #[error("the certificate would be refused: {0}")]
    Refused(String),
}

/// Reads the first certificate of a PEM text.
pub fn inspect(pem: &str) -> Result<CertificateFacts, InspectError> {
    let chain = certificates(pem)?;
    facts(chain.first().ok_or(InspectError::NoCertificate)?)
}

/// Reads a certificate.
pub fn facts(der: &CertificateDer<'_>) -> Result<CertificateFacts, InspectError> {
    let certificate = parse(der)?;
    let (dns_names, ip_addresses) = alternative_names(&certificate)?;
    Ok(CertificateFacts {
        serial_number: hex(certificate.raw_serial()),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        not_before: timestamp(certificate.validity().not_before)?,
        not_after: timestamp(certificate.validity().not_after)?,
        dns_names,
        ip_addresses,
        sha256_fingerprint: hex(&Sha256::digest(der)),
        is_authority: certificate.is_ca(),
        for_servers: is_for_servers(&certificate)?,
    })
}

/// When the last of the authorities in `bundle_pem` ends: from then on nothing that any of them signed is verified.
pub fn bundle_end(bundle_pem: &str) -> Result<Timestamp, InspectError> {
    let mut end = Timestamp::MIN;
    for authority in certificates(bundle_pem)? {
        end = end.max(facts(&authority)?.not_after);
    }
    Ok(end)
}

/// Checks that a certificate is for `server_name`.
pub fn check_server_name(
    certificate: &CertificateDer<'_>,
    server_name: &str,
) -> Result<(), InspectError> {
    let parsed = ParsedCertificate::try_from(certificate).map_err(refused)?;
    verify_server_name(&parsed, &parsed_name(server_name)?).map_err(refused)
}

/// Checks that a private key belongs to the first certificate of a PEM text.
pub fn check_key_matches(certificate_pem: &str, key_pem: &SecretText) -> Result<(), InspectError> {
    let chain = certificates(certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.expose().as_bytes())
        .map_err(|_| InspectError::NoKey)?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| InspectError::UnusableKey)?;
    CertifiedKey::new(chain, key)
        .keys_match()
        .map_err(|_| InspectError::KeyMismatch)
}

/// Checks a leaf (first in `chain_pem`, with intermediates after it) as a scraper does: signed by an authority of
/// `bundle_pem`, valid at `now`, and issued for `server_name`.
pub fn verify(
    chain_pem: &str,
    bundle_pem: &str,
    server_name: &str,
    now: Timestamp,
) -> Result<(), InspectError> {
    let (chain, roots) = (certificates(chain_pem)?, certificates(bundle_pem)?);
    verify_chain(&chain, &roots, server_name, now)
}

/// As [`verify`], of certificates that were read already.
pub fn verify_chain(
    chain: &[CertificateDer<'static>],
    bundle: &[CertificateDer<'static>],
    server_name: &str,
    now: Timestamp,
) -> Result<(), InspectError> {
    let (leaf, intermediates) = chain.split_first().ok_or(InspectError::NoCertificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(bundle)?, provider)
        .build()
        .map_err(refused)?;
    let name = parsed_name(server_name)?;
    verifier
        .verify_server_cert(leaf, intermediates, &name, &[], unix_time(now)?)
        .map(|_| ())
        .map_err(refused)
}

/// Checks a client certificate (first in `chain_pem`, with intermediates after it) as an exporter does: signed by an
/// authority of `bundle_pem` for clients, and valid at `now`.
pub fn verify_client(
    chain_pem: &str,
    bundle_pem: &str,
    now: Timestamp,
) -> Result<(), InspectError> {
    let (chain, bundle) = (certificates(chain_pem)?, certificates(bundle_pem)?);
    let (leaf, intermediates) = chain.split_first().ok_or(InspectError::NoCertificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(&bundle)?, provider)
        .build()
        .map_err(refused)?;
    verifier
        .verify_client_cert(leaf, intermediates, unix_time(now)?)
        .map(|_| ())
        .map_err(refused)
}

fn parsed_name(server_name: &str) -> Result<ServerName<'_>, InspectError> {
    ServerName::try_from(server_name)
        .map_err(|_| InspectError::BadServerName(server_name.to_owned()))
}

fn roots(bundle: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, InspectError> {
    let mut roots = RootCertStore::empty();
    for root in bundle {
        roots.add(root.clone()).map_err(refused)?;
    }
    Ok(Arc::new(roots))
}

fn unix_time(now: Timestamp) -> Result<UnixTime, InspectError> {
    let since_epoch = u64::try_from(now.as_second()).map_err(refused)?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(since_epoch)))
}

fn refused(error: impl std::fmt::Display) -> InspectError {
    InspectError::Refused(error.to_string())
}

/// The serial number of the first certificate, lower-case hexadecimal.
pub fn serial_number(chain: &[CertificateDer<'static>]) -> Result<String, InspectError> {
    let der = chain.first().ok_or(InspectError::NoCertificate)?;
    Ok(hex(parse(der)?.raw_serial()))
}

/// The certificates of a PEM text, at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, InspectError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| InspectError::Damaged(error.to_string()))?;
    if found.is_empty() {
        return Err(InspectError::NoCertificate);
    }
    Ok(found)
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

/// Without the extension it is for everything.
fn is_for_servers(certificate: &X509Certificate<'_>) -> Result<bool, InspectError> {
    let usage = certificate
        .extended_key_usage()
        .map_err(|error| InspectError::Damaged(error.to_string()))?;
    Ok(usage.is_none_or(|usage| usage.value.server_auth))
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, InspectError> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| InspectError::Damaged(error.to_string()))?;
    if rest.is_empty() {
        Ok(certificate)
    } else {
        Err(InspectError::Damaged("bytes after its end".to_owned()))
    }
}

fn alternative_names(
    certificate: &X509Certificate<'_>,
) -> Result<(Vec<String>, Vec<IpAddr>), InspectError> {
    let (mut dns_names, mut ip_addresses) = (Vec::new(), Vec::new());
    let extension = certificate
        .subject_alternative_name()
        .map_err(|error| InspectError::Damaged(error.to_string()))?;
    for name in extension.iter().flat_map(|san| &san.value.general_names) {
        match name {
            GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                ip_addresses.extend(v4.or(v6).ok());
            }
            _ => {}
        }
    }
    Ok((dns_names, ip_addresses))
}

fn timestamp(time: ASN1Time) -> Result<Timestamp, InspectError> {
    Timestamp::from_second(time.timestamp())
        .map_err(|error| InspectError::Damaged(error.to_string()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::{IssuedPair, KeyType, LeafParameters, Serial, Subject, issue};

    const NAME: &str = "nodes.monitoring.svc";

    fn now() -> Timestamp {
        "2026-11-23T15:00:00Z".parse().unwrap()
    }

    fn authority(byte: u8) -> IssuedPair {
        issue::issue_authority("n.m", 1, now(), Serial::from_bytes([byte; 16])).unwrap()
    }

    fn leaf(authority: &IssuedPair) -> IssuedPair {
        let parameters = LeafParameters {
            key_type: KeyType::EcdsaP256,
            subject: Subject {
                common_name: "nodes".into(),
                organization: None,
                organizational_unit: None,
                country: None,
                province: None,
                locality: None,
            },
            dns_names: vec![NAME.into()],
            ip_addresses: vec![],
            duration: SignedDuration::from_hours(1),
        };
        let serial = Serial::from_bytes([2; 16]);
        let (certificate, key) = (&authority.certificate_pem, &authority.key_pem);
        issue::issue_leaf(&parameters, certificate, key, now(), serial).unwrap()
    }

    #[test]
    fn a_client_refuses_another_authority_another_name_and_another_time() {
        let ours = authority(1);
        let leaf = leaf(&ours).certificate_pem;
        let root = &ours.certificate_pem;
        let later = now() + SignedDuration::from_hours(2);
        assert_eq!(verify(&leaf, root, NAME, now()), Ok(()));
        for (bundle, name, at) in [
            (authority(3).certificate_pem.as_str(), NAME, now()),
            (root, "other.monitoring.svc", now()),
            (root, NAME, later),
        ] {
            let refused = verify(&leaf, bundle, name, at);
            assert!(
                matches!(refused, Err(InspectError::Refused(_))),
                "{refused:?}"
            );
        }
        assert_eq!(
            verify(&leaf, "", NAME, now()),
            Err(InspectError::NoCertificate)
        );
    }

    #[test]
    fn a_key_of_another_pair_is_refused() {
        let (one, two) = (authority(1), authority(2));
        assert_eq!(
            check_key_matches(&one.certificate_pem, &one.key_pem),
            Ok(())
        );
        assert_eq!(
            check_key_matches(&one.certificate_pem, &two.key_pem),
            Err(InspectError::KeyMismatch)
        );
        let half = one.key_pem.expose();
        let half = SecretText::new(half[..half.len() / 2].to_owned());
        assert_eq!(
            check_key_matches(&one.certificate_pem, &half),
            Err(InspectError::NoKey)
        );
    }

    #[test]
    fn a_damaged_certificate_is_refused() {
        let pem = authority(1).certificate_pem;
        assert_eq!(inspect(""), Err(InspectError::NoCertificate));
        assert!(inspect(&pem[..pem.len() / 2]).is_err());
        assert!(inspect(&pem.replacen("MII", "MIA", 1)).is_err());
    }
}
