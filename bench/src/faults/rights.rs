//! The rights of the operator, taken away one by one.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testbed::kubectl::Kubectl;

use super::fault::Right;

/// What a rotation here has no use for.
const UNUSED: &str = "cert-manager.io";

/// The Role that the chart installed, as it should be.
pub struct Role {
    name: String,
    rules: Value,
}

impl Role {
    /// Reads it.
    ///
    /// # Errors
    /// There is none.
    pub fn read(kubectl: &Kubectl, name: &str) -> Result<Self> {
        let mut role = kubectl.get("role", name)?;
        Ok(Self {
            name: name.to_owned(),
            rules: role["rules"].take(),
        })
    }

    /// Every verb of every rule that is used here.
    pub fn rights(&self) -> Vec<Right> {
        let rules = self.rules.as_array().into_iter().flatten();
        let used = |rule: &&Value| !texts(&rule["apiGroups"]).contains(&UNUSED);
        let rights = rules.enumerate().filter(|(_, rule)| used(rule));
        rights
            .flat_map(|(index, rule)| {
                let resources = texts(&rule["resources"]).join(", ");
                texts(&rule["verbs"]).into_iter().map(move |verb| Right {
                    rule: index,
                    resources: resources.clone(),
                    verb: verb.to_owned(),
                })
            })
            .collect()
    }

    /// Takes one verb away.
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
            // The API server wants a rule to have one. Nobody asks for this one.
            verbs.push(json!("none"));
        }
        self.write(kubectl, &rules)
    }

    /// Gives everything back.
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

fn texts(list: &Value) -> Vec<&str> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}
