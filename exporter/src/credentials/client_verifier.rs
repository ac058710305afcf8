//! The verifiers of client certificates in the handshake. A client without a certificate always passes, because probes have
//! none. Required certificates are enforced for each request.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use secure_exporter_pki::{Certificate, ChainError, NameConstraints, TrustAnchors};

/// Accepts certificates that chain to a certificate of the client CA bundle.
#[derive(Debug)]
pub(crate) struct TrustedCertificate {
    anchors: TrustAnchors,
    subjects: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl TrustedCertificate {
    pub(crate) fn new(anchors: TrustAnchors, provider: &Arc<CryptoProvider>) -> Self {
        let subjects = anchors.subjects();
        Self {
            subjects: subjects
                .map(|subject| DistinguishedName::from(subject.to_vec()))
                .collect(),
            anchors,
            provider: provider.clone(),
        }
    }

    /// webpki checks name constraints. It only receives the CAs that may sign now.
    fn check_names(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.anchors.issuers(seconds(now)).cloned());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|_| CertificateError::UnknownIssuer)?
            .verify_client_cert(leaf, intermediates, now)
    }
}

impl ClientCertVerifier for TrustedCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let verified = self
            .anchors
            .verify_client(leaf, intermediates, seconds(now), algorithms);
        match verified.map_err(refusal)? {
            NameConstraints::Absent => Ok(ClientCertVerified::assertion()),
            NameConstraints::Present => self.check_names(leaf, intermediates, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Accepts any certificate whose key the client holds, as `RequestClientCert` and `RequireAnyClientCert` promise.
#[derive(Debug)]
pub(crate) struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    pub(crate) fn new(provider: &Arc<CryptoProvider>) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
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

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Returns the refusal whose alert is the most specific for the client.
fn refusal(error: ChainError) -> CertificateError {
    match error {
        ChainError::Damaged => CertificateError::BadEncoding,
        ChainError::NotYetValid => CertificateError::NotValidYet,
        ChainError::Expired => CertificateError::Expired,
        ChainError::UnknownIssuer => CertificateError::UnknownIssuer,
        ChainError::BadSignature => CertificateError::BadSignature,
        ChainError::Purpose => CertificateError::InvalidPurpose,
        ChainError::CriticalExtension => CertificateError::UnhandledCriticalExtension,
        ChainError::UnsupportedSignature
        | ChainError::WeakKey
        | ChainError::NotAuthority
        | ChainError::PathLength
        | ChainError::TooLong => CertificateError::Other(OtherError(Arc::new(error))),
    }
}

/// rustls' own function does not accept certificates of version 1, whose keys are no different.
fn verify_tls13_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let certificate = Certificate::parse(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let key = SubjectPublicKeyInfoDer::from(certificate.public_key_info());
    verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
}

/// Like [`verify_tls13_signature`], which rustls only offers for TLS 1.3.
fn verify_tls12_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let certificate = Certificate::parse(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let (key_algorithm, key) = certificate
        .public_key()
        .ok_or(CertificateError::BadEncoding)?;
    let of_scheme = algorithms
        .mapping
        .iter()
        .filter(|(scheme, _)| *scheme == signature.scheme)
        .flat_map(|(_, algorithms)| *algorithms);
    let mut fitting =
        of_scheme.filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm);
    let is_valid = fitting.any(|algorithm| {
        let verified = algorithm.verify_signature(key, message, signature.signature());
        verified.is_ok()
    });
    match is_valid {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(CertificateError::BadSignature.into()),
    }
}
