//! Where the servers are that `cargo xtask test` started.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

/// The administrator's kubeconfig.
///
/// # Errors
/// The tests were not started by `cargo xtask test`; so for all functions here.
pub fn kubeconfig() -> Result<PathBuf> {
    variable("TEST_KUBECONFIG").map(PathBuf::from)
}

/// The program kubectl.
pub fn kubectl() -> Result<PathBuf> {
    variable("TEST_KUBECTL").map(PathBuf::from)
}

/// The program prometheus.
pub fn prometheus() -> Result<PathBuf> {
    variable("TEST_PROMETHEUS").map(PathBuf::from)
}

/// The program promtool.
pub fn promtool() -> Result<PathBuf> {
    variable("TEST_PROMTOOL").map(PathBuf::from)
}

/// The program helm.
pub fn helm() -> Result<PathBuf> {
    variable("TEST_HELM").map(PathBuf::from)
}

/// The folder with prometheus-operator's definitions.
pub fn monitoring_definitions() -> Result<PathBuf> {
    variable("TEST_MONITORING").map(PathBuf::from)
}

/// The controllers of cert-manager.
pub fn cert_manager() -> Result<PathBuf> {
    variable("TEST_CERT_MANAGER").map(PathBuf::from)
}

/// The folder of the definitions of cert-manager's resources, which no cluster has at first.
pub fn cert_manager_definitions() -> Result<PathBuf> {
    variable("TEST_CERT_MANAGER_DEFINITIONS").map(PathBuf::from)
}

/// Our exporter, as the image holds it.
pub fn exporter() -> Result<PathBuf> {
    variable("TEST_EXPORTER").map(PathBuf::from)
}

/// The Debian package of our exporter.
pub fn package() -> Result<PathBuf> {
    variable("TEST_PACKAGE").map(PathBuf::from)
}

/// The real node_exporter.
pub fn node_exporter() -> Result<PathBuf> {
    variable("TEST_NODE_EXPORTER").map(PathBuf::from)
}

/// The captured host that node_exporter itself is tested with.
pub fn node_exporter_fixtures() -> Result<PathBuf> {
    variable("TEST_NODE_EXPORTER_FIXTURES").map(PathBuf::from)
}

/// The captured host that the module is tested with by which node_exporter reads procfs and sysfs, as an archive.
pub fn procfs_fixtures() -> Result<PathBuf> {
    variable("TEST_PROCFS_FIXTURES").map(PathBuf::from)
}

/// A made-up host of 256 CPUs, 500 disks and 2,000 network devices, with `proc`, `sys` and `udev` in it.
pub fn large_host() -> Result<PathBuf> {
    variable("TEST_LARGE_HOST").map(PathBuf::from)
}

/// Our operator, as the image holds it.
pub fn operator() -> Result<PathBuf> {
    variable("TEST_OPERATOR").map(PathBuf::from)
}

/// The administrator's kubeconfig of a second cluster, which has no nodes and no operator.
pub fn control_plane() -> Result<PathBuf> {
    variable("TEST_CONTROL_PLANE").map(PathBuf::from)
}

/// The address of the cluster's one node.
pub fn node_address() -> Result<String> {
    variable("TEST_NODE_ADDRESS")
}

/// The namespace in which the operator runs.
pub fn operator_namespace() -> Result<String> {
    variable("TEST_OPERATOR_NAMESPACE")
}

fn variable(name: &str) -> Result<String> {
    env::var(name)
        .with_context(|| format!("{name} is not set: this test is run by cargo xtask test"))
}
