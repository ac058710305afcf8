//! The `PodMonitor` of prometheus-operator, as far as the operator writes it.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{CustomResource, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Name of the definition of `PodMonitor`.
pub const DEFINITION: &str = "podmonitors.monitoring.coreos.com";

/// Which pods Prometheus scrapes, and how.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "monitoring.coreos.com",
    version = "v1",
    kind = "PodMonitor",
    plural = "podmonitors",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitorSpec {
    /// The labels of the pods.
    pub selector: PodSelector,
    /// The ports to scrape.
    pub pod_metrics_endpoints: Vec<PodMetricsEndpoint>,
    /// The maximum number of samples of a scrape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_limit: Option<i32>,
}

/// A `PodMonitor` as it is stored. Other clients, and other versions of the definition, may have set any fields.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct StoredMonitor {
    api_version: Cow<'static, str>,
    kind: Cow<'static, str>,
    metadata: ObjectMeta,
    spec: Value,
}

impl From<PodMonitor> for StoredMonitor {
    fn from(monitor: PodMonitor) -> Self {
        Self {
            api_version: PodMonitor::api_version(&()),
            kind: PodMonitor::kind(&()),
            metadata: monitor.metadata,
            spec: json!(monitor.spec),
        }
    }
}

impl Resource for StoredMonitor {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        PodMonitor::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        PodMonitor::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        PodMonitor::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        PodMonitor::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Selects pods by labels.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSelector {
    /// The labels and their values.
    pub match_labels: BTreeMap<String, String>,
}

/// A port, and how it is scraped.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetricsEndpoint {
    /// Name of the container's port.
    pub port: String,
    /// `https`.
    pub scheme: String,
    /// How often it is scraped.
    pub interval: String,
    /// How long a scrape may take.
    pub scrape_timeout: String,
    /// Where user name and password are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// How the certificate is verified, and where the client certificate is.
    pub tls_config: TlsConfig,
    /// The rules for targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relabelings: Vec<crate::api::Relabeling>,
    /// The rules for samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metric_relabelings: Vec<crate::api::Relabeling>,
}

/// Where user name and password are.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct BasicAuth {
    /// The user name.
    pub username: SecretKey,
    /// The password.
    pub password: SecretKey,
}

/// How the certificate is verified, and where the client certificate is.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsConfig {
    /// The CA bundle.
    pub ca: SecretOf,
    /// The client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<SecretOf>,
    /// The key of the client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<SecretKey>,
    /// The name in the certificate.
    pub server_name: String,
}

/// A file in a Secret.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct SecretOf {
    /// The file.
    pub secret: SecretKey,
}

/// A key of a Secret in the same namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// The key.
    pub key: String,
}
