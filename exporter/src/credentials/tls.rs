//! Creates a TLS server from a file set.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite as Suite, NamedGroup, ServerConfig, SupportedProtocolVersion};
use secure_exporter_pki::Certificate;
use secure_exporter_web_config::{CipherSuite, ClientAuthType, Curve, TlsServerConfig, TlsVersion};
use sha2::{Digest as _, Sha256};

use super::client_ca::{self, ClientCas};
use super::client_certificate::ClientPolicy;
use super::client_verifier::{AnyCertificate, TrustedCertificate};
use super::files::Pem;
use super::last_use::hexadecimal;
use crate::clock::unix_now;

/// The TLS library refuses smaller RSA keys.
const MIN_RSA_BITS: usize = 2048;

/// The TLS server of one snapshot.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) clients: ClientPolicy,
    pub(crate) leaf: Leaf,
    /// What is wrong with files that are not essential.
    pub(crate) warnings: Vec<String>,
}

impl Tls {
    pub(crate) fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!(%warning, "part of the TLS configuration is ignored");
        }
    }
}

/// The properties of the serving certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Lower-case hexadecimal, without separators or leading zeros.
    pub(crate) serial: String,
    /// SHA-256 of its DER, in lower-case hexadecimal.
    pub(crate) sha256_fingerprint: String,
    /// Seconds since the epoch.
    pub(crate) not_before: i64,
    /// Seconds since the epoch.
    pub(crate) not_after: i64,
}

/// Why TLS cannot be served from a file set.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file has the wrong content.
    #[error("{origin}: {problem}")]
    Content {
        /// The file, or the key of the configuration.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate and the key do not match.
    #[error(
        "the certificate in {certificate} and the key in {key} do not match: use the key that the certificate was issued for"
    )]
    Pair {
        /// Where the certificate came from.
        certificate: String,
        /// Where the key came from.
        key: String,
    },
    /// A curve that the TLS library does not support.
    #[error("tls_server_config.curve_preferences: {0} is not supported; remove it")]
    Curve(&'static str),
    /// The settings contradict each other.
    #[error("tls_server_config: {0}")]
    Settings(String),
}

/// Creates the server. `http2` decides what ALPN offers.
pub(super) fn build(
    config: &TlsServerConfig,
    certificate: &Pem,
    key: &Pem,
    client_ca: Option<&Pem>,
    http2: bool,
) -> Result<Tls, TlsError> {
    let provider = Arc::new(provider(config)?);
    let pair = certified_key(certificate, key, &provider)?;
    let leaf = describe(&pair, certificate)?;
    let kind = config.client_auth_type.unwrap_or_default();
    let mut warnings = Vec::new();
    let verifier = client_verifier(kind, client_ca, &provider, &mut warnings)?;
    let settings = |error: rustls::Error| TlsError::Settings(error.to_string());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(config))
        .map_err(settings)?;
    let builder = match &verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    server.ignore_client_order = true;
    server.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    let clients = ClientPolicy::new(kind, verifier, config.client_allowed_sans.clone());
    Ok(Tls {
        server: Arc::new(server),
        clients,
        leaf,
        warnings,
    })
}

fn provider(config: &TlsServerConfig) -> Result<CryptoProvider, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    if config.cipher_suites.iter().any(|suite| !suite.is_tls13()) {
        let wanted: Vec<Suite> = config.cipher_suites.iter().copied().map(suite).collect();
        // As in Go, the cipher suites of TLS 1.3 cannot be configured.
        provider
            .cipher_suites
            .retain(|one| one.tls13().is_some() || wanted.contains(&one.suite()));
    }
    if !config.curve_preferences.is_empty() {
        provider.kx_groups = config
            .curve_preferences
            .iter()
            .copied()
            .map(group)
            .collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

fn versions(config: &TlsServerConfig) -> Vec<&'static SupportedProtocolVersion> {
    let min = config.min_version.unwrap_or(TlsVersion::Tls12);
    let max = config.max_version.unwrap_or(TlsVersion::Tls13);
    let all = [
        (TlsVersion::Tls13, &rustls::version::TLS13),
        (TlsVersion::Tls12, &rustls::version::TLS12),
    ];
    all.into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .map(|(_, version)| version)
        .collect()
}

fn certified_key(
    certificate: &Pem,
    key: &Pem,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let first = chain.first().map(|leaf| Certificate::parse(leaf));
    let Some(Ok(leaf)) = first else {
        return Err(not_x509(certificate));
    };
    let private = private_key(key)?;
    let signing = provider
        .key_provider
        .load_private_key(private)
        .map_err(|_| unusable_key(&leaf, certificate, key))?;
    // A server need not check its own certificate by the rules of webpki.
    match signing.public_key() {
        Some(public) if !leaf.has_public_key(&public) => Err(TlsError::Pair {
            certificate: certificate.origin.clone(),
            key: key.origin.clone(),
        }),
        _ => Ok(CertifiedKey::new(chain, signing)),
    }
}

