//! What the operator may do and what it does: the chart's rules, and the audit logs of the clusters.
#![allow(clippy::indexing_slicing, reason = "a field that JSON lacks is null")]

use std::{collections::BTreeSet, fmt, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{cluster::Cluster, kubectl::Kubectl, product::install};

/// The namespace and name of the ServiceAccount in whose name operators of the tests' own act.
pub const ACCOUNT: (&str, &str) = ("operators", "operator");

/// Rights that no request shows: why each is granted all the same.
const HELD: [(&str, &str, &str); 4] = [
    // Clusters that protect owner references ask for it when an object is created that names its owner.
    ("secureexporter.dev", "secureexporters/finalizers", "update"),
    // Held only because nobody can grant what he does not have: the scrapers' Role contains them.
    ("", "pods", "get"),
    ("", "pods", "list"),
    ("", "pods", "watch"),
];

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            resource,
            verb,
        } = self;
        write!(formatter, "{verb} {resource}")?;
        if group.is_empty() {
            Ok(())
        } else {
            write!(formatter, ".{group}")
        }
    }
}

/// Gives operators of the tests' own on the cluster without nodes what the chart gives to its operator on the other one, so
/// that every test shows whether it is enough.
///
/// # Errors
/// The chart is not installed, or an API server does not answer.
pub fn copy(from: &Cluster, to: &Cluster) -> Result<()> {
    let (namespace, account) = ACCOUNT;
    let target = to.kubectl("");
    for role in roles(&from.kubectl(""))? {
        let name = &role["metadata"]["name"];
        target.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": role["rules"],
        }))?;
        target.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": account}],
        }))?;
    }
    Ok(())
}

/// Compares what the chart grants with what operators did in all tests together.
///
/// # Errors
/// A right was never used, or one was used that nobody granted.
pub fn compare(main: &Cluster, control_plane: &Cluster) -> Result<()> {
    let granted = granted(&main.kubectl(""))?;
    let (namespace, account) = ACCOUNT;
    let mut used = used(&main.audit_log(), install::NAMESPACE, "secure-exporter")?;
    used.append(&mut self::used(
        &control_plane.audit_log(),
        namespace,
        account,
    )?);
    let held: BTreeSet<Right> = HELD
        .iter()
        .map(|(group, resource, verb)| right(group, resource, verb))
        .collect();
    let unused: Vec<String> = granted
        .difference(&used)
        .filter(|right| !held.contains(right))
        .map(Right::to_string)
        .collect();
    if !unused.is_empty() {
        bail!(
            "the chart grants the operator rights that it used in no test: {}; take them out of charts/secure-exporter/templates/_rules.tpl, or test what needs them",
            unused.join(", ")
        );
    }
    Ok(())
}

fn roles(kubectl: &Kubectl) -> Result<Vec<Value>> {
    let roles = kubectl.list("clusterroles", "app.kubernetes.io/part-of=secure-exporter")?;
    if roles.is_empty() {
        bail!("the chart is not installed: it has no ClusterRole here");
    }
    Ok(roles)
}

fn granted(kubectl: &Kubectl) -> Result<BTreeSet<Right>> {
    let mut granted = BTreeSet::new();
    for role in roles(kubectl)? {
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    for verb in words(&rule["verbs"]) {
                        granted.insert(right(group, resource, verb));
                    }
                }
            }
        }
    }
    Ok(granted)
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// What a ServiceAccount did and was allowed to do, by an audit log.
fn used(log: &Path, namespace: &str, account: &str) -> Result<BTreeSet<Right>> {
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut used = BTreeSet::new();
    for line in text.lines().filter(|line| line.contains(&user)) {
        let event: Value = serde_json::from_str(line)?;
        let acting = event
            .pointer("/impersonatedUser/username")
            .or_else(|| event.pointer("/user/username"));
        if acting.and_then(Value::as_str) != Some(&user) {
            continue;
        }
        let text = |path: &str| {
            event
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let code = event
            .pointer("/responseStatus/code")
            .and_then(Value::as_i64);
        let (group, verb) = (text("/objectRef/apiGroup"), text("/verb"));
        let resource = match text("/objectRef/subresource") {
            "" => text("/objectRef/resource").to_owned(),
            part => format!("{}/{part}", text("/objectRef/resource")),
        };
        if code == Some(403) {
            continue;
        }
        used.insert(right(group, &resource, verb));
        // Server-side apply asks for this right, too, when it creates the object.
        if verb == "patch" && code == Some(201) {
            used.insert(right(group, &resource, "create"));
        }
    }
    Ok(used)
}

fn right(group: &str, resource: &str, verb: &str) -> Right {
    Right {
        group: group.to_owned(),
        resource: resource.to_owned(),
        verb: verb.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_account_did_counts() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.log");
        let event = |verb: &str, who: Value, code: i64| {
            let mut event = json!({
                "verb": verb, "responseStatus": {"code": code},
                "objectRef": {"resource": "daemonsets", "apiGroup": "apps"},
            });
            event
                .as_object_mut()
                .unwrap()
                .extend(who.as_object().unwrap().clone());
            event.to_string()
        };
        let user = "system:serviceaccount:operators:operator";
        let itself = json!({"user": {"username": user}});
        let lent = json!({"user": {"username": "admin"}, "impersonatedUser": {"username": user}});
        let about = json!({"user": {"username": "admin"}, "requestURI": user});
        let lines = [
            event("patch", itself.clone(), 201),
            event("list", lent, 200),
            event("update", itself, 403),
            event("delete", about, 200),
        ];
        fs::write(&log, lines.join("\n")).unwrap();
        let used = used(&log, "operators", "operator").unwrap();
        let used: Vec<String> = used.iter().map(Right::to_string).collect();
        let expected = ["create", "list", "patch"].map(|verb| format!("{verb} daemonsets.apps"));
        assert_eq!(used, expected);
    }
}
