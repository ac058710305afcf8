//! The rights of operators: what the chart grants, what a test grants, and what the audit logs show that operators used.
#![allow(clippy::indexing_slicing, reason = "a field that JSON lacks is null")]

use std::{collections::BTreeSet, fmt, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{cluster::Cluster, kubectl::Kubectl, product::install};

/// The namespace and name of the ServiceAccount that operators act as when a test runs them.
pub const ACCOUNT: (&str, &str) = ("operators", "operator");

/// Rights that are needed although no request in the audit logs shows them, and why.
const NEEDED_UNSEEN: [(&str, &str, &str); 2] = [
    // Clusters that protect owner references (OwnerReferencesPermissionEnforcement) require it to create an owned object.
    ("secureexporter.dev", "secureexporters/finalizers", "update"),
    // The operator grants it to scrapers in a Role, and can only grant what it may do itself.
    ("", "pods", "get"),
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

/// Grants to the operators that tests run on the cluster without nodes what the chart grants to its operator on the other
/// cluster, so that every test shows whether it is enough.
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

/// Compares what the chart grants with what operators used in all tests together.
///
/// # Errors
/// A right was never used, or a cluster does not answer.
pub fn compare(main: &Cluster, control_plane: &Cluster) -> Result<()> {
    let granted = granted(&main.kubectl(""))?;
    let (namespace, account) = ACCOUNT;
    let mut used = used(
        &main.audit_log(),
        install::NAMESPACE,
        "secure-exporter-operator",
    )?;
    used.append(&mut self::used(
        &control_plane.audit_log(),
        namespace,
        account,
    )?);
    let needed_unseen: BTreeSet<Right> = NEEDED_UNSEEN
        .iter()
        .map(|(group, resource, verb)| right(group, resource, verb))
        .collect();
    if let Some(seen) = needed_unseen.intersection(&used).next() {
        bail!("the right to {seen} was used: take it off NEEDED_UNSEEN");
    }
    let unused: Vec<String> = granted
        .difference(&used)
        .filter(|right| !needed_unseen.contains(right))
        .map(Right::to_string)
        .collect();
    if !unused.is_empty() {
        bail!(
            "the chart grants the operator rights that it used in no test: {}; remove them from charts/secure-exporter/templates/_rules.tpl, or test what needs them",
            unused.join(", ")
        );
    }
    Ok(())
}

/// Grants these rules to a ServiceAccount of the namespace, by a Role and a RoleBinding of this name.
///
/// # Errors
/// The API server refused.
pub fn grant(kubectl: &Kubectl, account: &str, name: &str, rules: &Value) -> Result<()> {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    kubectl.apply(&json!({
        "apiVersion": version, "kind": "Role", "metadata": {"name": name}, "rules": rules,
    }))?;
    kubectl.apply(&json!({
        "apiVersion": version, "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": kubectl.namespace()}],
    }))
}

fn roles(kubectl: &Kubectl) -> Result<Vec<Value>> {
    let ours = "app.kubernetes.io/part-of=secure-exporter";
    // Without the roles for people.
    let selector = format!("{ours},app.kubernetes.io/component!=access");
    let roles = kubectl.list("clusterroles", &selector)?;
    if roles.is_empty() {
        bail!("the chart is not installed: there is no ClusterRole of it");
    }
    Ok(roles)
}

fn granted(kubectl: &Kubectl) -> Result<BTreeSet<Right>> {
    let mut granted = BTreeSet::new();
    for role in roles(kubectl)? {
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    for verb in strings(&rule["verbs"]) {
                        granted.insert(right(group, resource, verb));
                    }
                }
            }
        }
    }
    Ok(granted)
}

/// Returns the strings of a JSON list.
pub fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Returns the rights that a ServiceAccount used, according to an audit log.
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
        // Server-side apply also needs this right when it creates the object.
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
    fn only_granted_requests_of_the_account_count() {
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
