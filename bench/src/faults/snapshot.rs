//! The resource and its Secrets at one moment.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;
use testbed::{exporters::condition, kubectl::Kubectl, secret::SecretData};

/// How long kubectl may wait for an API server that is stopped.
const REQUEST_TIMEOUT: &str = "--request-timeout=5s";
const SECRETS: [&str; 3] = ["nodes-state", "nodes-server", "nodes-scrape"];

/// A snapshot of them.
pub struct Snapshot {
    /// The resource's status.
    pub status: Value,
    /// The generation of the state from which each Secret was rendered, by the name of the Secret.
    pub generations: BTreeMap<String, u64>,
    /// The state Secret, if it exists.
    pub state: Option<SecretData>,
}

impl Snapshot {
    /// Reads them.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn take(kubectl: &Kubectl) -> Result<Self> {
        let mut arguments = vec!["get", "secureexporter/nodes"];
        let secrets = SECRETS.map(|name| format!("secret/{name}"));
        arguments.extend(secrets.iter().map(String::as_str));
        arguments.extend(["-o", "json", "--ignore-not-found", REQUEST_TIMEOUT]);
        let list: Value = serde_json::from_str(&kubectl.run(&arguments)?)?;
        let objects = list["items"].as_array().context("no list")?;
        let named = |name: &str| objects.iter().find(|it| it["metadata"]["name"] == name);
        let generation = |name: &str| {
            let annotations = &named(name)?["metadata"]["annotations"];
            let text = annotations["secureexporter.dev/state-generation"].as_str()?;
            Some((name.to_owned(), text.parse().ok()?))
        };
        Ok(Self {
            status: named("nodes").context("no resource")?["status"].clone(),
            generations: SECRETS.into_iter().filter_map(generation).collect(),
            state: named("nodes-state").map(SecretData::of).transpose()?,
        })
    }

    /// The stages of the current rotation, separated by commas; `None` between rotations.
    pub fn stages(&self) -> Option<&str> {
        self.status["rotation"]["stage"].as_str()
    }

    /// Whether the condition `Ready` is True.
    pub fn is_ready(&self) -> bool {
        condition(&self.status, "Ready").is_ok_and(|ready| ready["status"] == "True")
    }
}
