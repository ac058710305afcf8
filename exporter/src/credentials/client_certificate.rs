//! Decides which client certificates are accepted. This happens after the handshake, and again for verdicts of another
//! handshake: a resumed session skips verification, and a connection may outlive the snapshot that it was opened with.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use secure_exporter_pki::Certificate;
use secure_exporter_web_config::ClientAuthType;

/// The requirements for a client's certificate, beyond the checks of the handshake.
#[derive(Debug, Clone)]
pub(crate) struct ClientPolicy {
    required: bool,
    verified: bool,
    /// The verifier of the handshake; `None` if no certificate is requested.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    allowed_sans: Option<Vec<String>>,
}

/// How the policy judges a connection's client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Fine,
    CertificateMissing,
    /// Its CA was removed, or it has expired.
    NotTrusted,
    NameNotAllowed,
}

impl ClientPolicy {
    pub(crate) fn new(
        kind: ClientAuthType,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
        allowed_sans: Option<Vec<String>>,
    ) -> Self {
        let required = matches!(
            kind,
            ClientAuthType::RequireAnyClientCert | ClientAuthType::RequireAndVerifyClientCert
        );
        let verified = matches!(
            kind,
            ClientAuthType::VerifyClientCertIfGiven | ClientAuthType::RequireAndVerifyClientCert
        );
        Self {
            required,
            verified,
            verifier,
            allowed_sans,
        }
    }

    /// Whether the handshake only accepts certificates of a client CA.
    pub(crate) fn verifies(&self) -> bool {
        self.verified
    }

    /// Judges a chain that this policy's own handshake has not verified.
    pub(crate) fn verify_and_judge(
        &self,
        presented: Option<&[CertificateDer<'_>]>,
        now: UnixTime,
    ) -> Standing {
        let trusted = match (&self.verifier, presented.and_then(<[_]>::split_first)) {
            (Some(verifier), Some((leaf, intermediates))) => verifier
                .verify_client_cert(leaf, intermediates, now)
                .is_ok(),
            _ => true,
        };
        if trusted {
            self.judge(presented)
        } else {
            Standing::NotTrusted
        }
    }

    /// Judges a chain that the handshake has just verified.
    pub(crate) fn judge(&self, presented: Option<&[CertificateDer<'_>]>) -> Standing {
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

/// Returns no names if the certificate or its extension cannot be read.
fn subject_alternative_names(der: &[u8]) -> Vec<String> {
    let names = Certificate::parse(der).and_then(|certificate| certificate.alternative_names());
    let names = names.unwrap_or_default();
    names.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
    use secure_exporter_pki::TrustAnchors;

    use super::*;
    use crate::credentials::client_verifier::TrustedCertificate;

    #[test]
    fn names_are_compared_exactly_and_absence_only_where_required() {
        let names = ["prometheus.example", "10.0.0.7", "a@b.c"]
            .map(str::to_owned)
            .to_vec();
        let certificate = rcgen::generate_simple_self_signed(names).unwrap().cert;
        let chain = [certificate.der().clone()];
        let judge = |kind, allowed: Option<&str>, presented| {
            ClientPolicy::new(kind, None, allowed.map(|name| vec![name.to_owned()]))
                .judge(presented)
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
    #[test]
    fn an_earlier_verdict_does_not_outlive_authority_or_certificate() {
        let (ours, other) = (authority(), authority());
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["prometheus.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 1);
        let chain = [params.signed_by(&key, &ours).unwrap().der().clone()];
        let judge = |authority: &CertifiedIssuer<'_, KeyPair>, allowed: &str, seconds| {
            let mut anchors = TrustAnchors::default();
            anchors.add(authority.der().clone()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let verifier = Arc::new(TrustedCertificate::new(anchors, &provider));
            let kind = ClientAuthType::RequireAndVerifyClientCert;
            ClientPolicy::new(kind, Some(verifier), Some(vec![allowed.to_owned()]))
                .verify_and_judge(
                    Some(&chain),
                    UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
                )
        };
        const IN_TIME: u64 = 1_750_000_000;
        const LATER: u64 = 1_800_000_000;
        let name = "prometheus.example";
        assert_eq!(judge(&ours, name, IN_TIME), Standing::Fine);
        assert_eq!(judge(&ours, "x", IN_TIME), Standing::NameNotAllowed);
        assert_eq!(judge(&ours, name, LATER), Standing::NotTrusted);
        assert_eq!(judge(&other, name, IN_TIME), Standing::NotTrusted);
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }
}
