//! `status`: what the operator observed and did. Its size does not depend on the number of nodes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the operator observed and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecureExporterStatus {
    /// The generation of the resource that the condition Ready describes. A lower one than metadata.generation means that the
    /// operator has not applied the current spec yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// How many nodes should run the exporter, and how many do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodesStatus>,

    /// The serving certificate that was published last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,

    /// The client certificate that was published last for the scrapers. Absent unless spec.authentication.methods contains
    /// ClientCertificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateStatus>,

    /// The CAs in the published CA bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustStatus>,

    /// The generations of the password. Absent unless spec.authentication.methods contains BasicAuth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsStatus>,

    /// The rotation of the CA or the password that is in progress. Absent between rotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,

    /// The last handled values of the annotations secureexporter.dev/rotate and secureexporter.dev/distrust whose outcome is
    /// published, as <subject>=<value of the annotation>.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled_requests: Vec<String>,

    /// When another release of the operator last reported that it watches the namespace, too. Present together with the
    /// condition Contended, which is removed when this is 15 minutes old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contended_time: Option<Time>,

    /// Names of the objects that the operator generates for this resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references: Option<References>,

    /// Conditions of the resource. Ready summarizes the others. Until an operator has processed the resource, there is only
    /// Ready, with the reason Pending.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Numbers of nodes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodesStatus {
    /// Number of nodes that should run the exporter.
    pub desired: i32,
    /// Number of nodes with a ready exporter pod.
    pub ready: i32,
    /// Number of nodes with an exporter pod of the current version.
    pub updated: i32,
    /// Number of nodes whose exporter served the published certificate, verified as Prometheus verifies it, and accepted the
    /// published credentials when the operator last asked. Absent if the operator does not ask the exporters
    /// (spec.rotation.advance is Timed), or must not read the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<i32>,
    /// Ready and desired nodes, for example 12/12.
    pub summary: String,
}

/// A published certificate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Serial number in hexadecimal.
    pub serial_number: String,
    /// SHA-256 of the certificate, hexadecimal.
    pub sha256_fingerprint: String,
    /// From when it is valid.
    pub not_before: Time,
    /// When the certificate expires.
    pub not_after: Time,
    /// When the operator renews the certificate; with spec.tls.issuer.type Provided, when its issuer should have renewed it.
    pub renewal_time: Time,
    /// Generation of the CA that signed the certificate.
    pub ca_generation: i64,
    /// Subject of the certificate.
    pub subject: String,
    /// Issuer of the certificate.
    pub issuer: String,
}

/// The CAs in the published CA bundle.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TrustStatus {
    /// Generation of the CA that signs new certificates.
    pub active_generation: i64,
    /// Generations of all CAs in the CA bundle.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub bundled_generations: Vec<i64>,
    /// When the CA that signs new certificates expires.
    pub not_after: Time,
}

/// The generations of the password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsStatus {
    /// Generation of the password that is published for the scrapers.
    pub active_generation: i64,
    /// Generations of all passwords that the exporters accept.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub accepted_generations: Vec<i64>,
    /// When the active password was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotation_time: Option<Time>,
    /// When the next rotation starts. Absent if spec.authentication.basicAuth.rotationInterval is Never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Time>,
}

/// A rotation of the CA or the password that is in progress.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// What is rotated: Authority (the CA), Password, or both.
    pub subject: String,
    /// The current stage. Of a CA: TrustPublished, LeafSwitched, ClientSwitched or, after the state was lost, Rebuilt. Of a password: Accepting or ClientSwitched.
    pub stage: String,
    /// When the operator confirmed that everything of this stage is published. Absent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_time: Option<Time>,
    /// What the next stage depends on: Observed (the exporters' answers), Timed (a fixed time, because not every exporter could be asked), or Waiting (the current stage is not finished yet).
    pub evidence: String,
}

/// Names of the objects that the operator generates, all in the namespace of the resource.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct References {
    /// Name of the DaemonSet that runs the exporter.
    pub daemon_set_name: String,
    /// Name of the headless Service of the exporter's pods.
    pub service_name: String,
    /// Name of the Secret that the exporter mounts.
    pub server_secret_name: String,
    /// Name of the Secret that Prometheus mounts.
    pub scrape_secret_name: String,
    /// Name of the ConfigMap with the CA bundle.
    pub trust_config_map_name: String,
}
