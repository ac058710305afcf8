//! `spec.hostAccess`: how much of the node the exporter's pods share.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of the node the exporter's pods share.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HostAccess {
    /// Host: pods use the node's network and serve on the node's address. Pod: pods have addresses of their own, so that
    /// a NetworkPolicy holds for them and nothing listens on the node; network metrics are still the node's, read through
    /// its procfs, but the collectors conntrack, ethtool, network_route, qdisc, tcpstat and wifi are left out.
    #[serde(default)]
    pub network: HostNetwork,
}

/// Whose network the exporter's pods use.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostNetwork {
    /// The node's.
    #[default]
    Host,
    /// One of their own.
    Pod,
}
