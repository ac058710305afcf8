//! The operator that the chart installed and that serves all namespaces of tests.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

use anyhow::{Context, Result};

use crate::{product::install::NAMESPACE, test_clusters};

/// What it tells at `/metrics`.
///
/// # Errors
/// It does not run.
pub fn metrics() -> Result<String> {
    let kubectl = test_clusters::main()?.kubectl(NAMESPACE);
    let pods = kubectl.list("pods", "app.kubernetes.io/name=secure-exporter-operator")?;
    let pod = pods.first().context("the operator has no pod")?;
    let name = pod["metadata"]["name"].as_str().context("no name")?;
    kubectl.raw(&format!(
        "/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics"
    ))
}
