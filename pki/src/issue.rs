//! Issues certificate authorities, the leaf certificates that the exporters serve, and those that scrapers present.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rcgen::string::{Ia5String, PrintableString};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, RsaKeySize, SanType,
    SerialNumber,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::inspect::{self, InspectError};
use crate::secret_text::SecretText;

/// How long a certificate authority is valid: ten years. Scrapers hold copies of it which nobody renews for them, so it
/// outlives the longest leaf (five years) twice.
pub const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(87_600);

/// How far in the past a certificate's validity begins, so that a scraper whose clock is slow does not refuse it.
pub const BACKDATING: SignedDuration = SignedDuration::from_hours(1);

/// The longest common name that X.520 allows, in characters (`ub-common-name`). OpenSSL refuses longer ones.
const MAX_COMMON_NAME: usize = 64;

/// Issues a certificate authority: a self-signed root with an ECDSA P-256 key, called
/// `<name>.<namespace> node metrics CA g<generation>`, valid for [`AUTHORITY_LIFE`].
///
/// It has no path length, so that a cross-signed successor fits between it and the leaves. `qualified_name` is `<name>.<namespace>`, and is cut where the whole would exceed 64 characters.
pub fn issue_authority(
    qualified_name: &str,
    generation: u64,
    now: Timestamp,
    serial: Serial,
) -> Result<IssuedPair, IssueError> {
    let end = after(now, AUTHORITY_LIFE)?;
    let params = authority_params(qualified_name, generation, now, end, serial)?;
    let key = KeyType::EcdsaP256.generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(IssuedPair::new(certificate.pem(), &key))
}

/// Certifies the key of an authority by the one before it, under the same name: with this certificate in its chain, a
/// leaf of the new authority is verified by whoever trusts only the old one. It ends with the old one.
pub fn cross_sign(
    qualified_name: &str,
    generation: u64,
    key_pem: &SecretText,
    old_certificate_pem: &str,
    old_key_pem: &SecretText,
    now: Timestamp,
    serial: Serial,
) -> Result<String, IssueError> {
    let end = inspect::inspect(old_certificate_pem)
        .map_err(IssueError::Authority)?
        .not_after;
    let mut params = authority_params(qualified_name, generation, now, end, serial)?;
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::from_pem(key_pem.expose())?;
    let issuer = issuer(old_certificate_pem, old_key_pem)?;
    Ok(unix_lines(params.signed_by(&key, &issuer)?.pem()))
}

/// Issues a leaf certificate, signed by `authority`. It ends `duration` from now, but never after its authority.
///
/// Making an RSA key takes up to seconds: call it outside the async workers.
pub fn issue_leaf(
    parameters: &LeafParameters,
    authority_certificate_pem: &str,
    authority_key_pem: &SecretText,
    now: Timestamp,
    serial: Serial,
) -> Result<IssuedPair, IssueError> {
    let key = parameters.key_type.generate()?;
    let authority = (authority_certificate_pem, authority_key_pem);
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let certificate = sign_leaf(parameters, &key, usage, authority, now, serial)?;
    Ok(IssuedPair::new(certificate, &key))
}

/// Issues a certificate that a scraper presents, otherwise like [`issue_leaf`]. With `key_pem` it is one for that key:
/// scrapers read certificate and key one after the other, and a renewal that leaves the key as it was cannot fall between.
pub fn issue_client(
    parameters: &LeafParameters,
    key_pem: Option<&SecretText>,
    authority_certificate_pem: &str,
    authority_key_pem: &SecretText,
    now: Timestamp,
    serial: Serial,
) -> Result<IssuedPair, IssueError> {
    let key = match key_pem {
        Some(pem) => KeyPair::from_pem(pem.expose())?,
        None => parameters.key_type.generate()?,
    };
    let authority = (authority_certificate_pem, authority_key_pem);
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let certificate = sign_leaf(parameters, &key, usage, authority, now, serial)?;
    Ok(IssuedPair::new(certificate, &key))
}

