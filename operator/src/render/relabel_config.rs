//! The relabelling rules of the scrape configuration, for every scraper.

use serde::Serialize;

use crate::{
    api::{InstanceLabel, RelabelAction, Relabeling},
    names::PORT_NAME,
    spec::ValidScrape,
};

/// A relabelling rule as Prometheus reads it from a file.
#[derive(Serialize)]
pub(crate) struct RelabelConfig {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    source_labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    separator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modulus: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replacement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
}

/// The rules for the targets that Kubernetes discovery returns: one for each port of each pod, with the pod's address and that
/// port. The labels are those that prometheus-operator sets, because common rules join series by them.
pub(crate) fn discovered(scrape: &ValidScrape) -> Vec<Relabeling> {
    let mut rules = vec![
        keep("__meta_kubernetes_pod_phase", "Running"),
        keep("__meta_kubernetes_pod_container_port_name", PORT_NAME),
        copy("__meta_kubernetes_namespace", "namespace"),
        copy("__meta_kubernetes_pod_name", "pod"),
        copy("__meta_kubernetes_pod_container_name", "container"),
        set("endpoint", PORT_NAME),
    ];
    rules.extend(of_resource(scrape));
    rules
}

/// The rules that depend on the resource: the node, the instance, the job, and what the user adds.
pub(crate) fn of_resource(scrape: &ValidScrape) -> Vec<Relabeling> {
    let node = "__meta_kubernetes_pod_node_name";
    let mut rules = vec![copy(node, "node")];
    // Without a rule, the instance is address and port.
    if scrape.instance_label == InstanceLabel::NodeName {
        rules.push(copy(node, "instance"));
    }
    rules.push(set("job", &scrape.job_label));
    let extra = scrape.extra_labels.iter();
    rules.extend(extra.map(|(name, value)| set(name, value)));
    if !scrape.relabelings.is_empty() {
        rules.extend(scrape.relabelings.iter().cloned());
        // Rules that copy labels by pattern could set it, too, and the password must never be sent without TLS.
        rules.push(set("__scheme__", "https"));
    }
    rules
}

fn keep(label: &str, value: &str) -> Relabeling {
    Relabeling {
        source_labels: vec![label.to_owned()],
        regex: Some(value.to_owned()),
        action: RelabelAction::Keep,
        ..Relabeling::default()
    }
}

fn copy(from: &str, to: &str) -> Relabeling {
    Relabeling {
        source_labels: vec![from.to_owned()],
        target_label: Some(to.to_owned()),
        ..Relabeling::default()
    }
}

fn set(label: &str, value: &str) -> Relabeling {
    Relabeling {
        target_label: Some(label.to_owned()),
        // A dollar sign would start a reference to a capture group.
        replacement: Some(value.replace('$', "$$")),
        ..Relabeling::default()
    }
}

impl From<Relabeling> for RelabelConfig {
    fn from(rule: Relabeling) -> Self {
        Self {
            source_labels: rule.source_labels,
            separator: rule.separator,
            regex: rule.regex,
            modulus: rule.modulus,
            target_label: rule.target_label,
            replacement: rule.replacement,
            action: (rule.action != RelabelAction::Replace).then(|| rule.action.name()),
        }
    }
}

impl RelabelConfig {
    /// Renders the rule as a block of Alloy.
    pub(crate) fn alloy(&self) -> String {
        let sources: Vec<_> = self.source_labels.iter().map(|it| quoted(it)).collect();
        let text = |text: &Option<String>| text.as_deref().map(quoted);
        let attributes = [
            (
                "source_labels",
                (!sources.is_empty()).then(|| format!("[{}]", sources.join(", "))),
            ),
            ("separator", text(&self.separator)),
            ("regex", text(&self.regex)),
            ("modulus", self.modulus.map(|modulus| modulus.to_string())),
            ("target_label", text(&self.target_label)),
            ("replacement", text(&self.replacement)),
            ("action", self.action.map(quoted)),
        ];
        let lines: String = attributes
            .into_iter()
            .filter_map(|(name, value)| Some(format!("      {name} = {}\n", value?)))
            .collect();
        format!("    rule {{\n{lines}    }}\n")
    }
}

/// Formats a string literal of Alloy, which has the escapes of JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
