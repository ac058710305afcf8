//! Checks relabelling rules as Prometheus does when it loads its configuration, which it refuses as a whole otherwise.
//!
//! The labels that say where and how a target is scraped may not be set. Rules that copy labels by pattern could still do it;
//! what protects the password is that `__scheme__` is set back last and that the exporter's certificate is verified first.

use crate::{
    api::{RelabelAction, Relabeling},
    spec::error::SpecError,
};
use secure_exporter::collect::Pattern;

/// What the labels belong to that rules change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Labels {
    /// A target, before it is scraped.
    OfTargets,
    /// A sample, before it is stored.
    OfSamples,
}

/// Prefix of labels that rules may use for intermediate values.
const TEMPORARY: &str = "__tmp";

/// Checks each rule, and names the first invalid one.
pub(crate) fn check_relabelings(
    field: &str,
    rules: &[Relabeling],
    labels: Labels,
) -> Result<(), SpecError> {
    for (index, rule) in rules.iter().enumerate() {
        check(&format!("{field}[{index}]"), rule, labels)?;
    }
    Ok(())
}

/// Checks a text that becomes the value of a label. vmagent replaces `%{…}` in its configuration by an environment variable of
/// its own, which must not end up in a label.
pub(crate) fn check_label_value(field: &str, value: &str) -> Result<(), SpecError> {
    if value.contains("%{") {
        return Err(SpecError::new(
            field,
            "must not contain '%{', which vmagent replaces by its own environment variables: remove it",
        ));
    }
    Ok(())
}

