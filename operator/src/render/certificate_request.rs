//! CertificateRequest `<name>-<hash of the signing request>`, rendered from the spec and the order.

use k8s_openapi::ByteString;

use crate::{
    api::IssuerRef,
    names::Owner,
    rotation::order::Order,
    spec::ValidSpec,
    supplied::cert_manager::{CertificateRequest, CertificateRequestSpec},
};

/// Renders the CertificateRequest that submits `request` to `issuer`.
pub fn certificate_request(
    spec: &ValidSpec,
    owner: &Owner,
    issuer: &IssuerRef,
    request: &Order,
) -> CertificateRequest {
    let request_pem = request.signing.request_pem.as_bytes();
    CertificateRequest {
        metadata: owner.child(owner.certificate_request(&request.hash())),
        spec: CertificateRequestSpec {
            request: ByteString(request_pem.to_vec()),
            duration: Some(format!(
                "{}s",
                spec.certificate.parameters.duration.as_secs()
            )),
            usages: USAGES.map(str::to_owned).to_vec(),
            issuer_ref: issuer.clone(),
        },
        status: None,
    }
}

/// The usages of a serving certificate. Key encipherment is for RSA keys with TLS 1.2.
const USAGES: [&str; 3] = ["digital signature", "key encipherment", "server auth"];
