//! The API server, by kubectl.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{environment, process::output, wait::wait_until};

/// kubectl, mostly for one namespace.
pub struct Kubectl {
    kubeconfig: Option<PathBuf>,
    namespace: String,
}

impl Kubectl {
    /// For the objects of a namespace.
    pub fn of(namespace: &str) -> Self {
        Self {
            kubeconfig: None,
            namespace: namespace.to_owned(),
        }
    }

    /// For the objects of a namespace of another cluster.
    pub fn at(kubeconfig: &Path, namespace: &str) -> Self {
        Self {
            kubeconfig: Some(kubeconfig.to_owned()),
            namespace: namespace.to_owned(),
        }
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

    fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let kubeconfig = match &self.kubeconfig {
            Some(file) => file.clone(),
            None => environment::kubeconfig()?,
        };
        let mut command = Command::new(environment::kubectl()?);
        command
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--request-timeout=60s"]);
        if !self.namespace.is_empty() && !arguments.contains(&"--raw") {
            command.args(["-n", &self.namespace]);
        }
        output(command.args(arguments), input)
    }
}
