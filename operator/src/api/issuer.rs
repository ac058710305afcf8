//! `spec.tls.issuer`: who signs the serving certificate.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who signs the serving certificate of the exporters. It can be changed while exporters run: the CA bundle contains both
/// issuers before the exporters serve a certificate of the new one, so that no scrape fails.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.provided) == (self.type == 'Provided')")
        .message("provided must be set if and only if type is Provided"),
    validation = Rule::new("has(self.certManager) == (self.type == 'CertManager')")
        .message("certManager must be set if and only if type is CertManager"),
)]
pub struct IssuerSpec {
    /// Managed: the operator runs a CA for each SecureExporter. Provided: you supply the certificate in a Secret and keep it
    /// renewed. CertManager: a cert-manager issuer signs it.
    #[serde(default, rename = "type")]
    pub type_: IssuerType,

    /// The Secret with the certificate. Required if type is Provided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provided: Option<ProvidedIssuer>,

    /// The cert-manager issuer. Required if type is CertManager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<CertManagerIssuer>,
}

/// Who signs the serving certificate.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssuerType {
    /// A CA that the operator runs.
    #[default]
    Managed,
    /// Any other issuer; the user supplies the certificate in a Secret.
    Provided,
    /// A cert-manager issuer.
    CertManager,
}

/// A user-supplied certificate. spec.tls.certificate does not apply to it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProvidedIssuer {
    /// Name of the Secret in the namespace of the SecureExporter, of type kubernetes.io/tls or Opaque. tls.crt is the
    /// certificate followed by its intermediates, and tls.key is the private key. The certificate's DNS names must include
    /// the server name. The operator checks and copies the content and never changes the Secret. Content that does not pass
    /// the check is not used, and the condition CertificateValid says why.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,

    /// The CA bundle (PEM) with which scrapers verify the certificate. Default: the key ca.crt of the same Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
}

/// A cert-manager issuer. The operator generates the key, creates a CertificateRequest according to spec.tls.certificate,
/// and renews the certificate automatically. No Certificate resource is needed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CertManagerIssuer {
    /// The issuer that signs.
    pub issuer_ref: IssuerRef,

    /// The CA bundle (PEM) with which scrapers verify the certificate. Default: the CA that the issuer returns with each
    /// certificate (status.ca of the CertificateRequest). Required if the issuer returns none, which the condition
    /// CertificateValid reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
}

/// A reference to a cert-manager issuer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct IssuerRef {
    /// Name of the issuer.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Kind of the issuer: Issuer (in the namespace of the SecureExporter) or ClusterIssuer.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default = "default_issuer_kind")]
    pub kind: String,

    /// API group of the issuer. External issuers have other groups than cert-manager.io.
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

/// A reference to a CA bundle: a key of a Secret or a ConfigMap in the namespace of the SecureExporter.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
    .message("exactly one of secretKeyRef and configMapKeyRef must be set"))]
pub struct CaBundleRef {
    /// A key of a Secret of type kubernetes.io/tls or Opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,

    /// A key of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A reference to a key of a Secret or ConfigMap.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key in the data of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
