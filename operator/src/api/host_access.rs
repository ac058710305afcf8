//! `spec.hostAccess`: how much of the node the exporter's pods can access.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of the node the exporter's pods can access.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HostAccess {
    /// Host: the pods use the node's network and serve on the node's address. Pod: the pods have their own addresses, so
    /// that a NetworkPolicy applies to them and nothing listens on the node. Network metrics are then still those of the
    /// node, read through its procfs, but the collectors conntrack, ethtool, network_route, qdisc, tcpstat and wifi are left
    /// out.
    #[serde(default)]
    pub network: HostNetwork,
}

/// Which network the exporter's pods use.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostNetwork {
    /// The network of the node.
    #[default]
    Host,
    /// The pod network.
    Pod,
}
