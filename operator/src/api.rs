//! The custom resource `SecureExporter`: one file per block of its spec, and its status.
//!
//! The doc comments of the fields are what `kubectl explain` shows. What the API server can check is a bound, a default
//! or a CEL rule beside the field; what it cannot is checked by [`ValidSpec::parse`], which is also the only way from
//! here to the rest of the operator.

#![allow(
    rustdoc::invalid_html_tags,
    reason = "kubectl explain shows these comments as plain text"
)]

mod authentication;
mod definition;
mod duration;
mod exporter;
mod host_access;
pub mod image;
mod issuer;
mod rotation;
#[cfg(test)]
mod rules_tests;
mod scrape;
mod status;
mod tls;
mod workload;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use authentication::{
    AuthenticationMethod, AuthenticationSpec, BasicAuthSpec, PasswordSecretRef, UsersSecretRef,
};
pub use definition::{crd, crd_yaml};
pub use duration::{DurationError, parse_duration};
pub use exporter::{Collectors, ExporterSpec, KNOWN_COLLECTORS, LogLevel};
pub use host_access::{HostAccess, HostNetwork};
pub use image::{ImageReference, ImageReferenceError, ImageSpec, PullPolicy, PullSecret};
pub use issuer::{
    CaBundleRef, CertManagerIssuer, IssuerRef, IssuerSpec, IssuerType, KeyRef, ProvidedIssuer,
};
pub use rotation::{Advance, RotationSpec, RotationState, Stragglers};
pub use scrape::{ScrapeServiceAccount, ScrapeSpec};
pub use status::{
    CertificateStatus, CredentialsStatus, NodesStatus, References, RotationStatus,
    SecureExporterStatus, TrustStatus,
};
pub use tls::{CertificateSpec, KeyAlgorithm, MinTlsVersion, PrivateKeySpec, SubjectSpec, TlsSpec};
pub use workload::{Resources, UpdateStrategy, UpdateStrategyType, WorkloadSpec};

/// Node metrics, encrypted, authenticated and verified: a node exporter on every node, its certificates and passwords,
/// and the configuration with which Prometheus scrapes it. Every field is optional; `spec: {}` is a working, secure
/// system.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "secureexporter.dev",
    version = "v1alpha1",
    kind = "SecureExporter",
    plural = "secureexporters",
    singular = "secureexporter",
    shortname = "secexp",
    category = "monitoring",
    namespaced,
    status = "SecureExporterStatus",
    derive = "PartialEq",
    doc = "Encrypted, authenticated and verified node metrics: an exporter on every node, its certificates and passwords, and the scrape configuration that verifies them.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes.summary"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.certificate.notAfter"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must be at most 52 characters, so that the names of the objects made from it fit"),
    validation = Rule::new("has(self.spec.authentication.basicAuth.passwordSecretRef) || self.spec.authentication.basicAuth.rotationInterval == 'Never' || duration(self.spec.authentication.basicAuth.rotationInterval) >= duration(self.spec.rotation.clientOverlap) + duration(self.spec.rotation.clientOverlap)")
        .message("spec.authentication.basicAuth.rotationInterval must be Never or at least twice spec.rotation.clientOverlap, so that one rotation ends before the next begins"),
    validation = Rule::new("!has(self.spec.authentication.basicAuth.passwordSecretRef) || !(self.spec.authentication.basicAuth.passwordSecretRef.name in [self.metadata.name + '-state', self.metadata.name + '-server', self.metadata.name + '-scrape'])")
        .message("spec.authentication.basicAuth.passwordSecretRef must name a Secret of your own, not one that is made from this resource"),
    validation = Rule::new("!has(self.spec.authentication.basicAuth.usersSecretRef) || !(self.spec.authentication.basicAuth.usersSecretRef.name in [self.metadata.name + '-state', self.metadata.name + '-server', self.metadata.name + '-scrape'])")
        .message("spec.authentication.basicAuth.usersSecretRef must name a Secret of your own, not one that is made from this resource"),
    validation = Rule::new("self.spec.tls.issuer.type == 'Managed' || !('ClientCertificate' in self.spec.authentication.methods)")
        .message("spec.tls.issuer.type must be Managed where spec.authentication.methods holds ClientCertificate: client certificates are signed by the operator's own authority"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be a DNS-1035 label: lower-case letters, digits and '-', beginning with a letter"),
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
pub struct SecureExporterSpec {
    /// Which exporter image runs. Unset fields come from the operator's own default image.
    #[serde(default)]
    pub image: ImageSpec,

    /// The exporter itself: its port, its log, its collectors.
    #[serde(default)]
    pub exporter: ExporterSpec,

    /// How much of the node the exporter's pods share.
    #[serde(default)]
    pub host_access: HostAccess,

    /// TLS of the metrics endpoint, and the certificate it serves.
    #[serde(default)]
    pub tls: TlsSpec,

    /// Who may read the metrics. There is no way to switch authentication off.
    #[serde(default)]
    pub authentication: AuthenticationSpec,

    /// How the certificate authority and the password are followed by the next ones.
    #[serde(default)]
    pub rotation: RotationSpec,

    /// The scrape configuration that is generated for Prometheus into the Secret <name>-scrape.
    #[serde(default)]
    pub scrape: ScrapeSpec,

    /// How the pods of the exporter are scheduled, updated and labelled.
    #[serde(default)]
    pub workload: WorkloadSpec,
}
