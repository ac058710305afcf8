//! Takes away the rights of the operator one by one.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testbed::{kubectl::Kubectl, rights::strings};

use super::fault::Right;

/// The API group that these rotations do not use.
const UNUSED: &str = "cert-manager.io";

/// The Role that the chart installed, unchanged.
pub struct Role {
    name: String,
    rules: Value,
}

impl Role {
    /// Reads the Role.
    ///
    /// # Errors
    /// It does not exist.
    pub fn read(kubectl: &Kubectl, name: &str) -> Result<Self> {
        let mut role = kubectl.get("role", name)?;
        Ok(Self {
            name: name.to_owned(),
            rules: role["rules"].take(),
        })
    }

    /// Returns every verb of every rule that these rotations use.
    pub fn rights(&self) -> Vec<Right> {
        let rules = self.rules.as_array().into_iter().flatten();
        let used = |rule: &&Value| !strings(&rule["apiGroups"]).any(|group| group == UNUSED);
        let rights = rules.enumerate().filter(|(_, rule)| used(rule));
        rights
            .flat_map(|(index, rule)| {
                let resources = strings(&rule["resources"]).collect::<Vec<_>>().join(", ");
                strings(&rule["verbs"]).map(move |verb| Right {
                    rule: index,
                    resources: resources.clone(),
                    verb: verb.to_owned(),
                })
            })
            .collect()
    }

    /// Takes one verb away from the operator.
    ///
    /// # Errors
    /// The API server refused.
    pub fn forbid(&self, kubectl: &Kubectl, right: &Right) -> Result<()> {
        let mut rules = self.rules.clone();
        let verbs = rules[right.rule]["verbs"]
            .as_array_mut()
            .context("a rule without verbs")?;
        verbs.retain(|verb| *verb != right.verb.as_str());
        if verbs.is_empty() {
            // A rule must have a verb. Nobody uses this one.
            verbs.push(json!("none"));
        }
        self.write(kubectl, &rules)
    }

    /// Gives every right back.
    ///
    /// # Errors
    /// As [`Self::forbid`].
    pub fn restore(&self, kubectl: &Kubectl) -> Result<()> {
        self.write(kubectl, &self.rules)
    }

    fn write(&self, kubectl: &Kubectl, rules: &Value) -> Result<()> {
        let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
        kubectl.run(&["patch", "role", &self.name, "--type=json", "-p", &patch])?;
        Ok(())
    }
}
