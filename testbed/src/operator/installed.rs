//! The operator that the chart installed and that serves all namespaces of tests.

use anyhow::{Context, Result};

use crate::{environment, kubectl::Kubectl};

/// What it tells at `/metrics`.
///
/// # Errors
/// It does not run.
pub fn metrics() -> Result<String> {
    let namespace = environment::operator_namespace()?;
    let kubectl = Kubectl::of(&namespace);
    let pods = kubectl.list("pods", "app.kubernetes.io/name=secure-exporter-operator")?;
    let pod = pods.first().context("the operator has no pod")?;
    let name = pod["metadata"]["name"].as_str().context("no name")?;
    kubectl.raw(&format!(
        "/api/v1/namespaces/{namespace}/pods/{name}:8080/proxy/metrics"
    ))
}
