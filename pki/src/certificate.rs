//! A parsed certificate.

use std::net::IpAddr;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::der;
use crate::error::InspectError;
use crate::host::{AlternativeName, Host};

/// A certificate that was parsed from DER. Its extensions are only parsed when they are needed, so that a certificate with a
/// damaged extension can still be described.
#[derive(Debug)]
pub struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    /// Parses a certificate from DER.
    pub fn parse(der: &'a [u8]) -> Result<Self, InspectError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(damaged)?;
        if rest.is_empty() {
            Ok(Self(certificate))
        } else {
            Err(damaged("bytes after its end"))
        }
    }

    /// Returns the parsed certificate.
    pub(crate) fn parts(&self) -> &X509Certificate<'a> {
        &self.0
    }

    /// Serial number as it is encoded, lower-case hexadecimal.
    pub fn serial_number(&self) -> String {
        hexadecimal(self.0.raw_serial())
    }

    /// Subject.
    pub fn subject(&self) -> String {
        self.0.subject().to_string()
    }

    /// Issuer.
    pub fn issuer(&self) -> String {
        self.0.issuer().to_string()
    }

    /// Start of its validity, in seconds since 1970.
    pub fn not_before(&self) -> i64 {
        self.0.validity().not_before.timestamp()
    }

    /// End of its validity, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.0.validity().not_after.timestamp()
    }

    /// Subject alternative names in the order of the certificate, without other kinds of names and addresses of an invalid
    /// length.
    pub fn alternative_names(&self) -> Result<Vec<AlternativeName>, InspectError> {
        let extension = self.0.subject_alternative_name().map_err(damaged)?;
        let names = extension.iter().flat_map(|san| &san.value.general_names);
        Ok(names.filter_map(alternative_name).collect())
    }

    /// Its public key, as a SubjectPublicKeyInfo in DER.
    pub fn public_key_info(&self) -> &'a [u8] {
        self.0.tbs_certificate.subject_pki.raw
    }

    /// The content of its public key's algorithm, and the key itself, as signature algorithms want them.
    pub fn public_key(&self) -> Option<(&'a [u8], &'a [u8])> {
        der::public_key(self.public_key_info())
    }

    /// Whether its public key is this one, given as a SubjectPublicKeyInfo in DER. How the algorithm is encoded makes no
    /// difference.
    pub fn has_public_key(&self, info: &[u8]) -> bool {
        let own = der::public_key(self.public_key_info());
        own.is_some() && own.map(|(_, key)| key) == der::public_key(info).map(|(_, key)| key)
    }

    /// The size of its key in bits, if that is an RSA key.
    pub fn rsa_bits(&self) -> Option<usize> {
        match self.0.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            _ => None,
        }
    }

    /// Whether it is a CA certificate.
    pub fn is_authority(&self) -> bool {
        self.0.is_ca()
    }

    /// Whether it is valid as a server certificate. Without an extended key usage it is valid for everything.
    pub fn is_for_servers(&self) -> Result<bool, InspectError> {
        let usage = self.0.extended_key_usage().map_err(damaged)?;
        Ok(usage.is_none_or(|usage| usage.value.server_auth))
    }
}

fn alternative_name(name: &GeneralName<'_>) -> Option<AlternativeName> {
    match name {
        GeneralName::DNSName(name) => Some(AlternativeName::Host(Host::Name((*name).to_owned()))),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or(v6).ok()?;
            Some(AlternativeName::Host(Host::Address(address)))
        }
        GeneralName::RFC822Name(text) => Some(AlternativeName::Email((*text).to_owned())),
        GeneralName::URI(text) => Some(AlternativeName::Uri((*text).to_owned())),
        _ => None,
    }
}

fn damaged(error: impl ToString) -> InspectError {
    InspectError::Damaged(error.to_string())
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn alternative_names_of_every_kind_keep_their_order() {
        let text = |text: &str| Ia5String::try_from(text).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::Rfc822Name(text("a@example.org")),
            SanType::DnsName(text("*.example.org")),
            SanType::URI(text("spiffe://example.org/a")),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
        ];
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = Certificate::parse(signed.der())
            .unwrap()
            .alternative_names()
            .unwrap();
        let shown: Vec<String> = names.iter().map(ToString::to_string).collect();
        let expected = [
            "2001:db8::7",
            "a@example.org",
            "*.example.org",
            "spiffe://example.org/a",
            "192.0.2.7",
        ];
        assert_eq!(shown, expected);
        assert_eq!(
            names.first(),
            Some(&AlternativeName::Host("2001:db8::7".parse().unwrap()))
        );
    }

    #[test]
    fn bytes_after_its_end_are_refused() {
        let signed = CertificateParams::default()
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap();
        let longer = [signed.der().as_ref(), &[0]].concat();
        assert!(matches!(
            Certificate::parse(&longer),
            Err(InspectError::Damaged(_))
        ));
    }
}
