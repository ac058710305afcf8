//! `status`: what the operator saw and did. It does not grow with the number of nodes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the operator saw and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecureExporterStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// How many nodes should run, and run, the exporter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodesStatus>,

    /// The certificate that was published last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,

    /// The client certificate of the scrapers that was published last; absent where none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateStatus>,

    /// The certificate authorities that scrapers are told to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustStatus>,

    /// The passwords, by generation; absent where none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsStatus>,

    /// The change of authority or password that is under way; absent between changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,

    /// The last requests by annotation that were acted on, as <subject>=<the annotation's value>.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled_requests: Vec<String>,

    /// Names of the objects made from this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references: Option<References>,

    /// Conditions: Ready sums the others up.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Nodes, counted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodesStatus {
    /// How many nodes should run the exporter.
    pub desired: i32,
    /// On how many it answers.
    pub ready: i32,
    /// On how many it runs in the current version.
    pub updated: i32,
    /// On how many the operator saw the current certificate being served and verified it as Prometheus does, when it
    /// asked last.
    pub verified: i32,
    /// Ready of desired, for people: 12/12.
    pub summary: String,
}

/// A certificate that was published last.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Serial number, hexadecimal.
    pub serial_number: String,
    /// SHA-256 of the certificate, hexadecimal.
    pub sha256_fingerprint: String,
    /// From when it is valid.
    pub not_before: Time,
    /// Until when it is valid.
    pub not_after: Time,
    /// When it will be renewed; that of another issuer, when its issuer should have renewed it.
    pub renewal_time: Time,
    /// Generation of the certificate authority that signed it.
    pub ca_generation: i64,
    /// Its subject.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
}

/// The certificate authorities that scrapers are told to trust.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TrustStatus {
    /// Generation of the authority that signs.
    pub active_generation: i64,
    /// Generations of all authorities in the trust bundle.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub bundled_generations: Vec<i64>,
    /// Until when the signing authority is valid.
    pub not_after: Time,
}

/// The passwords, by generation.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsStatus {
    /// Generation of the password that scrapers are told to use.
    pub active_generation: i64,
    /// Generations of all passwords that the exporters accept.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub accepted_generations: Vec<i64>,
    /// When the active password was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotation_time: Option<Time>,
    /// When the next one will be made; absent where spec.authentication.basicAuth.rotationInterval is Never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Time>,
}

/// A change of authority or password that is under way.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// What changes: Authority, Password, or both.
    pub subject: String,
    /// How far it has come: TrustPublished, LeafSwitched, ClientSwitched and, where the state was lost, Rebuilt of an authority; Accepting and ClientSwitched of a password.
    pub stage: String,
    /// Since when it is known that all of this stage is published; absent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_time: Option<Time>,
    /// By what it goes on: Observed, Timed where exporters could not be asked, or Waiting.
    pub evidence: String,
}

/// Names of the objects made from this one, all in its namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct References {
    /// The DaemonSet that runs the exporter.
    pub daemon_set_name: String,
    /// The headless Service over its pods.
    pub service_name: String,
    /// The Secret that the exporter mounts.
    pub server_secret_name: String,
    /// The Secret that Prometheus mounts.
    pub scrape_secret_name: String,
    /// The ConfigMap with the trust bundle.
    pub trust_config_map_name: String,
}
