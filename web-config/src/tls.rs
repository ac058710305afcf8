//! `tls_server_config`: the format's names, limited to secure settings.

use std::fmt;

/// TLS settings of the listener. The default has no certificate, so no server accepts it; a file needs one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsServerConfig {
    /// Path of the PEM certificate chain, the serving certificate first. Takes precedence over `cert`.
    pub cert_file: Option<String>,
    /// Path of the PEM private key. Takes precedence over `key`.
    pub key_file: Option<String>,
    /// The PEM certificate chain.
    pub cert: Option<String>,
    /// The PEM private key, which is secret.
    pub key: Option<String>,
    /// Path of the PEM bundle with which client certificates are verified. Takes precedence over `client_ca`.
    pub client_ca_file: Option<String>,
    /// The PEM bundle for client certificates.
    pub client_ca: Option<String>,
    /// The requirements for client certificates; `None` is the same as `NoClientCert`, but left out of the file.
    pub client_auth_type: Option<ClientAuthType>,
    /// One of these must exactly match a subject alternative name of the client certificate; `None` allows all.
    pub client_allowed_sans: Option<Vec<String>>,
    /// Minimum TLS version; `None` is TLS 1.2.
    pub min_version: Option<TlsVersion>,
    /// Maximum TLS version; `None` is TLS 1.3.
    pub max_version: Option<TlsVersion>,
    /// TLS 1.2 cipher suites to offer; empty offers the provider's defaults.
    pub cipher_suites: Vec<CipherSuite>,
    /// Accepted for compatibility; the server always prefers its own order.
    pub prefer_server_cipher_suites: Option<bool>,
    /// Key exchange groups to offer; empty offers the provider's defaults.
    pub curve_preferences: Vec<Curve>,
}

impl fmt::Debug for TlsServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServerConfig")
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .field("cert", &self.cert)
            .field("key", &self.key.as_ref().map(|_| "redacted"))
            .field("client_ca_file", &self.client_ca_file)
            .field("client_ca", &self.client_ca)
            .field("client_auth_type", &self.client_auth_type)
            .field("client_allowed_sans", &self.client_allowed_sans)
            .field("min_version", &self.min_version)
            .field("max_version", &self.max_version)
            .field("cipher_suites", &self.cipher_suites)
            .field(
                "prefer_server_cipher_suites",
                &self.prefer_server_cipher_suites,
            )
            .field("curve_preferences", &self.curve_preferences)
            .finish()
    }
}

/// A name of the format, or the error for an unknown one, which lists the allowed names.
pub(crate) type NameResult<T> = Result<T, String>;

/// The requirements for client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuthType {
    /// No certificate is requested.
    #[default]
    NoClientCert,
    /// Requested, but neither required nor verified.
    RequestClientCert,
    /// Required, but not verified.
    RequireAnyClientCert,
    /// Verified if there is one.
    VerifyClientCertIfGiven,
    /// Required and verified.
    RequireAndVerifyClientCert,
}

impl ClientAuthType {
    /// The name in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoClientCert => "NoClientCert",
            Self::RequestClientCert => "RequestClientCert",
            Self::RequireAnyClientCert => "RequireAnyClientCert",
            Self::VerifyClientCertIfGiven => "VerifyClientCertIfGiven",
            Self::RequireAndVerifyClientCert => "RequireAndVerifyClientCert",
        }
    }

    pub(crate) fn from_name(name: &str) -> NameResult<Self> {
        const ALL: [ClientAuthType; 5] = [
            ClientAuthType::NoClientCert,
            ClientAuthType::RequestClientCert,
            ClientAuthType::RequireAnyClientCert,
            ClientAuthType::VerifyClientCertIfGiven,
            ClientAuthType::RequireAndVerifyClientCert,
        ];
        // An older name of the same value.
        let canonical = if name == "RequireClientCert" {
            "RequireAnyClientCert"
        } else {
            name
        };
        ALL.into_iter()
            .find(|kind| kind.as_str() == canonical)
            .ok_or_else(|| {
                format!(
                    "invalid client_auth_type {name:?}; one of: {}",
                    ALL.map(Self::as_str).join(", ")
                )
            })
    }
}

/// A supported TLS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `TLS12`
    Tls12,
    /// `TLS13`
    Tls13,
}

impl TlsVersion {
    /// The name in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "TLS12",
            Self::Tls13 => "TLS13",
        }
    }

    pub(crate) fn from_name(name: &str) -> NameResult<Self> {
        match name {
            "TLS12" => Ok(Self::Tls12),
            "TLS13" => Ok(Self::Tls13),
            "TLS10" | "TLS11" => Err(format!(
                "{name} is insecure (RFC 8996) and not supported; use TLS12 or TLS13, or remove the key"
            )),
            _ => Err(format!("unknown TLS version {name:?}; use TLS12 or TLS13")),
        }
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(non_camel_case_types)]
        pub enum $kind { $(#[doc = concat!("`", $name, "`")] $variant,)* }

        impl $kind {
            const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in the file.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            fn known() -> String {
                Self::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ")
            }
        }
    };
}

names! {
    /// A cipher suite with forward secrecy and authenticated encryption. Suites of TLS 1.3 may be listed, but are always
    /// offered with TLS 1.3.
    CipherSuite {
        EcdheEcdsaAes128Gcm = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        EcdheEcdsaAes256Gcm = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        EcdheEcdsaChaCha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        EcdheRsaAes128Gcm = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        EcdheRsaAes256Gcm = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        EcdheRsaChaCha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Tls13Aes128Gcm = "TLS_AES_128_GCM_SHA256",
        Tls13Aes256Gcm = "TLS_AES_256_GCM_SHA384",
        Tls13ChaCha20 = "TLS_CHACHA20_POLY1305_SHA256",
    }
}

impl CipherSuite {
    pub(crate) fn from_name(name: &str) -> NameResult<Self> {
        if let Some(suite) = Self::ALL.iter().find(|suite| suite.as_str() == name) {
            return Ok(*suite);
        }
        let known = Self::known();
        Err(if name.contains("_CBC_") {
            format!("cipher suite {name} uses CBC, which is not supported; choose from: {known}")
        } else {
            format!("unknown cipher suite {name:?}; choose from: {known}")
        })
    }

    /// Whether the suite belongs to TLS 1.3.
    #[must_use]
    pub fn is_tls13(self) -> bool {
        matches!(
            self,
            Self::Tls13Aes128Gcm | Self::Tls13Aes256Gcm | Self::Tls13ChaCha20
        )
    }
}

names! {
    /// A key exchange group.
    Curve {
        X25519 = "X25519",
        P256 = "CurveP256",
        P384 = "CurveP384",
        P521 = "CurveP521",
    }
}

impl Curve {
    pub(crate) fn from_name(name: &str) -> NameResult<Self> {
        Self::ALL
            .iter()
            .find(|curve| curve.as_str() == name)
            .copied()
            .ok_or_else(|| format!("unknown curve {name:?}; choose from: {}", Self::known()))
    }
}
