//! Which client certificates are good enough, decided after the handshake.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::DigitallySignedStruct;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use secure_exporter_web_config::ClientAuthType;
use x509_parser::extensions::GeneralName;

/// What is asked of a client's certificate, once the handshake has checked the chain where it has to.
#[derive(Debug, Clone)]
pub(super) struct ClientPolicy {
    required: bool,
    allowed_sans: Option<Vec<String>>,
}

/// How a connection's client stands under the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Fine,
    CertificateMissing,
    NameNotAllowed,
}

impl ClientPolicy {
    pub(super) fn new(kind: ClientAuthType, allowed_sans: Option<Vec<String>>) -> Self {
        let required = matches!(
            kind,
            ClientAuthType::RequireAnyClientCert | ClientAuthType::RequireAndVerifyClientCert
        );
        Self {
            required,
            allowed_sans,
        }
    }

    pub(super) fn judge(&self, presented: Option<&[CertificateDer<'_>]>) -> Standing {
        match (presented.and_then(<[_]>::first), &self.allowed_sans) {
            (None, _) if self.required => Standing::CertificateMissing,
            (None, _) | (Some(_), None) => Standing::Fine,
            (Some(leaf), Some(allowed)) => {
                let sans = subject_alternative_names(leaf);
                if sans.iter().any(|san| allowed.contains(san)) {
                    Standing::Fine
                } else {
                    Standing::NameNotAllowed
                }
            }
        }
    }
}

fn subject_alternative_names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|bytes| IpAddr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| IpAddr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(text)
        .collect()
}

/// Takes any certificate whose key the client holds: what `RequestClientCert` and `RequireAnyClientCert` promise.
#[derive(Debug)]
pub(super) struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    pub(super) fn new(provider: &Arc<CryptoProvider>) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_exactly_and_absence_only_where_required() {
        let names = ["prometheus.example", "10.0.0.7", "a@b.c"]
            .map(str::to_owned)
            .to_vec();
        let certificate = rcgen::generate_simple_self_signed(names).unwrap().cert;
        let chain = [certificate.der().clone()];
        let judge = |kind, allowed: Option<&str>, presented| {
            ClientPolicy::new(kind, allowed.map(|name| vec![name.to_owned()])).judge(presented)
        };
        let required = ClientAuthType::RequireAndVerifyClientCert;
        assert_eq!(judge(required, None, None), Standing::CertificateMissing);
        assert_eq!(
            judge(ClientAuthType::VerifyClientCertIfGiven, Some("x"), None),
            Standing::Fine
        );
        for name in ["prometheus.example", "10.0.0.7"] {
            assert_eq!(
                judge(required, Some(name), Some(&chain)),
                Standing::Fine,
                "{name}"
            );
        }
        assert_eq!(
            judge(required, Some("*.example"), Some(&chain)),
            Standing::NameNotAllowed
        );
    }
}