fn sign_leaf(
    parameters: &LeafParameters,
    key: &KeyPair,
    usage: ExtendedKeyUsagePurpose,
    (authority_certificate_pem, authority_key_pem): (&str, &SecretText),
    now: Timestamp,
    serial: Serial,
) -> Result<String, IssueError> {
    let authority_end = inspect::inspect(authority_certificate_pem)
        .map_err(IssueError::Authority)?
        .not_after;
    if authority_end <= now {
        return Err(IssueError::AuthorityExpired(authority_end));
    }
    let issuer = issuer(authority_certificate_pem, authority_key_pem)?;

    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial.0));
    params.distinguished_name = parameters.subject.distinguished_name()?;
    params.subject_alt_names = parameters.subject_alt_names()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params.not_before = x509_time(before(now, BACKDATING)?)?;
    params.not_after = x509_time(after(now, parameters.duration)?.min(authority_end))?;
    Ok(params.signed_by(key, &issuer)?.pem())
}

/// A certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedPair {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM (PKCS #8).
    pub key_pem: SecretText,
}

impl IssuedPair {
    fn new(certificate_pem: String, key: &KeyPair) -> Self {
        Self {
            certificate_pem: unix_lines(certificate_pem),
            key_pem: SecretText::new(unix_lines(key.serialize_pem())),
        }
    }
}

/// What a leaf certificate, of an exporter or of a scraper, is issued with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafParameters {
    /// Kind of the private key.
    pub key_type: KeyType,
    /// Subject.
    pub subject: Subject,
    /// DNS names; of an exporter, the verified server name first.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// From now to the end of its validity.
    pub duration: SignedDuration,
}

impl LeafParameters {
    /// A short hash over all parameters: when it differs from the one a leaf was issued with, the leaf is out of date.
    ///
    /// It is stored, so its construction is a format: another one would renew every certificate once.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        let subject = &self.subject;
        let mut part = |name: &str, value: &str| {
            // Lengths keep neighbouring values apart: no two lists can run together into the same bytes.
            hasher.update(format!("{name}:{}:{value}\n", value.len()));
        };
        part("key", self.key_type.name());
        part("cn", &subject.common_name);
        for (name, value) in [
            ("o", &subject.organization),
            ("ou", &subject.organizational_unit),
            ("c", &subject.country),
            ("st", &subject.province),
            ("l", &subject.locality),
        ] {
            if let Some(value) = value {
                part(name, value);
            }
        }
        for name in &self.dns_names {
            part("dns", name);
        }
        for address in &self.ip_addresses {
            part("ip", &address.to_string());
        }
        part("seconds", &self.duration.as_secs().to_string());
        hasher
            .finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    pub(crate) fn subject_alt_names(&self) -> Result<Vec<SanType>, IssueError> {
        let dns = self.dns_names.iter().map(|name| {
            Ia5String::try_from(name.as_str())
                .map(SanType::DnsName)
                .map_err(|_| IssueError::NotAscii("DNS name", name.clone()))
        });
        let ip = self
            .ip_addresses
            .iter()
            .map(|address| Ok(SanType::IpAddress(*address)));
        dns.chain(ip).collect()
    }
}

/// The subject of a leaf certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// CN.
    pub common_name: String,
    /// O.
    pub organization: Option<String>,
    /// OU.
    pub organizational_unit: Option<String>,
    /// C, two letters.
    pub country: Option<String>,
    /// ST.
    pub province: Option<String>,
    /// L.
    pub locality: Option<String>,
}

impl Subject {
    pub(crate) fn distinguished_name(&self) -> Result<DistinguishedName, IssueError> {
        let mut name = DistinguishedName::new();
        if let Some(country) = &self.country {
            let printable = PrintableString::try_from(country.as_str())
                .map_err(|_| IssueError::NotAscii("country", country.clone()))?;
            name.push(DnType::CountryName, DnValue::PrintableString(printable));
        }
        for (kind, value) in [
            (DnType::StateOrProvinceName, &self.province),
            (DnType::LocalityName, &self.locality),
            (DnType::OrganizationName, &self.organization),
            (DnType::OrganizationalUnitName, &self.organizational_unit),
        ] {
            if let Some(value) = value {
                name.push(kind, value.as_str());
            }
        }
        name.push(DnType::CommonName, self.common_name.as_str());
        Ok(name)
    }
}

