//! An operator of the test's own, on the control plane without nodes: it can be killed.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;

use crate::{environment, gate::Gate, kubectl::Kubectl, process::Process};

/// A namespace, a gate to it, and now and then an operator.
pub struct Stage {
    /// kubectl for the namespace.
    pub kubectl: Kubectl,
    /// What is between the operator and the API server.
    pub gate: Gate,
    namespace: String,
    folder: TempDir,
}

impl Stage {
    /// A new namespace of the control plane without nodes.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn new(namespace: &str) -> Result<Self> {
        let kubeconfig = environment::control_plane()?;
        let everywhere = Kubectl::at(&kubeconfig, "");
        // Also where a test is run again on the same control plane.
        everywhere.run(&["delete", "namespace", namespace, "--ignore-not-found"])?;
        everywhere.run(&["create", "namespace", namespace])?;
        Ok(Self {
            kubectl: Kubectl::at(&kubeconfig, namespace),
            gate: Gate::open()?,
            namespace: namespace.to_owned(),
            folder: tempfile::tempdir()?,
        })
    }

    /// Starts an operator for this namespace alone, with waits of nothing. It is killed when dropped.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn operator(&self) -> Result<Process> {
        let kubeconfig = self.folder.path().join("kubeconfig");
        write_kubeconfig(&kubeconfig, &self.gate.address)?;
        Process::spawn(
            Command::new(environment::operator()?)
                .arg("run")
                .env("KUBECONFIG", &kubeconfig)
                .args(["--exporter-image", "localhost/secure-exporter:dev"])
                .args(["--watch-namespaces", &self.namespace])
                .args(["--listen-address", "127.0.0.1:0"])
                .args(["--trust-soak=0s", "--accept-soak=0s", "--blind-wait=0s"])
                .args([
                    "--unused-for=0s",
                    "--minimum-overlap=0s",
                    "--probe-interval=1s",
                    "--request-retry=1s",
                ]),
        )
    }
}

fn write_kubeconfig(file: &Path, server: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "gate",
        "clusters": [{"name": "gate", "cluster": {"server": server}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "nobody"}}],
    });
    Ok(fs::write(file, config.to_string())?)
}
