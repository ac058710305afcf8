//! Runs an operator as a process of the test, on the control plane without nodes, so that the test can kill it.

pub mod disruption;
pub mod gate;
pub mod installed;

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cluster::Cluster, exporters::condition, kubectl::Kubectl, process::Process, product::binaries,
    rights, secret::SecretData, slot::Slot, test_clusters,
};
use gate::Gate;

/// A namespace for operators that a test runs, and the gate between them and the API server.
pub struct Stage {
    /// kubectl for the namespace.
    pub kubectl: Kubectl,
    /// The gate between the operator and the API server.
    pub gate: Gate,
    folder: TempDir,
}

impl Stage {
    /// Creates a namespace of the control plane without nodes, for operators with the rights that the chart grants.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn new(_slot: &Slot, namespace: &str) -> Result<Self> {
        let cluster = test_clusters::control_plane()?;
        let everywhere = cluster.kubectl("");
        // It exists if the test is repeated on the same control plane.
        everywhere.run(&["delete", "namespace", namespace, "--ignore-not-found"])?;
        everywhere.run(&["create", "namespace", namespace])?;
        Self::of(&cluster, namespace)?.in_the_name_of(rights::ACCOUNT)
    }

    /// Opens a gate for an existing namespace.
    ///
    /// # Errors
    /// kubectl does not start.
    pub fn of(cluster: &Cluster, namespace: &str) -> Result<Self> {
        Ok(Self {
            kubectl: cluster.kubectl(namespace),
            gate: Gate::open(&cluster.kubectl(""))?,
            folder: tempfile::tempdir()?,
        })
    }

    /// The same for operators that only have the rights of this ServiceAccount of the namespace.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn restricted_to(self, account: &str) -> Result<Self> {
        let namespace = self.kubectl.namespace().to_owned();
        self.in_the_name_of((&namespace, account))
    }

    fn in_the_name_of(self, (namespace, account): (&str, &str)) -> Result<Self> {
        let gate = Gate::open_as(&self.kubectl, namespace, account)?;
        Ok(Self { gate, ..self })
    }

    /// The status of the resource `nodes`.
    ///
    /// # Errors
    /// There is no such resource.
    pub fn status(&self) -> Result<Value> {
        let resource = self.kubectl.get("secureexporter", "nodes")?;
        Ok(resource.get("status").cloned().unwrap_or_default())
    }

    /// One of its conditions.
    ///
    /// # Errors
    /// It is not there.
    pub fn condition(&self, kind: &str) -> Result<Value> {
        condition(&self.status()?, kind).cloned()
    }

    /// The content of the Secret `nodes-<what>`.
    ///
    /// # Errors
    /// It is not there.
    pub fn secret(&self, what: &str) -> Result<SecretData> {
        SecretData::of(&self.kubectl.get("secret", &format!("nodes-{what}"))?)
    }

    /// Starts an operator for only this namespace, without minimum waits. It is killed when dropped.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn operator(&self) -> Result<Process> {
        self.operator_with(&["--listen-address=127.0.0.1:0"])
    }

    /// Like [`Self::operator`], with additional arguments, one of which must be `--listen-address`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn operator_with(&self, arguments: &[&str]) -> Result<Process> {
        Process::spawn(
            self.command(&binaries::built(binaries::OPERATOR)?)?
                .arg("run")
                .args(["--exporter-image", "localhost/secure-exporter:dev"])
                .env("SECURE_EXPORTER_RELEASE", "test/secure-exporter")
                .args(["--watch-namespaces", self.kubectl.namespace()])
                .args(["--trust-soak=0s", "--accept-soak=0s", "--blind-wait=0s"])
                .args([
                    "--unused-for=0s",
                    "--minimum-overlap=0s",
                    "--probe-interval=1s",
                    "--request-retry=1s",
                ])
                .args(arguments),
        )
    }

    /// Returns a command that runs this program with a kubeconfig that leads through the gate.
    ///
    /// # Errors
    /// Its kubeconfig cannot be written.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let kubeconfig = self.folder.path().join("kubeconfig");
        write_kubeconfig(&kubeconfig, &self.gate.address)?;
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &kubeconfig);
        Ok(command)
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
