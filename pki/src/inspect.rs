//! Parses certificates, and verifies them as a client does.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::certificate::{Certificate, hexadecimal};
pub use crate::error::InspectError;
use crate::host::{AlternativeName, Host};
use crate::secret_text::SecretText;

/// The fields of a certificate that the status and the rotation need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Serial number, lower-case hexadecimal.
    pub serial_number: String,
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Start of the validity.
    pub not_before: Timestamp,
    /// End of the validity.
    pub not_after: Timestamp,
    /// DNS names among the subject alternative names.
    pub dns_names: Vec<String>,
    /// IP addresses among the subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub sha256_fingerprint: String,
    /// Whether it is a CA certificate.
    pub is_authority: bool,
    /// Whether it is valid as a server certificate.
    pub for_servers: bool,
}

/// Parses the first certificate of a PEM text.
pub fn inspect(pem: &str) -> Result<CertificateFacts, InspectError> {
    let chain = certificates(pem)?;
    facts(chain.first().ok_or(InspectError::NoCertificate)?)
}

/// Parses a certificate.
pub fn facts(der: &CertificateDer<'_>) -> Result<CertificateFacts, InspectError> {
    let certificate = Certificate::parse(der)?;
    let (mut dns_names, mut ip_addresses) = (Vec::new(), Vec::new());
    for name in certificate.alternative_names()? {
        match name {
            AlternativeName::Host(Host::Name(name)) => dns_names.push(name),
            AlternativeName::Host(Host::Address(address)) => ip_addresses.push(address),
            AlternativeName::Email(_) | AlternativeName::Uri(_) => {}
        }
    }
    Ok(CertificateFacts {
        serial_number: certificate.serial_number(),
        subject: certificate.subject(),
        issuer: certificate.issuer(),
        not_before: timestamp(certificate.not_before())?,
        not_after: timestamp(certificate.not_after())?,
        dns_names,
        ip_addresses,
        sha256_fingerprint: hexadecimal(&Sha256::digest(der)),
        is_authority: certificate.is_authority(),
        for_servers: certificate.is_for_servers()?,
    })
}

/// Returns when the last CA in `bundle_pem` expires. After that, nothing that they signed can be verified.
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

/// Checks that a private key matches the first certificate of a PEM text.
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

/// Verifies a serving certificate (first in `chain_pem`, followed by its intermediates) as a scraper does: it is signed by a
/// CA in `bundle_pem`, valid at `now`, and issued for `server_name`.
pub fn verify(
    chain_pem: &str,
    bundle_pem: &str,
    server_name: &str,
    now: Timestamp,
) -> Result<(), InspectError> {
    let (chain, roots) = (certificates(chain_pem)?, certificates(bundle_pem)?);
    verify_chain(&chain, &roots, server_name, now)
}

/// Like [`verify`], for parsed certificates.
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

/// Verifies a client certificate (first in `chain_pem`, followed by its intermediates) as an exporter does: it is signed by a
/// CA in `bundle_pem` for clients, and valid at `now`.
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

/// Returns the serial number of the first certificate in lower-case hexadecimal.
pub fn serial_number(chain: &[CertificateDer<'static>]) -> Result<String, InspectError> {
    let der = chain.first().ok_or(InspectError::NoCertificate)?;
    Ok(Certificate::parse(der)?.serial_number())
}

/// Parses the certificates of a PEM text, at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, InspectError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| InspectError::Damaged(error.to_string()))?;
    if found.is_empty() {
        return Err(InspectError::NoCertificate);
    }
    Ok(found)
}

fn timestamp(seconds: i64) -> Result<Timestamp, InspectError> {
    Timestamp::from_second(seconds).map_err(|error| InspectError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests;
