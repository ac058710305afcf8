//! Derives the parameters of a certificate, so that the next one can be issued with the same ones.

use x509_parser::{
    oid_registry::OID_SIG_ED25519,
    prelude::{AttributeTypeAndValue, X509Certificate, X509Name},
    public_key::PublicKey,
};

use crate::{
    certificate::Certificate,
    error::InspectError,
    inspect::{certificates, facts},
    issue::{LeafParameters, Subject},
    key::KeyType,
    validity::BACKDATING,
};

impl LeafParameters {
    /// Returns the parameters of the first certificate in `pem`, which must be one that the operator issued.
    ///
    /// # Errors
    /// The certificate cannot be parsed, or the operator does not support the type of its key.
    pub fn of_certificate(pem: &str) -> Result<Self, InspectError> {
        let chain = certificates(pem)?;
        let der = chain.first().ok_or(InspectError::NoCertificate)?;
        let facts = facts(der)?;
        let certificate = Certificate::parse(der)?;
        let certificate = certificate.parts();
        Ok(Self {
            key_type: key_type(certificate).ok_or(InspectError::UnusableKey)?,
            subject: subject(certificate.subject()),
            dns_names: facts.dns_names,
            ip_addresses: facts.ip_addresses,
            duration: facts.not_after.duration_since(facts.not_before) - BACKDATING,
        })
    }
}

fn key_type(certificate: &X509Certificate<'_>) -> Option<KeyType> {
    let key = certificate.public_key();
    if key.algorithm.algorithm == OID_SIG_ED25519 {
        return Some(KeyType::Ed25519);
    }
    match key.parsed().ok()? {
        PublicKey::EC(point) if point.key_size() == 256 => Some(KeyType::EcdsaP256),
        PublicKey::EC(point) if point.key_size() == 384 => Some(KeyType::EcdsaP384),
        PublicKey::RSA(key) if key.key_size() == 2048 => Some(KeyType::Rsa2048),
        PublicKey::RSA(key) if key.key_size() == 3072 => Some(KeyType::Rsa3072),
        PublicKey::RSA(key) if key.key_size() == 4096 => Some(KeyType::Rsa4096),
        _ => None,
    }
}

fn subject(name: &X509Name<'_>) -> Subject {
    Subject {
        common_name: first(name.iter_common_name()).unwrap_or_default(),
        organization: first(name.iter_organization()),
        organizational_unit: first(name.iter_organizational_unit()),
        country: first(name.iter_country()),
        province: first(name.iter_state_or_province()),
        locality: first(name.iter_locality()),
    }
}

fn first<'a>(mut values: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Option<String> {
    values.next()?.as_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::{Serial, issue_authority, issue_leaf};

    #[test]
    fn the_parameters_of_every_kind_of_certificate_are_read_back() {
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let authority = issue_authority("a.b", 1, now, Serial::random().unwrap()).unwrap();
        let named = Subject {
            common_name: "nodes".into(),
            organization: Some("Example".into()),
            organizational_unit: Some("Platform".into()),
            country: Some("CH".into()),
            province: Some("Zürich".into()),
            locality: Some("Winterthur".into()),
        };
        let bare = Subject {
            common_name: "nodes".into(),
            organization: None,
            organizational_unit: None,
            country: None,
            province: None,
            locality: None,
        };
        for (key_type, subject) in [
            (KeyType::EcdsaP256, &named),
            (KeyType::EcdsaP384, &bare),
            (KeyType::Ed25519, &bare),
            (KeyType::Rsa2048, &bare),
            (KeyType::Rsa3072, &bare),
        ] {
            let parameters = LeafParameters {
                key_type,
                subject: subject.clone(),
                dns_names: vec!["nodes.monitoring.svc".into(), "*.example.org".into()],
                ip_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
                duration: SignedDuration::from_hours(8760),
            };
            let leaf = issue_leaf(
                &parameters,
                &authority.certificate_pem,
                &authority.key_pem,
                now,
                Serial::random().unwrap(),
            )
            .unwrap();
            let read = LeafParameters::of_certificate(&leaf.certificate_pem).unwrap();
            assert_eq!(read, parameters);
        }
    }
}
