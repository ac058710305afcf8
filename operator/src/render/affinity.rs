//! The affinity of the exporter's pods: what the user asks for, without the nodes that cannot run an exporter.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
};

/// What a node must be to run an exporter: label, operator, value. A pod on another node would stay pending, and the resource
/// would never be ready.
const REQUIREMENTS: [(&str, &str, &str); 3] = [
    // Not Windows.
    ("kubernetes.io/os", "In", "linux"),
    // Not a virtual node (Virtual Kubelet, ACI), which has no host.
    ("type", "NotIn", "virtual-kubelet"),
    // Nor AWS Fargate, which runs no pods of DaemonSets.
    ("eks.amazonaws.com/compute-type", "NotIn", "fargate"),
];

/// Returns `asked` with [`REQUIREMENTS`]. One whose label the user asks for, in `node_selector` or in a term of the affinity,
/// is left out: the user knows better.
pub(super) fn affinity(
    asked: Option<&Affinity>,
    node_selector: &BTreeMap<String, String>,
) -> Affinity {
    let mut affinity = asked.cloned().unwrap_or_default();
    let of_nodes = affinity.node_affinity.get_or_insert_default();
    let required = &mut of_nodes.required_during_scheduling_ignored_during_execution;
    match required {
        Some(required) => {
            // A node must match one of the terms. An empty one matches none, and must not begin to match.
            let terms = required.node_selector_terms.iter_mut();
            for term in terms.filter(|term| !is_empty(term)) {
                complete(term, node_selector);
            }
        }
        None => {
            let mut term = NodeSelectorTerm::default();
            complete(&mut term, node_selector);
            *required = Some(NodeSelector {
                node_selector_terms: vec![term],
            });
        }
    }
    affinity
}

fn is_empty(term: &NodeSelectorTerm) -> bool {
    let has_none =
        |list: &Option<Vec<NodeSelectorRequirement>>| list.as_ref().is_none_or(Vec::is_empty);
    has_none(&term.match_expressions) && has_none(&term.match_fields)
}

fn complete(term: &mut NodeSelectorTerm, node_selector: &BTreeMap<String, String>) {
    let expressions = term.match_expressions.get_or_insert_default();
    for (label, operator, value) in REQUIREMENTS {
        let is_asked_for = node_selector.contains_key(label)
            || expressions.iter().any(|expression| expression.key == label);
        if !is_asked_for {
            expressions.push(NodeSelectorRequirement {
                key: label.to_owned(),
                operator: operator.to_owned(),
                values: Some(vec![value.to_owned()]),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const EVERYWHERE: &str = "requiredDuringSchedulingIgnoredDuringExecution";

    fn merged(asked: Value, node_selector: Value) -> Value {
        let asked: Option<Affinity> = serde_json::from_value(asked).unwrap();
        let node_selector = serde_json::from_value(node_selector).unwrap();
        serde_json::to_value(affinity(asked.as_ref(), &node_selector)).unwrap()
    }

    fn terms(merged: &Value) -> &Value {
        &merged["nodeAffinity"][EVERYWHERE]["nodeSelectorTerms"]
    }

    fn linux() -> Value {
        json!({"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]})
    }

    fn no_virtual_node() -> Value {
        json!({"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]})
    }

    fn no_fargate() -> Value {
        json!({"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["fargate"]})
    }

    #[test]
    fn nodes_that_cannot_run_an_exporter_are_left_out() {
        let expected = json!([{"matchExpressions": [linux(), no_virtual_node(), no_fargate()]}]);
        assert_eq!(terms(&merged(json!(null), json!({}))), &expected);
        let of_pods = json!({"podAntiAffinity": {}, "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}});
        let both = merged(of_pods, json!({}));
        assert_eq!(terms(&both), &expected);
        assert_eq!(both["podAntiAffinity"], json!({}));
    }

    #[test]
    fn every_term_of_the_user_is_completed() {
        let zone = |name: &str| json!({"key": "zone", "operator": "In", "values": [name]});
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["node1"]});
        let asked = json!({"nodeAffinity": {EVERYWHERE: {"nodeSelectorTerms": [
            {"matchExpressions": [zone("a")]}, {"matchFields": [field]}, {}]}}});
        let rest = [linux(), no_virtual_node(), no_fargate()];
        let mut first = vec![zone("a")];
        first.extend(rest.clone());
        assert_eq!(
            terms(&merged(asked, json!({}))),
            &json!([{"matchExpressions": first}, {"matchExpressions": rest, "matchFields": [field]}, {}])
        );
    }

    #[test]
    fn a_label_that_the_user_asks_for_is_the_users_choice() {
        let virtual_only = json!({"key": "type", "operator": "In", "values": ["virtual-kubelet"]});
        let asked = json!({"nodeAffinity": {EVERYWHERE: {"nodeSelectorTerms": [
            {"matchExpressions": [virtual_only]}]}}});
        let selector = json!({"kubernetes.io/os": "linux"});
        assert_eq!(
            terms(&merged(asked, selector)),
            &json!([{"matchExpressions": [virtual_only, no_fargate()]}])
        );
    }
}
