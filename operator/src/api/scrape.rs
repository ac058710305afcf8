//! `spec.scrape`: the generated scrape configuration.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The scrape configuration generated into the Secret <name>-scrape.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.timeout) <= duration(self.interval)")
    .message("timeout must not be longer than interval: Prometheus refuses such a configuration"))]
pub struct ScrapeSpec {
    /// The label `job` of all series. The default is the one that dashboards and alerts made for node_exporter look for.
    /// (The job_name of the scrape configuration is always secureexporter/<namespace>/<name>, because Prometheus
    /// refuses two of the same name.)
    #[schemars(length(min = 1, max = 128))]
    #[serde(default = "default_job_name")]
    pub job_name: String,

    /// How often Prometheus scrapes each node: 30s, 1m.
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
        .message("interval must be between 1s and 24h"))]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[serde(default = "default_interval")]
    pub interval: String,

    /// After how long Prometheus gives a scrape up. At most the interval.
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("timeout must be at least 1s"))]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[serde(default = "default_timeout")]
    pub timeout: String,

    /// Service accounts that scrape. Each gets a Role in this namespace to find the exporter's pods: get, list and watch
    /// pods, nothing else.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["namespace".into(), "name".into()]))]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<ScrapeServiceAccount>,
}

impl Default for ScrapeSpec {
    fn default() -> Self {
        Self {
            job_name: default_job_name(),
            interval: default_interval(),
            timeout: default_timeout(),
            service_accounts: Vec::new(),
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