pub(crate) fn is_label_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn check(field: &str, rule: &Relabeling, labels: Labels) -> Result<(), SpecError> {
    let error = |name: &str, problem: String| SpecError::new(format!("{field}.{name}"), problem);
    let action = rule.action.name();
    for source in &rule.source_labels {
        if !is_label_name(source) {
            let problem = format!("{source:?} is not a label name: use letters, digits and '_'");
            return Err(error("sourceLabels", problem));
        }
    }
    let texts = [
        ("separator", &rule.separator),
        ("regex", &rule.regex),
        ("replacement", &rule.replacement),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            check_label_value(&format!("{field}.{name}"), text)?;
        }
    }
    if let Some(regex) = &rule.regex {
        Pattern::new(&format!("^(?s:{regex})$"))
            .map_err(|source| error("regex", format!("is not a regular expression: {source}")))?;
    }
    check_target(rule, labels).map_err(|problem| error("targetLabel", problem))?;
    check_fields(rule).map_err(|name| {
        error(
            name,
            format!("must not be set for the action {action}: remove it"),
        )
    })?;
    match rule.action {
        RelabelAction::HashMod if rule.modulus.unwrap_or_default() < 1 => Err(error(
            "modulus",
            "must be set to at least 1 for the action hashmod".to_owned(),
        )),
        RelabelAction::LabelMap if !is_template(rule.replacement.as_deref()) => Err(error(
            "replacement",
            "is not a label name: use letters, digits, '_' and groups such as $1, and do not begin with two underscores"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Whether the action sets or compares a label.
fn has_target(action: RelabelAction) -> bool {
    match action {
        RelabelAction::Replace
        | RelabelAction::HashMod
        | RelabelAction::Lowercase
        | RelabelAction::Uppercase
        | RelabelAction::KeepEqual
        | RelabelAction::DropEqual => true,
        RelabelAction::Keep
        | RelabelAction::Drop
        | RelabelAction::LabelMap
        | RelabelAction::LabelDrop
        | RelabelAction::LabelKeep => false,
    }
}

fn check_target(rule: &Relabeling, labels: Labels) -> Result<(), String> {
    let action = rule.action.name();
    let Some(target) = &rule.target_label else {
        return if has_target(rule.action) {
            Err(format!("must be set for the action {action}"))
        } else {
            Ok(())
        };
    };
    if !is_label_name(target) {
        return Err(format!(
            "{target:?} is not a label name: use letters, digits and '_'"
        ));
    }
    let only_compares = matches!(
        rule.action,
        RelabelAction::KeepEqual | RelabelAction::DropEqual
    );
    let is_name_of_metric = target == "__name__" && labels == Labels::OfSamples;
    let is_reserved = target.starts_with("__") && !target.starts_with(TEMPORARY);
    if is_reserved && !is_name_of_metric && !only_compares {
        return Err(format!(
            "{target} says where or how a target is scraped, and a password could be sent elsewhere: \
             use another label, or {TEMPORARY} for an intermediate value"
        ));
    }
    Ok(())
}

/// Returns the first field that is set and that Prometheus refuses for the action.
fn check_fields(rule: &Relabeling) -> Result<(), &'static str> {
    let set = [
        ("sourceLabels", !rule.source_labels.is_empty()),
        ("separator", rule.separator.is_some()),
        ("targetLabel", rule.target_label.is_some()),
        ("regex", rule.regex.is_some()),
        ("modulus", rule.modulus.is_some()),
        ("replacement", rule.replacement.is_some()),
    ];
    let refused: &[&str] = match rule.action {
        RelabelAction::LabelDrop | RelabelAction::LabelKeep => &[
            "sourceLabels",
            "separator",
            "targetLabel",
            "modulus",
            "replacement",
        ],
        RelabelAction::KeepEqual | RelabelAction::DropEqual => {
            &["separator", "regex", "modulus", "replacement"]
        }
        RelabelAction::Lowercase | RelabelAction::Uppercase => &["replacement"],
        _ => &[],
    };
    let refused = |&&(name, is_set): &&(&'static str, bool)| is_set && refused.contains(&name);
    set.iter()
        .find(refused)
        .map_or(Ok(()), |(name, _)| Err(*name))
}

/// The replacements that every version of Prometheus accepts for the action labelmap: names of labels with groups in them.
const LABEL_TEMPLATE: &str = r"^(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+$";

/// Whether a replacement makes a name of a label once the groups in it are replaced.
fn is_template(replacement: Option<&str>) -> bool {
    replacement.is_none_or(|text| {
        let template = Pattern::new(LABEL_TEMPLATE);
        !text.starts_with("__") && template.is_ok_and(|it| it.is_match(text.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problem(rule: Value, labels: Labels) -> Option<String> {
        let rule: Relabeling = serde_json::from_value(rule).unwrap();
        let outcome = check_relabelings("rules", &[rule], labels);
        outcome.err().map(|error| error.to_string())
    }

    #[test]
    fn rules_that_prometheus_accepts_are_accepted() {
        for rule in [
            json!({"sourceLabels": ["__meta_kubernetes_node_label_zone"], "targetLabel": "zone"}),
            json!({"targetLabel": "cluster", "replacement": "west"}),
            json!({"action": "drop", "sourceLabels": ["node"], "regex": "test-.*"}),
            json!({"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"}),
            json!({"action": "labelmap", "regex": "a_(.+)", "replacement": "b_$1"}),
            json!({"action": "labeldrop", "regex": "container"}),
            json!({"action": "hashmod", "sourceLabels": ["node"], "modulus": 4, "targetLabel": "__tmp_shard"}),
            json!({"action": "keepequal", "sourceLabels": ["node"], "targetLabel": "__meta_kubernetes_pod_node_name"}),
            json!({"action": "lowercase", "sourceLabels": ["node"], "targetLabel": "node"}),
        ] {
            assert_eq!(problem(rule.clone(), Labels::OfTargets), None, "{rule}");
        }
        let rename =
            json!({"sourceLabels": ["__name__"], "regex": "node_(.*)", "targetLabel": "__name__"});
        assert_eq!(problem(rename, Labels::OfSamples), None);
    }

    #[test]
    fn what_prometheus_refuses_is_refused_with_the_field() {
        for (rule, field) in [
            (json!({"sourceLabels": ["a"]}), "rules[0].targetLabel"),
            (json!({"targetLabel": "a-b"}), "rules[0].targetLabel"),
            (
                json!({"sourceLabels": ["a-b"], "targetLabel": "a"}),
                "rules[0].sourceLabels",
            ),
            (json!({"targetLabel": "a", "regex": "("}), "rules[0].regex"),
            // Rust's expressions, which Go refuses: Prometheus would load nothing any more.
            (
                json!({"targetLabel": "a", "regex": "a{1001}"}),
                "rules[0].regex",
            ),
            (
                json!({"targetLabel": "a", "regex": "(?x)a"}),
                "rules[0].regex",
            ),
            (
                json!({"action": "hashmod", "targetLabel": "a"}),
                "rules[0].modulus",
            ),
            (
                json!({"action": "labeldrop", "regex": "a", "targetLabel": "b"}),
                "rules[0].targetLabel",
            ),
            (
                json!({"action": "labelmap", "replacement": "a-b"}),
                "rules[0].replacement",
            ),
            (
                json!({"action": "uppercase", "targetLabel": "a", "replacement": "b"}),
                "rules[0].replacement",
            ),
            (
                json!({"action": "dropequal", "targetLabel": "a", "regex": "b"}),
                "rules[0].regex",
            ),
            (
                json!({"targetLabel": "a", "replacement": "%{HOME}"}),
                "rules[0].replacement",
            ),
        ] {
            let problem = problem(rule.clone(), Labels::OfTargets).unwrap_or_default();
            assert!(problem.starts_with(field), "{rule}: {problem}");
        }
    }

    #[test]
    fn no_rule_sets_a_label_that_says_how_to_scrape() {
        for label in [
            "__address__",
            "__scheme__",
            "__metrics_path__",
            "__param_target",
            "__name__",
        ] {
            let rule = json!({"targetLabel": label, "replacement": "http"});
            let problem = problem(rule, Labels::OfTargets).unwrap_or_default();
            assert!(problem.contains("scraped"), "{label}: {problem}");
        }
        let rule = json!({"action": "labelmap", "regex": "a", "replacement": "__scheme__"});
        assert!(problem(rule, Labels::OfTargets).is_some());
    }
}
