//! `spec.scrape`: the generated scrape configuration.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::relabeling::Relabeling;

/// The scrape configuration that the operator generates in the Secret <name>-scrape.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.timeout.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || !self.interval.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self.timeout) <= duration(self.interval)")
    .message("timeout must not be longer than interval, because Prometheus refuses such a configuration"))]
pub struct ScrapeSpec {
    /// Value of the label job of all series. The default is the one that dashboards and alerts for node_exporter expect.
    /// (The job_name of the scrape configuration is always secureexporter/<namespace>/<name>, because Prometheus refuses
    /// two jobs with the same name.)
    #[schemars(length(min = 1, max = 128))]
    #[serde(default = "default_job_name")]
    pub job_name: String,

    /// How often Prometheus scrapes each node, for example 30s or 1m. From 1s to 24h.
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')")
        .message("interval must be between 1s and 24h, in hours, minutes and seconds: for example 30s or 1m"))]
    #[schemars(length(max = 24))]
    #[serde(default = "default_interval")]
    pub interval: String,

    /// How long Prometheus waits for a scrape. From 1s to the interval.
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') && duration(self) >= duration('1s')")
        .message("timeout must be at least 1s, in hours, minutes and seconds: for example 10s"))]
    #[schemars(length(max = 24))]
    #[serde(default = "default_timeout")]
    pub timeout: String,

    /// Service accounts of the scrapers. A Role in this namespace allows them to discover the exporter's pods: to get, list
    /// and watch pods, and nothing else.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["namespace".into(), "name".into()]))]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<ScrapeServiceAccount>,

    /// What the label instance contains: the name of the node, as in kube-prometheus, or address and port of the exporter, as
    /// in kube-prometheus-stack. Choose what your present series have, so that they continue.
    #[serde(default)]
    pub instance_label: InstanceLabel,

    /// Labels that are added to all series, for example cluster: west.
    #[x_kube(validation = Rule::new("self.all(k, k.matches('^[a-zA-Z_][a-zA-Z0-9_]*$') && !k.startsWith('__'))")
        .message("extraLabels must have names of letters, digits and '_', which do not begin with two underscores"))]
    #[schemars(schema_with = "super::schema::series_labels")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_labels: BTreeMap<String, String>,

    /// Relabelling rules for targets, applied after the operator's own, which set namespace, pod, container, endpoint, node,
    /// instance and job.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relabelings: Vec<Relabeling>,

    /// Relabelling rules for samples, applied before they are stored, for example to drop metrics.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metric_relabelings: Vec<Relabeling>,

    /// The maximum number of samples of a scrape; one with more fails. Default: no limit.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_limit: Option<i32>,

    /// The scrape configuration for prometheus-operator, as in kube-prometheus-stack: a PodMonitor.
    #[serde(default)]
    pub prometheus_operator: PrometheusOperatorSpec,
}

/// The PodMonitor with the name of the resource, which refers to the Secret <name>-scrape.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PrometheusOperatorSpec {
    /// Whether there is a PodMonitor: Auto where the cluster has their CustomResourceDefinition, also when it is installed
    /// later, and unless there is one of this name that belongs to others; Enabled always, and without the definition the resource is not Ready; Disabled never.
    #[serde(default)]
    pub mode: MonitorMode,

    /// Additional labels of the PodMonitor, by which a Prometheus selects it, for example release: kube-prometheus-stack.
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('app.kubernetes.io/'))")
        .message("labels may not set labels under app.kubernetes.io/, because the operator finds its objects by them"))]
    #[schemars(schema_with = "super::schema::label_map")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Whether there is a PodMonitor.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MonitorMode {
    /// Where the cluster has PodMonitors.
    #[default]
    Auto,
    /// Always.
    Enabled,
    /// Never.
    Disabled,
}

/// What the label `instance` contains.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstanceLabel {
    /// The name of the node.
    #[default]
    NodeName,
    /// Address and port of the exporter.
    Address,
}

impl Default for ScrapeSpec {
    fn default() -> Self {
        Self {
            job_name: default_job_name(),
            interval: default_interval(),
            timeout: default_timeout(),
            service_accounts: Vec::new(),
            instance_label: InstanceLabel::default(),
            extra_labels: BTreeMap::new(),
            relabelings: Vec::new(),
            metric_relabelings: Vec::new(),
            sample_limit: None,
            prometheus_operator: PrometheusOperatorSpec::default(),
        }
    }
}

fn default_job_name() -> String {
    "node-exporter".to_owned()
}

fn default_interval() -> String {
    "30s".to_owned()
}

fn default_timeout() -> String {
    "10s".to_owned()
}

/// The service account of a scraper.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ScrapeServiceAccount {
    /// Namespace of the service account.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,

    /// Name of the service account.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
