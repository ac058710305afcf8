//! Creates certificate signing requests (PKCS #10).

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PublicKeyData as _};

use crate::error::{InspectError, IssueError};
use crate::issue::LeafParameters;
use crate::key::key_pem;
use crate::pem::unix_lines;
use crate::secret_text::SecretText;

/// A certificate signing request and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningRequest {
    /// The request, PEM.
    pub request_pem: String,
    /// The private key, PEM (PKCS #8).
    pub key_pem: SecretText,
}

impl SigningRequest {
    /// Checks that both can be parsed and match.
    pub fn check(&self) -> Result<(), InspectError> {
        let request = CertificateSigningRequestParams::from_pem(&self.request_pem)
            .map_err(|error| InspectError::Damaged(error.to_string()))?;
        let key = KeyPair::from_pem(self.key_pem.expose()).map_err(|_| InspectError::NoKey)?;
        if request.public_key.der_bytes() == key.der_bytes() {
            return Ok(());
        }
        Err(InspectError::KeyMismatch)
    }
}

/// Generates a key and a signing request with the subject and the names that [`issue_leaf`](crate::issue_leaf) would use.
/// It contains no usages and no lifetime, which are submitted separately.
///
/// Generating an RSA key takes up to seconds: call it outside the async workers.
pub fn request_leaf(parameters: &LeafParameters) -> Result<SigningRequest, IssueError> {
    let key = parameters.key_type.generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = parameters.subject.distinguished_name()?;
    params.subject_alt_names = parameters.subject_alt_names()?;
    let request = params.serialize_request(&key)?;
    Ok(SigningRequest {
        request_pem: unix_lines(request.pem()?),
        key_pem: key_pem(&key),
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject};
    use x509_parser::prelude::{FromDer, X509CertificationRequest};

    use super::*;
    use crate::{KeyType, Subject};

    #[test]
    fn the_request_contains_names_and_subject_and_is_signed_by_its_key() {
        let parameters = LeafParameters {
            key_type: KeyType::EcdsaP384,
            subject: Subject {
                common_name: "nodes".into(),
                organization: Some("Example".into()),
                organizational_unit: None,
                country: Some("CH".into()),
                province: None,
                locality: None,
            },
            dns_names: vec!["nodes.monitoring.svc".into(), "*.example.com".into()],
            ip_addresses: vec!["10.0.0.1".parse().unwrap()],
            duration: SignedDuration::from_hours(1),
        };
        let asked = request_leaf(&parameters).unwrap();
        let der =
            CertificateSigningRequestDer::from_pem_slice(asked.request_pem.as_bytes()).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        request.verify_signature().unwrap();
        let subject = request.certification_request_info.subject.to_string();
        assert_eq!(subject, "C=CH, O=Example, CN=nodes");
        let extensions: Vec<String> = request
            .requested_extensions()
            .unwrap()
            .map(|extension| format!("{extension:?}"))
            .collect();
        assert_eq!(extensions.len(), 1, "{extensions:?}");
        for name in ["nodes.monitoring.svc", "*.example.com", "[10, 0, 0, 1]"] {
            assert!(extensions[0].contains(name), "{extensions:?}");
        }
        assert!(asked.key_pem.expose().contains("PRIVATE KEY"));
        asked.check().unwrap();
        let other = request_leaf(&parameters).unwrap();
        assert_ne!(other.key_pem, asked.key_pem);
        let mixed = SigningRequest {
            key_pem: other.key_pem,
            ..asked
        };
        assert_eq!(mixed.check(), Err(InspectError::KeyMismatch));
    }
}
