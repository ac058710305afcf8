//! `spec.tls.certificate`: the parameters of certificates, and when they are renewed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    api::{CertificateSpec, KeyAlgorithm, PrivateKeySpec, SubjectSpec},
    names::Owner,
    spec::{
        error::SpecError,
        values::{MAX_DURATION, MIN_DURATION, dns_name, duration},
    },
};
use secure_exporter_pki::{KeyType, LeafParameters, Subject};

/// The parameters of certificates, and when they are renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidCertificate {
    /// The parameters of the serving certificate.
    pub parameters: LeafParameters,
    /// How much of its lifetime is left, in percent, when a certificate is renewed.
    pub renew_before_percentage: u8,
}

const FIELD: &str = "spec.tls.certificate";

pub(crate) fn certificate(
    spec: &CertificateSpec,
    server_name: &str,
    owner: &Owner,
) -> Result<ValidCertificate, SpecError> {
    let duration = duration(
        &format!("{FIELD}.duration"),
        &spec.duration,
        MIN_DURATION,
        MAX_DURATION,
    )?;
    let mut dns_names = vec![server_name.to_owned()];
    for (index, name) in spec.additional_dns_names.iter().enumerate() {
        let field = format!("{FIELD}.additionalDNSNames[{index}]");
        dns_name(&field, name.strip_prefix("*.").unwrap_or(name))?;
        if !dns_names.contains(name) {
            dns_names.push(name.clone());
        }
    }
    let mut ip_addresses: Vec<IpAddr> = Vec::new();
    for (index, address) in spec.additional_ip_addresses.iter().enumerate() {
        let address = address.parse().map_err(|_| {
            SpecError::new(
                format!("{FIELD}.additionalIPAddresses[{index}]"),
                format!("{address:?} is not an IP address: use an IPv4 or IPv6 address without a prefix length"),
            )
        })?;
        if !ip_addresses.contains(&address) {
            ip_addresses.push(address);
        }
    }
    Ok(ValidCertificate {
        parameters: LeafParameters {
            key_type: key_type(&spec.private_key)?,
            subject: subject(&spec.subject, owner)?,
            dns_names,
            ip_addresses,
            duration,
        },
        renew_before_percentage: renew_before_percentage(spec)?,
    })
}

pub(crate) fn renew_before_percentage(spec: &CertificateSpec) -> Result<u8, SpecError> {
    u8::try_from(spec.renew_before_percentage)
        .ok()
        .filter(|percentage| (5..=90).contains(percentage))
        .ok_or_else(|| {
            SpecError::new(
                format!("{FIELD}.renewBeforePercentage"),
                "must be between 5 and 90",
            )
        })
}

fn key_type(spec: &PrivateKeySpec) -> Result<KeyType, SpecError> {
    match (spec.algorithm, spec.size) {
        (KeyAlgorithm::Ecdsa, None | Some(256)) => Ok(KeyType::EcdsaP256),
        (KeyAlgorithm::Ecdsa, Some(384)) => Ok(KeyType::EcdsaP384),
        (KeyAlgorithm::Rsa, None | Some(2048)) => Ok(KeyType::Rsa2048),
        (KeyAlgorithm::Rsa, Some(3072)) => Ok(KeyType::Rsa3072),
        (KeyAlgorithm::Rsa, Some(4096)) => Ok(KeyType::Rsa4096),
        (KeyAlgorithm::Ed25519, None) => Ok(KeyType::Ed25519),
        _ => Err(SpecError::new(
            "spec.tls.certificate.privateKey.size",
            "must be 256 or 384 for ECDSA, 2048, 3072 or 4096 for RSA, and unset for Ed25519",
        )),
    }
}

fn subject(spec: &SubjectSpec, owner: &Owner) -> Result<Subject, SpecError> {
    let is_country =
        |text: &String| text.len() == 2 && text.chars().all(|c| c.is_ascii_uppercase());
    if !spec.country.as_ref().is_none_or(is_country) {
        return Err(SpecError::new(
            "spec.tls.certificate.subject.country",
            "must be two capital letters, such as CH",
        ));
    }
    Ok(Subject {
        common_name: spec
            .common_name
            .clone()
            .unwrap_or_else(|| owner.name.clone()),
        organization: spec.organization.clone(),
        organizational_unit: spec.organizational_unit.clone(),
        country: spec.country.clone(),
        province: spec.province.clone(),
        locality: spec.locality.clone(),
    })
}
