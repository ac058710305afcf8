//! `spec.exporter`: port, log level and collectors.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The exporter's port, log level and collectors.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExporterSpec {
    /// TCP port on every node. node_exporter uses 9100 too: where both run, give one of them another port.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default = "default_port")]
    pub port: i32,

    /// Log level of the exporter: Error, Warn, Info or Debug.
    #[serde(default)]
    pub log_level: LogLevel,

    /// Additional command-line arguments of the exporter, to set options of collectors. Only --collector.*,
    /// --no-collector.* and --log.* are allowed. The operator checks them as the exporter of its own version does at its start,
    /// so that a mistake does not stop the exporters.
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new(r"self.all(a, a.matches('^--((no-)?collector|log)[.][a-z0-9][a-z0-9._-]*(=.*)?$'))")
            .message("extraArgs may only contain --collector.*, --no-collector.* and --log.* arguments")
    )]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_args: Vec<String>,

    /// Which collectors run.
    #[serde(default)]
    pub collectors: Collectors,
}

impl Default for ExporterSpec {
    fn default() -> Self {
        Self {
            port: default_port(),
            log_level: LogLevel::default(),
            extra_args: Vec::new(),
            collectors: Collectors::default(),
        }
    }
}

fn default_port() -> i32 {
    9100
}

/// Log level of the exporter.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// Errors and warnings.
    Warn,
    /// Also starts, stops and reloads.
    #[default]
    Info,
    /// Also single requests.
    Debug,
}

impl LogLevel {
    /// The value of the exporter's flag `--log.level`.
    pub fn as_flag(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Which collectors run, relative to the exporter's defaults, which are those of node_exporter.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
        "!has(self.enabled) || !has(self.disabled) || self.enabled.all(c, !(c in self.disabled))"
    ).message("a collector cannot be both enabled and disabled"))]
pub struct Collectors {
    /// Collectors to run in addition to the default ones, by node_exporter's names. systemd and logind do not work in a pod,
    /// because they need the node's message bus, and perf does not, because it needs the capability CAP_PERFMON.
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("!('systemd' in self) && !('logind' in self)")
            .message("the collectors systemd and logind cannot be enabled, because they need the node's message bus, which is not mounted into the pods; run secure-exporter as a service on the node for them"),
        validation = Rule::new("!('perf' in self)")
            .message("the collector perf cannot be enabled, because it needs the capability CAP_PERFMON, which the pods do not have; run secure-exporter as a service on the node for it"),
    )]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enabled: Vec<String>,

    /// Default collectors that do not run.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled: Vec<String>,
}
