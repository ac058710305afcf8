//! Nodes whose exporters a real Prometheus scrapes every second without ever being reloaded, for the benchmarks of rotations and
//! faults.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a measurement ends there"
)]

pub mod count;
pub mod fresh;
pub mod generations;

use std::{fs, time::Duration};

use anyhow::Result;

use count::Prometheus;
use testbed::{
    cluster::Cluster, product::install::NAMESPACE, progress::step,
    prometheus::start as start_prometheus, wait::wait_until,
};

const RESOURCE: &str = r#"
apiVersion: secureexporter.dev/v1alpha1
kind: SecureExporter
metadata: {name: nodes}
spec:
  authentication: {methods: [METHODS]}
  rotation: {clientOverlap: CLIENT_OVERLAP}
  scrape:
    interval: 1s
    timeout: 1s
    serviceAccounts: [{namespace: monitoring, name: prometheus}]
"#;

/// How scrapers authenticate.
#[derive(Clone, Copy)]
pub enum Methods {
    /// A password.
    Password,
    /// A password and a client certificate.
    PasswordAndCertificate,
}

/// Applies the resource, starts Prometheus, and waits until it scrapes every node. `lag` is the maximum number of
/// seconds until a changed Secret reaches a pod.
///
/// # Errors
/// The exporters or Prometheus do not start.
pub fn start(cluster: &Cluster, lag: u16, methods: Methods) -> Result<Prometheus> {
    // Longer than the slowest update of a Secret, which is that of Prometheus' pod.
    let overlap = format!("{}s", lag + 4);
    let file = tempfile::NamedTempFile::new()?;
    let methods = match methods {
        Methods::Password => "BasicAuth",
        Methods::PasswordAndCertificate => "BasicAuth, ClientCertificate",
    };
    let resource = RESOURCE
        .replace("CLIENT_OVERLAP", &overlap)
        .replace("METHODS", methods);
    fs::write(file.path(), resource)?;
    let nodes = cluster.shape().nodes;
    step("SecureExporter and Prometheus", || {
        let kubectl = cluster.kubectl(NAMESPACE);
        kubectl.apply_file(file.path())?;
        let prometheus = Prometheus::at(start_prometheus(&kubectl)?, nodes);
        wait_until("every node to be scraped", Duration::from_secs(120), || {
            Ok((prometheus.up()? == usize::from(nodes)).then_some(()))
        })?;
        Ok(prometheus)
    })
}

/// Prints objects and logs that help to find the cause of a failure.
pub fn explain(cluster: &Cluster) {
    let kubectl = cluster.kubectl(NAMESPACE);
    for arguments in [
        &["get", "secexp,pods", "-o", "wide"][..],
        &["get", "secexp", "nodes", "-o", "jsonpath={.status}"],
        &["get", "events", "--sort-by=.lastTimestamp"],
        &["logs", "deployment/secure-exporter-operator", "--tail=40"],
        &["logs", "daemonset/nodes", "--tail=20"],
        &["logs", "deployment/prometheus", "--tail=20"],
    ] {
        kubectl.explain(arguments);
    }
}