fn private_key(key: &Pem) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| {
        let text = String::from_utf8_lossy(&key.bytes);
        let is_encrypted =
            text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED");
        let problem = if is_encrypted {
            "the private key is encrypted, which is not supported: decrypt it with `openssl pkey`"
        } else if text.contains("BEGIN CERTIFICATE") {
            "this is a certificate, not a private key: give the file of the key"
        } else {
            "no PEM private key found (PKCS#8, PKCS#1 or SEC1)"
        };
        TlsError::Content {
            origin: key.origin.clone(),
            problem: problem.to_owned(),
        }
    })
}

/// Explains why a key that can be read cannot be used. If the certificate belongs to the key, it shows the reason.
fn unusable_key(leaf: &Certificate<'_>, certificate: &Pem, key: &Pem) -> TlsError {
    let problem = match leaf.rsa_bits() {
        Some(bits) if bits < MIN_RSA_BITS => format!(
            "the RSA key of the certificate in {} has {bits} bits, which is too weak: use a key of at least {MIN_RSA_BITS}",
            certificate.origin
        ),
        _ => "the private key is damaged or of an unsupported type: use RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519".to_owned(),
    };
    TlsError::Content {
        origin: key.origin.clone(),
        problem,
    }
}

fn not_x509(certificate: &Pem) -> TlsError {
    TlsError::Content {
        origin: certificate.origin.clone(),
        problem: "the first certificate is not X.509".into(),
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |problem: String| TlsError::Content {
        origin: pem.origin.clone(),
        problem,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(format!("not a sequence of PEM certificates: {error}")))?;
    if chain.is_empty() {
        Err(wrong("no PEM certificate found".into()))
    } else {
        Ok(chain)
    }
}

fn describe(pair: &CertifiedKey, certificate: &Pem) -> Result<Leaf, TlsError> {
    let wrong = || not_x509(certificate);
    let der = pair.cert.first().ok_or_else(wrong)?;
    let leaf = Certificate::parse(der).map_err(|_| wrong())?;
    let serial = match leaf.serial_number().trim_start_matches('0') {
        "" => "0".to_owned(),
        serial => serial.to_owned(),
    };
    Ok(Leaf {
        serial,
        sha256_fingerprint: hexadecimal(&Sha256::digest(der)),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
    })
}

/// A client without a certificate always passes the handshake, because probes have none. Required certificates are enforced
/// for each request.
fn client_verifier(
    kind: ClientAuthType,
    ca: Option<&Pem>,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Vec<String>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    match kind {
        ClientAuthType::NoClientCert => Ok(None),
        ClientAuthType::RequestClientCert | ClientAuthType::RequireAnyClientCert => {
            Ok(Some(Arc::new(AnyCertificate::new(provider))))
        }
        ClientAuthType::VerifyClientCertIfGiven | ClientAuthType::RequireAndVerifyClientCert => {
            let ca = ca.ok_or_else(|| {
                TlsError::Settings(format!("{} without client_ca_file", kind.as_str()))
            })?;
            let ClientCas {
                anchors,
                warnings: found,
            } = client_ca::read(ca, unix_now());
            if anchors.is_empty() {
                let problem = match found.is_empty() {
                    true => "no PEM certificate found".to_owned(),
                    false => format!("no usable certificate: {}", found.join("; ")),
                };
                return Err(TlsError::Content {
                    origin: ca.origin.clone(),
                    problem,
                });
            }
            warnings.extend(found);
            Ok(Some(Arc::new(TrustedCertificate::new(anchors, provider))))
        }
    }
}

fn suite(name: CipherSuite) -> Suite {
    match name {
        CipherSuite::EcdheEcdsaAes128Gcm => Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheEcdsaAes256Gcm => Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheEcdsaChaCha20 => Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdheRsaAes128Gcm => Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheRsaAes256Gcm => Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheRsaChaCha20 => Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::Tls13Aes128Gcm => Suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Tls13Aes256Gcm => Suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Tls13ChaCha20 => Suite::TLS13_CHACHA20_POLY1305_SHA256,
    }
}

fn group(curve: Curve) -> Result<&'static dyn SupportedKxGroup, TlsError> {
    let name = match curve {
        Curve::X25519 => NamedGroup::X25519,
        Curve::P256 => NamedGroup::secp256r1,
        Curve::P384 => NamedGroup::secp384r1,
        Curve::P521 => NamedGroup::secp521r1,
    };
    aws_lc_rs::ALL_KX_GROUPS
        .iter()
        .find(|group| group.name() == name)
        .copied()
        .ok_or(TlsError::Curve(curve.as_str()))
}
