//! The API server, by kubectl.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    paths,
    process::output_with_input,
    servers::{self, Kubernetes},
    wait::wait_until,
};

/// kubectl, mostly for one namespace.
pub struct Kubectl {
    version: Kubernetes,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Kubectl {
    /// For the objects of a namespace of a cluster of this version; for what has no namespace where that is empty.
    pub fn new(version: Kubernetes, kubeconfig: &Path, namespace: &str) -> Self {
        Self {
            version,
            kubeconfig: kubeconfig.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// The namespace whose objects it is for.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The kubeconfig that it uses.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl for the cluster, to be given its arguments.
    ///
    /// # Errors
    /// kubectl is neither there nor can be built.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(servers::kubernetes_commands(self.version)?.join("kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        Ok(command)
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// It failed: holds what it said. So for all functions here.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with(arguments, "")
    }

    /// An object.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        self.find(kind, name)?
            .with_context(|| format!("there is no {kind} {name} in {}", self.namespace))
    }

    /// An object, if there is one.
    pub fn find(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let text = self.run(&["get", kind, name, "-o", "json", "--ignore-not-found"])?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// All objects of some kinds, separated by commas.
    pub fn list(&self, kinds: &str, selector: &str) -> Result<Vec<Value>> {
        let text = self.run(&["get", kinds, "-o", "json", "-l", selector])?;
        let list: Value = serde_json::from_str(&text)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Writes an object.
    pub fn apply(&self, object: &Value) -> Result<()> {
        self.run_with(&["apply", "-f", "-"], &object.to_string())?;
        Ok(())
    }

    /// Writes the objects of a file.
    pub fn apply_file(&self, file: &Path) -> Result<()> {
        self.run(&["apply", "-f", paths::text(file)?])?;
        Ok(())
    }

    /// Writes definitions, of a file or of all files of a folder, and waits until the API server serves their kinds.
    pub fn define(&self, definitions: &Path) -> Result<()> {
        let definitions = paths::text(definitions)?;
        self.run(&["apply", "--server-side", "-f", definitions])?;
        self.run(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "-f",
            definitions,
        ])?;
        Ok(())
    }

    /// Sets an annotation, `key=value`, on an object.
    pub fn annotate(&self, kind: &str, name: &str, annotation: &str) -> Result<()> {
        self.run(&["annotate", kind, name, annotation, "--overwrite"])?;
        Ok(())
    }

    /// What the API server would say to an object; nothing is kept of it.
    pub fn would_apply(&self, object: &Value) -> Result<()> {
        self.run_with(
            &["create", "--dry-run=server", "-f", "-"],
            &object.to_string(),
        )?;
        Ok(())
    }

    /// Removes an object and waits until it is gone.
    pub fn delete(&self, kind: &str, name: &str) -> Result<()> {
        self.run(&["delete", kind, name, "--timeout=60s"])?;
        Ok(())
    }

    /// Waits until an object of this name is another one than `old`, an object that was deleted.
    pub fn wait_recreated(&self, kind: &str, old: &Value) -> Result<Value> {
        let name = old["metadata"]["name"].as_str().context("it has no name")?;
        let what = format!("{kind} {name} to come back");
        wait_until(&what, Duration::from_secs(60), || {
            let found = self.find(kind, name)?;
            Ok(found.filter(|new| new["metadata"]["uid"] != old["metadata"]["uid"]))
        })
    }

    /// What it prints of a path of the API server.
    pub fn raw(&self, path: &str) -> Result<String> {
        self.run(&["get", "--raw", path])
    }

    /// Prints what it prints, for a person who looks for the cause of a failure.
    pub fn explain(&self, arguments: &[&str]) {
        let text = self
            .run(arguments)
            .unwrap_or_else(|error| format!("{error:#}"));
        eprintln!("\n# kubectl {}\n{text}", arguments.join(" "));
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.command()?;
        command.arg("--request-timeout=60s");
        if !self.namespace.is_empty() && !arguments.contains(&"--raw") {
            command.args(["-n", &self.namespace]);
        }
        output_with_input(command.args(arguments), input)
    }
}