/// The kind of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 3072 bits.
    Rsa3072,
    /// RSA, 4096 bits.
    Rsa4096,
    /// Ed25519.
    Ed25519,
}

impl KeyType {
    /// Its name in [`LeafParameters::fingerprint`], which is stored: never to be changed.
    fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::Ed25519 => "ed25519",
        }
    }

    pub(crate) fn generate(self) -> Result<KeyPair, rcgen::Error> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        match self {
            Self::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa3072 => rsa(RsaKeySize::_3072),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        }
    }
}

/// A serial number: 126 random bits, positive and always 16 bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial([u8; 16]);

impl Serial {
    /// A serial number of these bytes. The two highest bits are set to 0 and 1, which makes it positive, as RFC 5280
    /// demands, and never zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [first, rest @ ..] = bytes;
        let mut positive = [0; 16];
        for (to, from) in positive
            .iter_mut()
            .zip(std::iter::once((first & 0x7f) | 0x40).chain(rest))
        {
            *to = from;
        }
        Self(positive)
    }

    /// A random serial number.
    pub fn random() -> Result<Self, IssueError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| IssueError::Random(error.to_string()))?;
        Ok(Self::from_bytes(bytes))
    }
}

/// Why a certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The random number generator of the machine failed.
    #[error("the operating system gave no random numbers: {0}")]
    Random(String),
    /// The authority's certificate or key cannot be used.
    #[error("the certificate authority cannot sign: {0}")]
    Authority(#[source] InspectError),
    /// The authority is not valid any more.
    #[error("the certificate authority expired at {0}: a new one must be made first")]
    AuthorityExpired(Timestamp),
    /// A value that X.509 writes in ASCII holds something else.
    #[error("{0} {1:?} holds characters other than ASCII")]
    NotAscii(&'static str, String),
    /// A time that a certificate cannot hold.
    #[error("a certificate cannot be valid until a time so far away")]
    OutOfTime,
    /// The cryptographic library refused.
    #[error("the certificate could not be made: {0}")]
    Crypto(#[from] rcgen::Error),
}

/// The generation of an authority by its subject, as [`issue_authority`] names it.
pub fn authority_generation(subject: &str) -> Option<u64> {
    subject.rsplit_once(" CA g")?.1.parse().ok()
}

fn authority_params(
    qualified_name: &str,
    generation: u64,
    now: Timestamp,
    end: Timestamp,
    serial: Serial,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial.0));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        authority_common_name(qualified_name, generation),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = x509_time(before(now, BACKDATING)?)?;
    params.not_after = x509_time(end)?;
    Ok(params)
}

fn issuer(
    certificate_pem: &str,
    key_pem: &SecretText,
) -> Result<Issuer<'static, KeyPair>, IssueError> {
    inspect::check_key_matches(certificate_pem, key_pem).map_err(IssueError::Authority)?;
    let key = KeyPair::from_pem(key_pem.expose())?;
    Ok(Issuer::from_ca_cert_pem(certificate_pem, key)?)
}

/// rcgen ends lines as MIME does; every other PEM file on the node ends them as Unix does.
pub(crate) fn unix_lines(pem: String) -> String {
    pem.replace("\r\n", "\n")
}

fn authority_common_name(qualified_name: &str, generation: u64) -> String {
    let tail = format!(" node metrics CA g{generation}");
    let room = MAX_COMMON_NAME.saturating_sub(tail.len());
    let head: String = qualified_name.chars().take(room).collect();
    format!("{head}{tail}")
}

fn before(now: Timestamp, span: SignedDuration) -> Result<Timestamp, IssueError> {
    now.checked_sub(span).map_err(|_| IssueError::OutOfTime)
}

fn after(now: Timestamp, span: SignedDuration) -> Result<Timestamp, IssueError> {
    now.checked_add(span).map_err(|_| IssueError::OutOfTime)
}

fn x509_time(at: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| IssueError::OutOfTime)
}

#[cfg(test)]
mod tests;
