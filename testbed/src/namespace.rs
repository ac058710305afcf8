//! A namespace of its own for each test.

use std::{
    net::Ipv4Addr,
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use serde_json::json;

use crate::{kubectl::Kubectl, process::tail, product::install, slot::Slot, test_clusters};

/// A namespace that goes with the value.
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// kubectl for it.
    pub kubectl: Kubectl,
    /// The address of the cluster's one node.
    pub node_address: Ipv4Addr,
    operator: Kubectl,
    everywhere: Kubectl,
}

/// Runs a test in a namespace of its own, and prints what a person would look at where it fails.
///
/// # Errors
/// Those of the test.
pub fn in_namespace(
    slot: &Slot,
    topic: &str,
    test: impl FnOnce(&Namespace) -> Result<()>,
) -> Result<()> {
    in_labelled_namespace(slot, topic, &[], test)
}

/// As [`in_namespace`], with labels on the namespace.
///
/// # Errors
/// Those of the test.
pub fn in_labelled_namespace(
    _slot: &Slot,
    topic: &str,
    labels: &[(&str, &str)],
    test: impl FnOnce(&Namespace) -> Result<()>,
) -> Result<()> {
    let namespace = Namespace::create(topic, labels)?;
    let outcome = test(&namespace);
    if outcome.is_err() {
        namespace.explain();
    }
    outcome
}

impl Namespace {
    fn create(topic: &str, labels: &[(&str, &str)]) -> Result<Self> {
        // Unlike any other's, also that of an earlier run which is still going away.
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let name = format!("{topic}-{}-{}", process::id(), time.subsec_micros());
        let cluster = test_clusters::main()?;
        let labels: serde_json::Map<_, _> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let everywhere = cluster.kubectl("");
        everywhere.apply(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        }))?;
        Ok(Self {
            kubectl: cluster.kubectl(&name),
            operator: cluster.kubectl(install::NAMESPACE),
            node_address: cluster.node_address(),
            everywhere,
            name,
        })
    }

    fn explain(&self) {
        self.kubectl
            .explain(&["get", "secexp,daemonsets,pods,secrets"]);
        self.kubectl
            .explain(&["get", "secexp", "-o", "jsonpath={.items[*].status}"]);
        self.kubectl
            .explain(&["get", "events", "--sort-by=.lastTimestamp"]);
        self.kubectl.explain(&[
            "logs",
            "-l",
            "app.kubernetes.io/name=secure-exporter",
            "--tail=20",
        ]);
        let logs = self.operator.run(&[
            "logs",
            "-l",
            "app.kubernetes.io/name=secure-exporter-operator",
            "--tail=-1",
        ]);
        let logs = logs.unwrap_or_else(|error| format!("{error:#}"));
        let ours: Vec<&str> = logs
            .lines()
            .filter(|line| line.contains(&self.name))
            .collect();
        let last = tail(&ours.join("\n"), 30);
        eprintln!("\n# the operator's log, of {}\n{last}", self.name);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
        }
        // Not waited for: the next test has a namespace and a port of its own.
        let delete = ["delete", "namespace", &self.name, "--wait=false"];
        let _ = self.everywhere.run(&delete);
    }
}
