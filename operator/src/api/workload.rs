//! `spec.workload`: scheduling, update strategy and labels of the exporter's pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// How the exporter's pods are scheduled, updated and labelled.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSpec {
    /// Labels that a node must have for the exporter to run on it. Default: kubernetes.io/os: linux. Virtual nodes
    /// (type: virtual-kubelet) and AWS Fargate (eks.amazonaws.com/compute-type: fargate) are always left out, unless these
    /// labels are set here or in affinity.
    #[schemars(schema_with = "super::schema::node_selector_map")]
    #[serde(default = "linux")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the exporter's pods tolerate, as in a pod spec. Default: all taints, so that every node has metrics.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 64))]
    #[serde(default = "any_taint")]
    pub tolerations: Vec<Toleration>,

    /// Affinity of the exporter's pods, as in a pod spec; only nodeAffinity is allowed. The operator adds what a node needs to
    /// run an exporter to each required node selector term: Linux, no virtual node, no AWS Fargate.
    #[x_kube(validation = Rule::new("!has(self.podAffinity) && !has(self.podAntiAffinity)")
        .message("affinity may only contain nodeAffinity, because podAffinity and podAntiAffinity could keep other pods off the nodes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// PriorityClass of the exporter's pods. Default: none. Must be allowed by the operator's administrator
    /// (--allowed-priority-classes), because pods with a priority can evict others.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,

    /// Resource requests and limits of the exporter's container. Default: requests of cpu 10m and memory 24Mi, and a memory
    /// limit of 64Mi. Each must be within the bounds of the operator's administrator (--max-exporter-resources).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// How the exporter's pods are updated.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,

    /// Additional labels of the pods. Each must have a prefix that the operator's administrator allows
    /// (--allowed-pod-label-prefixes); by default there is none. Labels under app.kubernetes.io/ are reserved for the operator.
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('app.kubernetes.io/'))")
        .message("podLabels may not set labels under app.kubernetes.io/, because the DaemonSet selects its pods by them"))]
    #[schemars(schema_with = "super::schema::label_map")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_labels: BTreeMap<String, String>,

    /// Additional annotations of the pods. Each must have a prefix that the operator's administrator allows
    /// (--allowed-pod-annotation-prefixes); by default there is none.
    #[schemars(schema_with = "super::schema::annotation_map")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_annotations: BTreeMap<String, String>,
}

impl Default for WorkloadSpec {
    fn default() -> Self {
        Self {
            node_selector: linux(),
            tolerations: any_taint(),
            affinity: None,
            priority_class_name: None,
            resources: None,
            update_strategy: UpdateStrategy::default(),
            pod_labels: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
        }
    }
}

fn linux() -> BTreeMap<String, String> {
    BTreeMap::from([("kubernetes.io/os".to_owned(), "linux".to_owned())])
}

fn any_taint() -> Vec<Toleration> {
    vec![Toleration {
        operator: Some("Exists".to_owned()),
        ..Toleration::default()
    }]
}

/// Resource requests and limits of the exporter's container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// What is reserved for the container, by resource: cpu, memory.
    #[schemars(schema_with = "super::schema::quantity_map")]
    #[serde(
        default,
        deserialize_with = "quantities",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub requests: BTreeMap<String, Quantity>,

    /// The maximum that the container may use, by resource: cpu, memory.
    #[schemars(schema_with = "super::schema::quantity_map")]
    #[serde(
        default,
        deserialize_with = "quantities",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub limits: BTreeMap<String, Quantity>,
}

/// The API server accepts a quantity that is a number, as in a pod spec; [`Quantity`] does not, and the operator could not read
/// the resource.
fn quantities<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Quantity>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(i64),
        Text(String),
    }
    let written = BTreeMap::<String, Written>::deserialize(deserializer)?;
    Ok(written
        .into_iter()
        .map(|(name, written)| match written {
            Written::Number(number) => (name, Quantity(number.to_string())),
            Written::Text(text) => (name, Quantity(text)),
        })
        .collect())
}

/// How the exporter's pods are updated.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// RollingUpdate replaces pods automatically. OnDelete replaces a pod only after it was deleted.
    #[serde(default, rename = "type")]
    pub type_: UpdateStrategyType,

    /// How many nodes may be without an exporter during a RollingUpdate: a number, or a percentage such as 10%.
    #[schemars(schema_with = "super::schema::int_or_string")]
    #[serde(default = "tenth")]
    pub max_unavailable: IntOrString,
}

impl Default for UpdateStrategy {
    fn default() -> Self {
        Self {
            type_: UpdateStrategyType::default(),
            max_unavailable: tenth(),
        }
    }
}

fn tenth() -> IntOrString {
    IntOrString::String("10%".to_owned())
}

/// How the exporter's pods are updated.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateStrategyType {
    /// Pods are replaced automatically, a few at a time.
    #[default]
    RollingUpdate,
    /// A pod is replaced after it was deleted.
    OnDelete,
}
