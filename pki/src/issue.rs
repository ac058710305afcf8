//! Issues CAs, serving certificates of the exporters, and client certificates of the scrapers.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rcgen::string::PrintableString;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, KeyPair,
    SanType,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::IssueError;
use crate::host::Host;
use crate::inspect;
use crate::key::KeyType;
use crate::pem::unix_lines;
use crate::secret_text::SecretText;
use crate::sign::{self, IssuedPair, Leaf, MAX_COMMON_NAME, Serial, issuer, self_signed};
use crate::validity::{AUTHORITY_LIFE, end};

/// Issues a CA: a self-signed root with an ECDSA P-256 key and the common name
/// `<name>.<namespace> node metrics CA g<generation>`, valid for [`AUTHORITY_LIFE`].
///
/// It has no path length constraint, so that a cross-signed successor fits between it and the leaf certificates.
/// `qualified_name` is `<name>.<namespace>`; it is truncated if the common name would exceed 64 characters.
pub fn issue_authority(
    qualified_name: &str,
    generation: u64,
    now: Timestamp,
    serial: Serial,
) -> Result<IssuedPair, IssueError> {
    let end = end(now, AUTHORITY_LIFE)?;
    self_signed(&authority_params(
        qualified_name,
        generation,
        now,
        end,
        serial,
    )?)
}

/// Issues a cross certificate: the old CA certifies the key of the new one under the new one's name. With it in the chain,
/// clients that only trust the old CA can verify certificates of the new one. It expires with the old CA.
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

/// Issues a serving certificate, signed by the CA. It expires `duration` from now, but never after the CA.
///
/// Generating an RSA key takes up to seconds: call it outside the async workers.
pub fn issue_leaf(
    parameters: &LeafParameters,
    authority_certificate_pem: &str,
    authority_key_pem: &SecretText,
    now: Timestamp,
    serial: Serial,
) -> Result<IssuedPair, IssueError> {
    let key = parameters.key_type.generate()?;
    let leaf = parameters.leaf(ExtendedKeyUsagePurpose::ServerAuth)?;
    let (certificate, signer) = (authority_certificate_pem, authority_key_pem);
    let signed = leaf.sign(&key, certificate, signer, now, serial)?;
    Ok(IssuedPair::new(&signed, &key))
}

/// Issues a client certificate, otherwise like [`issue_leaf`]. With `key_pem` it keeps that key: scrapers read certificate
/// and key one after the other, and a renewal that keeps the key is safe at any moment between.
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
    let leaf = parameters.leaf(ExtendedKeyUsagePurpose::ClientAuth)?;
    let (certificate, signer) = (authority_certificate_pem, authority_key_pem);
    let signed = leaf.sign(&key, certificate, signer, now, serial)?;
    Ok(IssuedPair::new(&signed, &key))
}

/// The parameters of a serving or client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeafParameters {
    /// Type of the private key.
    pub key_type: KeyType,
    /// Subject.
    pub subject: Subject,
    /// DNS names; in a serving certificate, the server name that scrapers verify comes first.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// The time from the issue to the expiry.
    pub duration: SignedDuration,
}

impl LeafParameters {
    /// Returns a short hash of all parameters. If it differs from the one that a certificate was issued with, the
    /// certificate is out of date.
    ///
    /// The hash is stored, so its construction is a file format: a change would renew every certificate once.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        let subject = &self.subject;
        let mut part = |name: &str, value: &str| {
            // The length separates values, so that two different lists never hash the same bytes.
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

    fn leaf(&self, usage: ExtendedKeyUsagePurpose) -> Result<Leaf, IssueError> {
        Ok(Leaf {
            subject: self.subject.distinguished_name()?,
            names: self.subject_alt_names()?,
            usage,
            duration: self.duration,
        })
    }

    pub(crate) fn subject_alt_names(&self) -> Result<Vec<SanType>, IssueError> {
        let names = self.dns_names.iter().cloned().map(Host::Name);
        let addresses = self.ip_addresses.iter().copied().map(Host::Address);
        names
            .chain(addresses)
            .map(|host| host.subject_alternative_name())
            .collect()
    }
}

/// The subject of a serving or client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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

/// Returns the generation of a CA from the subject that [`issue_authority`] gave it.
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
    let common_name = authority_common_name(qualified_name, generation);
    sign::authority_params(&common_name, now, end, serial)
}

fn authority_common_name(qualified_name: &str, generation: u64) -> String {
    let tail = format!(" node metrics CA g{generation}");
    let room = MAX_COMMON_NAME.saturating_sub(tail.len());
    let head: String = qualified_name.chars().take(room).collect();
    format!("{head}{tail}")
}

#[cfg(test)]
mod tests;
