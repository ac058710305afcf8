//! A namespace of its own for each test.

use std::{
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use serde_json::json;

use crate::{environment, kubectl::Kubectl};

/// A namespace that goes with the value.
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// kubectl for it.
    pub kubectl: Kubectl,
}

/// Runs a test in a namespace of its own, and prints what a person would look at where it fails.
///
/// # Errors
/// Those of the test.
pub fn in_namespace(topic: &str, test: impl FnOnce(&Namespace) -> Result<()>) -> Result<()> {
    in_labelled_namespace(topic, &[], test)
}

/// As [`in_namespace`], with labels on the namespace.
///
/// # Errors
/// Those of the test.
pub fn in_labelled_namespace(
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
        let kubectl = Kubectl::of(&name);
        let labels: serde_json::Map<_, _> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        Kubectl::of("").apply(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        }))?;
        Ok(Self { name, kubectl })
    }

    fn explain(&self) {
        self.print(&["get", "secexp,daemonsets,pods,secrets"]);
        self.print(&["get", "secexp", "-o", "jsonpath={.items[*].status}"]);
        self.print(&["get", "events", "--sort-by=.lastTimestamp"]);
        self.print(&[
            "logs",
            "-l",
            "app.kubernetes.io/name=secure-exporter",
            "--tail=20",
        ]);
        let Ok(operator) = environment::operator_namespace() else {
            return;
        };
        let logs = Kubectl::of(&operator).run(&[
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
        let last = ours
            .get(ours.len().saturating_sub(30)..)
            .unwrap_or_default();
        eprintln!(
            "\n# the operator's log, of {}\n{}",
            self.name,
            last.join("\n")
        );
    }

    fn print(&self, arguments: &[&str]) {
        let text = self
            .kubectl
            .run(arguments)
            .unwrap_or_else(|error| format!("{error:#}"));
        eprintln!("\n# kubectl {}\n{text}", arguments.join(" "));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
        }
        // Not waited for: the next test has a namespace and a port of its own.
        let _ = Kubectl::of("").run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
