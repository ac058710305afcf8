//! Names and labels of the objects of a resource.
//!
//! The resource's name has at most 52 characters ([`MAX_NAME_LENGTH`]), so every name built here is a valid DNS-1035 label and
//! a valid label value, which both have at most 63.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use crate::api::SecureExporter;

/// The API group of the custom resource.
pub const GROUP: &str = "secureexporter.dev";

/// The operator's field manager.
pub const FIELD_MANAGER: &str = "secureexporter.dev/operator";

/// Maximum length of the name of a `SecureExporter`: 63 characters minus the longest suffix (`-discovery`) and one in
/// reserve.
pub const MAX_NAME_LENGTH: usize = 52;

/// Annotation on everything published from the state: the [`State::generation`](crate::rotation::state::State) it was
/// rendered from. A lower generation never replaces a higher one.
pub const GENERATION_ANNOTATION: &str = "secureexporter.dev/state-generation";

/// Annotation with which a user requests a rotation: see [`annotations`](crate::rotation::annotations).
pub const ROTATE_ANNOTATION: &str = "secureexporter.dev/rotate";
/// Annotation with which a user distrusts leaked credentials: see [`annotations`](crate::rotation::annotations).
pub const DISTRUST_ANNOTATION: &str = "secureexporter.dev/distrust";

/// Annotation with which a user lets the operator adopt restored objects: see [`adoption`](crate::rotation::adoption).
pub const ADOPT_ANNOTATION: &str = "secureexporter.dev/adopt";
/// Label with which a user allows resources to reference a Secret: see [`reference`](crate::supplied::reference).
pub const USABLE_LABEL: &str = "secureexporter.dev/usable";

/// Label with the application's name; its value is [`APP_NAME`].
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Label with the name of the `SecureExporter`.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// Label with the manager of the object; its value is [`MANAGED_BY`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`NAME_LABEL`].
pub const APP_NAME: &str = "secure-exporter";
/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "secure-exporter-operator";

/// Name of the Lease in each namespace that holds a resource.
pub const LEASE: &str = "secure-exporter-operator";

/// Type of the Secret with the state.
pub const STATE_TYPE: &str = "secureexporter.dev/state";

/// Name of the exporter's container in its pod.
pub const CONTAINER: &str = "exporter";
/// Name of the port that serves the metrics, in the pod and in the Service.
pub const PORT_NAME: &str = "metrics";

/// The generated objects of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// The Secret with the rotation state.
    State,
    /// The Secret that the exporters mount.
    Server,
    /// The Secret that Prometheus mounts.
    Scrape,
    /// The ConfigMap with the public CA bundle.
    Bundle,
    /// The ServiceAccount of the pods.
    ServiceAccount,
    /// Role and RoleBinding of the scrapers.
    Discovery,
    /// The headless Service.
    Service,
    /// The DaemonSet of the exporter.
    DaemonSet,
}

/// The identity of the `SecureExporter` that owns the generated objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`: a resource that was deleted and created again with the same name is another owner.
    pub uid: String,
}

impl Owner {
    /// Returns the identity of a resource that was read from the API server; `None` if it has no name, namespace or uid,
    /// that is, if it was never stored.
    pub fn of(resource: &SecureExporter) -> Option<Self> {
        Some(Self {
            name: resource.meta().name.clone()?,
            namespace: resource.namespace()?,
            uid: resource.uid()?,
        })
    }

    /// Name of the Secret with the rotation state, which only the operator reads.
    pub fn state_secret(&self) -> String {
        format!("{}-state", self.name)
    }

    /// Name of the Secret that the exporter's pods mount.
    pub fn server_secret(&self) -> String {
        format!("{}-server", self.name)
    }

    /// Name of the Secret that Prometheus mounts.
    pub fn scrape_secret(&self) -> String {
        format!("{}-scrape", self.name)
    }

    /// Name of the ConfigMap with the public CA bundle.
    pub fn ca_config_map(&self) -> String {
        format!("{}-ca", self.name)
    }

    /// Name of the CertificateRequest whose content has this hash, of at most ten characters.
    pub fn certificate_request(&self, hash: &str) -> String {
        format!("{}-{hash}", self.name)
    }

    /// Name of the Role and the RoleBinding that let scrapers discover the pods.
    pub fn discovery(&self) -> String {
        format!("{}-discovery", self.name)
    }

    /// Name of the DaemonSet, the Service and the ServiceAccount: the name of the resource.
    pub fn workload(&self) -> String {
        self.name.clone()
    }

    /// The labels by which the DaemonSet and the Service select pods: only name and instance. They can never change,
    /// because a DaemonSet's selector is immutable.
    pub fn selector(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (NAME_LABEL.to_owned(), APP_NAME.to_owned()),
            (INSTANCE_LABEL.to_owned(), self.name.clone()),
        ])
    }

    /// The same labels as a label selector for the API server.
    pub(crate) fn selector_query(&self) -> String {
        let labels = self.selector();
        let pairs: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}={value}"))
            .collect();
        pairs.join(",")
    }

    /// The labels of every generated object.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
        labels
    }

    /// The owner reference, which marks an object as ours and lets the garbage collector delete it with the resource.
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: SecureExporter::api_version(&()).into_owned(),
            kind: SecureExporter::kind(&()).into_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// The metadata of the generated object `name`: namespace, labels and owner.
    pub(crate) fn child(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        }
    }

    /// The metadata of an object that publishes generation `generation` of the state.
    pub(crate) fn published(&self, name: String, generation: u64) -> ObjectMeta {
        ObjectMeta {
            annotations: Some(BTreeMap::from([(
                GENERATION_ANNOTATION.to_owned(),
                generation.to_string(),
            )])),
            ..self.child(name)
        }
    }
}

/// Returns the generation of the state that an object was rendered from; 0 without the annotation.
pub fn published_generation(meta: &ObjectMeta) -> u64 {
    meta.annotations
        .as_ref()
        .and_then(|annotations| annotations.get(GENERATION_ANNOTATION))
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
impl Owner {
    /// The resource `nodes` in the namespace `monitoring`, for tests.
    pub(crate) fn nodes() -> Self {
        Self {
            name: "nodes".to_owned(),
            namespace: "monitoring".to_owned(),
            uid: "u".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_longest_resource_fits_a_label() {
        let owner = Owner {
            name: "n".repeat(MAX_NAME_LENGTH),
            namespace: "monitoring".into(),
            uid: "1".into(),
        };
        for name in [
            owner.state_secret(),
            owner.server_secret(),
            owner.scrape_secret(),
            owner.ca_config_map(),
            owner.discovery(),
            owner.workload(),
            owner.certificate_request("0123456789"),
        ] {
            assert!(name.len() <= 63, "{name}");
        }
    }
}
