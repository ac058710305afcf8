//! `spec.scrape`: the generated scrape configuration.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

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
