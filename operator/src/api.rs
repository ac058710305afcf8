//! The custom resource `SecureExporter`: one file per block of its spec, and its status.
//!
//! `kubectl explain` shows the doc comments of the fields. Whatever the API server can check is a bound, a default or a
//! CEL rule beside the field. [`ParsedSpec::parse`](crate::spec::ParsedSpec::parse) checks the rest; the other modules
//! only see its result.

#![allow(
    rustdoc::invalid_html_tags,
    reason = "kubectl explain shows these comments as plain text"
)]

mod authentication;
pub mod definition;
mod duration;
mod exporter;
mod host_access;
pub mod image;
mod issuer;
mod relabeling;
mod rotation;
#[cfg(test)]
mod rules_tests;
mod schema;
mod scrape;
mod status;
mod tls;
mod workload;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use authentication::{
    AuthenticationMethod, AuthenticationSpec, BasicAuthSpec, PasswordSecretRef, UsersSecretRef,
};
pub use duration::{DurationError, parse_duration};
pub use exporter::{Collectors, ExporterSpec, LogLevel};
pub use host_access::{HostAccess, HostNetwork};
pub use image::{ImageReference, ImageReferenceError, ImageSpec, PullPolicy, PullSecret};
pub use issuer::{
    CaBundleRef, CertManagerIssuer, IssuerRef, IssuerSpec, IssuerType, KeyRef, ProvidedIssuer,
};
pub use relabeling::{RelabelAction, Relabeling};
pub use rotation::{Advance, RotationSpec, RotationState, Stragglers};
pub use scrape::{
    InstanceLabel, MonitorMode, PrometheusOperatorSpec, ScrapeServiceAccount, ScrapeSpec,
};
pub use status::{
    CertificateStatus, CredentialsStatus, NodesStatus, References, RotationStatus,
    SecureExporterStatus, TrustStatus,
};
pub use tls::{CertificateSpec, KeyAlgorithm, MinTlsVersion, PrivateKeySpec, SubjectSpec, TlsSpec};
pub use workload::{Resources, UpdateStrategy, UpdateStrategyType, WorkloadSpec};

/// Encrypted, authenticated and verified node metrics: a node exporter on every node, its certificates and passwords,
/// and the scrape configuration for Prometheus. Every field is optional; `spec: {}` is a working, secure system.
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
    doc = "Encrypted, authenticated and verified node metrics: a node exporter on every node, its certificates and passwords, and the scrape configuration for Prometheus.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes.summary"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.certificate.notAfter"),
    printcolumn(
        name = "Rotating",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Rotating\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must be at most 52 characters, because the names of the generated objects are derived from it"),
    validation = Rule::new("has(self.spec.authentication.basicAuth.passwordSecretRef) || self.spec.authentication.basicAuth.rotationInterval == 'Never' || !self.spec.authentication.basicAuth.rotationInterval.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || !self.spec.rotation.clientOverlap.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self.spec.authentication.basicAuth.rotationInterval) >= duration(self.spec.rotation.clientOverlap) + duration(self.spec.rotation.clientOverlap)")
        .message("spec.authentication.basicAuth.rotationInterval must be Never or at least twice spec.rotation.clientOverlap, so that one rotation ends before the next one begins"),
    validation = Rule::new("!has(self.spec.authentication.basicAuth.passwordSecretRef) || !(self.spec.authentication.basicAuth.passwordSecretRef.name in [self.metadata.name + '-state', self.metadata.name + '-server', self.metadata.name + '-scrape'])")
        .message("spec.authentication.basicAuth.passwordSecretRef must name a Secret that you supply, not one that is generated for this resource"),
    validation = Rule::new("!has(self.spec.authentication.basicAuth.usersSecretRef) || !(self.spec.authentication.basicAuth.usersSecretRef.name in [self.metadata.name + '-state', self.metadata.name + '-server', self.metadata.name + '-scrape'])")
        .message("spec.authentication.basicAuth.usersSecretRef must name a Secret that you supply, not one that is generated for this resource"),
    validation = Rule::new("self.spec.tls.issuer.type == 'Managed' || !('ClientCertificate' in self.spec.authentication.methods)")
        .message("spec.tls.issuer.type must be Managed when spec.authentication.methods contains ClientCertificate: the operator's own CA signs the client certificates"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be a DNS-1035 label: lower-case letters, digits and '-', starting with a letter and ending with a letter or digit"),
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
pub struct SecureExporterSpec {
    /// The exporter image. Unset fields are taken from the operator's default image.
    #[serde(default)]
    pub image: ImageSpec,

    /// The exporter's port, log level and collectors.
    #[serde(default)]
    pub exporter: ExporterSpec,

    /// How much of the node the exporter's pods can access.
    #[serde(default)]
    pub host_access: HostAccess,

    /// TLS settings of the metrics endpoint and its serving certificate.
    #[serde(default)]
    pub tls: TlsSpec,

    /// How scrapers authenticate. Authentication cannot be switched off.
    #[serde(default)]
    pub authentication: AuthenticationSpec,

    /// How the CA and the password are rotated.
    #[serde(default)]
    pub rotation: RotationSpec,

    /// The scrape configuration that the operator generates for Prometheus in the Secret <name>-scrape.
    #[serde(default)]
    pub scrape: ScrapeSpec,

    /// How the exporter's pods are scheduled, updated and labelled.
    #[serde(default)]
    pub workload: WorkloadSpec,
}
