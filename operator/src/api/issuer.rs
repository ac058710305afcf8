//! `spec.tls.issuer`: who signs the certificate that the exporters serve.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who signs the certificate that every exporter serves. It may change on a resource that runs: scrapers are told to trust
/// both issuers before the certificate of the next one is served, and no scrape fails.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.provided) == (self.type == 'Provided')")
        .message("provided must be set if, and only if, type is Provided"),
    validation = Rule::new("has(self.certManager) == (self.type == 'CertManager')")
        .message("certManager must be set if, and only if, type is CertManager"),
)]
pub struct IssuerSpec {
    /// Managed: the operator's own certificate authority, one for each SecureExporter. Provided: a Secret of yours, which
    /// you keep renewed. CertManager: an issuer of cert-manager.
    #[serde(default, rename = "type")]
    pub type_: IssuerType,

    /// The Secret of yours, where type is Provided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provided: Option<ProvidedIssuer>,

    /// The issuer of cert-manager, where type is CertManager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<CertManagerIssuer>,
}

/// Who signs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssuerType {
    /// The operator's own authority.
    #[default]
    Managed,
    /// Somebody else; a Secret holds what they signed.
    Provided,
    /// An issuer of cert-manager.
    CertManager,
}

/// A certificate of your own. spec.tls.certificate does not apply to it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProvidedIssuer {
    /// Name of the Secret, in the namespace of the SecureExporter. Its tls.crt is the certificate (intermediates after it),
    /// its tls.key the private key, as in a Secret of type kubernetes.io/tls. The server name must be among the
    /// certificate's DNS names. The Secret is checked and copied, and never written; what does not pass the check is not
    /// used, and the condition CertificateValid says why.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,

    /// Where the authorities are that scrapers shall trust, PEM. Default: the key ca.crt of the same Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
}

/// An issuer of cert-manager.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CertManagerIssuer {
    /// The issuer that signs.
    pub issuer_ref: IssuerRef,

    /// Where the authorities are that scrapers shall trust, PEM. Default: the one that the issuer names with each
    /// certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
}

/// A reference to an issuer of cert-manager.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct IssuerRef {
    /// Name of the issuer.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Issuer, in the namespace of the SecureExporter, or ClusterIssuer.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default = "default_issuer_kind")]
    pub kind: String,

    /// API group of the issuer; other ones are those of external issuers.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default = "default_issuer_group")]
    pub group: String,
}

fn default_issuer_kind() -> String {
    "Issuer".to_owned()
}

fn default_issuer_group() -> String {
    "cert-manager.io".to_owned()
}

/// Where a trust bundle is: a key of a Secret or of a ConfigMap in the namespace of the SecureExporter.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
    .message("exactly one of secretKeyRef and configMapKeyRef must be set"))]
pub struct CaBundleRef {
    /// A key of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,

    /// A key of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of an object.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
