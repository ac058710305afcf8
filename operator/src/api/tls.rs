//! `spec.tls`: protocol versions, the server name and the serving certificate.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::issuer::IssuerSpec;

/// TLS settings of the metrics endpoint.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
        "has(self.serverName) == has(oldSelf.serverName) && (!has(self.serverName) || self.serverName == oldSelf.serverName)"
    ).message("serverName is immutable, because scrapers that still verify the old name would refuse every node; create a second SecureExporter instead"))]
pub struct TlsSpec {
    /// Lowest TLS version that the exporters accept: TLS12 or TLS13.
    #[serde(default)]
    pub min_version: MinTlsVersion,

    /// The DNS name in every serving certificate, which Prometheus verifies. Default: <name>.<namespace>.svc. Immutable.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,

    /// Who signs the serving certificate.
    #[serde(default)]
    pub issuer: IssuerSpec,

    /// The serving certificate of the exporters. Has no effect if spec.tls.issuer.type is Provided.
    #[serde(default)]
    pub certificate: CertificateSpec,
}

/// Lowest TLS version that the exporters accept.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinTlsVersion {
    /// TLS 1.2, for scrapers older than 2018.
    #[serde(rename = "TLS12")]
    Tls12,
    /// TLS 1.3.
    #[default]
    #[serde(rename = "TLS13")]
    Tls13,
}

/// The serving certificate of the exporters. The operator renews it automatically, without restarting a pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// How long a certificate is valid, counted from its issue, in hours, minutes and seconds: 8760h is one year. From 1m to
    /// 43800h (five years, half the lifetime of the CA).
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') && duration(self) >= duration('1m') && duration(self) <= duration('43800h')")
        .message("duration must be between 1m and 43800h, in hours, minutes and seconds: use 2160h for 90 days"))]
    #[schemars(length(max = 24))]
    #[serde(default = "default_duration")]
    pub duration: String,

    /// How much of its lifetime is left, in percent, when a certificate is renewed: with 33, a certificate that is valid for
    /// a year is renewed after eight months.
    #[schemars(range(min = 5, max = 90))]
    #[serde(default = "default_renew_before_percentage")]
    pub renew_before_percentage: i32,

    /// The private key of the certificate. Every renewal generates a new one.
    #[serde(default)]
    pub private_key: PrivateKeySpec,

    /// The subject of the certificate. It is informational: scrapers do not verify it.
    #[serde(default)]
    pub subject: SubjectSpec,

    /// Additional DNS names in the certificate, besides the server name.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(max = 32),
        inner(
            length(min = 1, max = 253),
            regex(
                pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
            )
        )
    )]
    #[serde(
        default,
        rename = "additionalDNSNames",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub additional_dns_names: Vec<String>,

    /// IP addresses in the certificate.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 64), inner(length(min = 2, max = 45)))]
    #[serde(
        default,
        rename = "additionalIPAddresses",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub additional_ip_addresses: Vec<String>,
}

impl Default for CertificateSpec {
    fn default() -> Self {
        Self {
            duration: default_duration(),
            renew_before_percentage: default_renew_before_percentage(),
            private_key: PrivateKeySpec::default(),
            subject: SubjectSpec::default(),
            additional_dns_names: Vec::new(),
            additional_ip_addresses: Vec::new(),
        }
    }
}

fn default_duration() -> String {
    "8760h".to_owned()
}

fn default_renew_before_percentage() -> i32 {
    33
}

/// The private key of the certificate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
        "!has(self.size) || (self.algorithm == 'ECDSA' ? self.size in [256, 384] : self.algorithm == 'RSA' ? self.size in [2048, 3072, 4096] : false)"
    ).message("size must be 256 or 384 for ECDSA, 2048, 3072 or 4096 for RSA, and unset for Ed25519"))]
pub struct PrivateKeySpec {
    /// ECDSA, RSA or Ed25519.
    #[serde(default)]
    pub algorithm: KeyAlgorithm,

    /// Key size in bits: 256 (default) or 384 for ECDSA; 2048 (default), 3072 or 4096 for RSA; must not be set for Ed25519.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,
}

/// The algorithm of a private key.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// Small and fast; every scraper supports it.
    #[default]
    #[serde(rename = "ECDSA")]
    Ecdsa,
    /// For security policies that demand RSA.
    #[serde(rename = "RSA")]
    Rsa,
    /// Small and fast; some security scanners do not support it.
    Ed25519,
}

/// The subject of a certificate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SubjectSpec {
    /// Common name (CN). Default: the name of the SecureExporter.
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,

    /// Organisation (O).
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,

    /// Organisational unit (OU).
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizational_unit: Option<String>,

    /// Country (C): two capital letters, for example CH.
    #[schemars(length(max = 2), regex(pattern = r"^[A-Z]{2}$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,

    /// State or province (ST).
    #[schemars(length(min = 1, max = 128))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub province: Option<String>,

    /// Locality (L).
    #[schemars(length(min = 1, max = 128))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
}
