//! What the operator cannot know, and what is wrong although no pod fails, is reported: a resource never looks healthy only
//! because nothing was reported.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{condition, resource},
    operator::Stage,
    played_node::PlayedNode,
    process::{Process, free_port},
    product::binaries,
    rights,
    slot::Slot,
    wait::wait_until,
};

/// How long the operator may take to report something.
const REPORT_TIMEOUT: Duration = Duration::from_secs(75);
/// Arguments with which the operator asks the exporters every second.
const FREQUENT_SAMPLES: [&str; 2] = ["--listen-address=127.0.0.1:0", "--sample-interval=1s"];
/// Output of `htpasswd -nbBC 6 alice 'wonderland is open'`
const ANOTHER_HASH: &str = "$2y$06$H0g7c9.qaKp4qEbNd2QNi.jU.5WJ4AA4HH3FOKtVWJ2PDTlUvRFhi";

#[test]
fn a_resource_that_no_operator_watches_says_so() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "unwatched")?;
    stage.kubectl.apply(&resource("nodes", &json!({})))?;
    let ready = stage.condition("Ready")?;
    ensure!(
        ready["status"] == "Unknown" && ready["reason"] == "Pending",
        "{ready}"
    );
    let message = ready["message"].as_str().unwrap_or_default();
    ensure!(message.contains("watchNamespaces"), "{ready}");
    let table = stage.kubectl.run(&["get", "secexp", "-o", "wide"])?;
    ensure!(
        table.contains("Unknown") && table.contains("Pending"),
        "{table}"
    );

    let _operator = stage.operator()?;
    wait_until("another condition", REPORT_TIMEOUT, || {
        let status = stage.status()?;
        let ready = condition(&status, "Ready")?;
        // There is no node.
        ensure!(ready["reason"] == "NoNodesMatched", "{ready}");
        ensure!(
            ready["lastTransitionTime"] != "1970-01-01T00:00:00Z",
            "{ready}"
        );
        Ok((status["observedGeneration"] == 1).then_some(()))
    })?;
    wait_event(&stage, "NoNodesMatched")
}

#[test]
fn without_the_right_to_read_pods_their_state_is_unknown() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "blind")?.restricted_to("operator")?;
    grant(
        &stage,
        "all-but-pods",
        &json!([
            {"apiGroups": ["secureexporter.dev"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": [""], "verbs": ["*"],
                "resources": ["secrets", "configmaps", "services", "serviceaccounts", "events"]},
            {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["*"]},
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["*"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["*"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
        ]),
    )?;
    let pods =
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]);
    grant(&stage, "pods", &pods)?;
    let node = PlayedNode::join(&stage)?;
    let _operator = stage.operator_with(&FREQUENT_SAMPLES)?;
    stage
        .kubectl
        .apply(&resource("nodes", &spec(&node, 9100)))?;
    node.run_pod(&stage)?;
    wait_ready(&stage, "True", "AllNodesServing")?;

    stage.kubectl.delete("rolebinding", "pods")?;
    let ready = wait_ready(&stage, "Unknown", "Forbidden")?;
    let message = ready["message"].as_str().unwrap_or_default();
    for words in ["cannot list resource", "pods", "helm upgrade"] {
        ensure!(message.contains(words), "no {words}: {message}");
    }
    let status = stage.status()?;
    ensure!(status["nodes"]["verified"].is_null(), "{status}");
    for kind in ["ExportersVerified", "PortConflict"] {
        let unknown = condition(&status, kind)?;
        ensure!(unknown["status"] == "Unknown", "{unknown}");
    }
    let stalled = condition(&status, "Stalled")?;
    ensure!(stalled["status"] == "True", "{stalled}");

    grant(&stage, "pods", &pods)?;
    wait_ready(&stage, "True", "AllNodesServing")?;
    Ok(())
}

#[test]
fn a_pod_that_a_quota_refuses_is_reported() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "refused-pods")?;
    stage.kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }))?;
    wait_until("the quota", REPORT_TIMEOUT, || {
        let quota = stage.kubectl.get("resourcequota", "none")?;
        Ok((quota["status"]["hard"]["pods"] == "0").then_some(()))
    })?;
    let node = PlayedNode::join(&stage)?;
    let _operator = stage.operator()?;
    stage
        .kubectl
        .apply(&resource("nodes", &spec(&node, 9100)))?;
    let ready = wait_ready(&stage, "False", "PodsRefused")?;
    let message = ready["message"].as_str().unwrap_or_default();
    ensure!(message.contains("exceeded quota: none"), "{ready}");
    ensure!(stage.condition("Stalled")?["status"] == "True");
    wait_event(&stage, "PodsRefused")?;

    // The fix, and a change of the DaemonSet after which its controller tries again at once.
    stage.kubectl.delete("resourcequota", "none")?;
    stage
        .kubectl
        .annotate("daemonset", "nodes", "example.com/again=1")?;
    node.run_pod(&stage)?;
    wait_ready(&stage, "True", "AllNodesServing")?;
    Ok(())
}

#[test]
fn an_exporter_that_refuses_the_password_is_not_verified() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "refused-password")?;
    let node = PlayedNode::join(&stage)?;
    let _operator = stage.operator_with(&FREQUENT_SAMPLES)?;
    let port = free_port()?;
    stage
        .kubectl
        .apply(&resource("nodes", &spec(&node, port)))?;
    node.run_pod(&stage)?;
    let folder = tempfile::tempdir()?;
    let start = || {
        Process::spawn(
            Command::new(binaries::built(binaries::EXPORTER)?)
                .arg(format!(
                    "--web.config.file={}",
                    folder.path().join("web-config.yml").display()
                ))
                .arg(format!("--web.listen-address=127.0.0.1:{port}")),
        )
    };
    let served = stage.secret("server")?;
    served.mount(folder.path())?;
    let exporter = start()?;
    let verified = wait_verified(&stage, "True", "AllVerified")?;
    ensure!(verified["nodes"]["verified"] == 1, "{verified}");

    // As on a node whose kubelet does not update the Secret: the certificate is still valid.
    drop(exporter);
    let config = served.get("web-config.yml")?;
    let hash = config.split_whitespace().find(|it| it.starts_with("$2b$"));
    let other = config.replace(hash.unwrap_or_default(), ANOTHER_HASH);
    ensure!(other != config, "there is no hash in {config}");
    std::fs::write(folder.path().join("web-config.yml"), other)?;
    let exporter = start()?;
    let refusing = wait_verified(&stage, "False", "CredentialsRefused")?;
    ensure!(refusing["nodes"]["verified"] == 0, "{refusing}");
    let message = condition(&refusing, "ExportersVerified")?["message"].to_string();
    ensure!(message.contains("played-refused-password"), "{message}");
    wait_event(&stage, "CredentialsRefused")?;

    drop(exporter);
    wait_verified(&stage, "False", "Unreachable")?;
    served.mount(folder.path())?;
    let _exporter = start()?;
    wait_verified(&stage, "True", "AllVerified")?;
    Ok(())
}

fn spec(node: &PlayedNode, port: u16) -> Value {
    json!({"exporter": {"port": port}, "workload": {"nodeSelector": node.selector()}})
}

/// Grants these rules to the operator of the stage.
fn grant(stage: &Stage, name: &str, rules: &Value) -> Result<()> {
    rights::grant(&stage.kubectl, "operator", name, rules)
}

fn wait_ready(stage: &Stage, status: &str, reason: &str) -> Result<Value> {
    wait_until(
        &format!("Ready to be {status}, {reason}"),
        REPORT_TIMEOUT,
        || {
            let all = stage.status()?;
            let ready = condition(&all, "Ready")?;
            ensure!(
                ready["status"] == status && ready["reason"] == reason,
                "{all}"
            );
            Ok(Some(ready.clone()))
        },
    )
}

/// Waits until the condition `ExportersVerified` has this status and reason, and returns the status of the resource.
fn wait_verified(stage: &Stage, status: &str, reason: &str) -> Result<Value> {
    let what = format!("ExportersVerified to be {status}, {reason}");
    wait_until(&what, REPORT_TIMEOUT, || {
        let all = stage.status()?;
        let verified = condition(&all, "ExportersVerified")?;
        ensure!(
            verified["status"] == status && verified["reason"] == reason,
            "{all}"
        );
        Ok(Some(all))
    })
}

fn wait_event(stage: &Stage, reason: &str) -> Result<()> {
    wait_until(&format!("the event {reason}"), REPORT_TIMEOUT, || {
        let events = stage.kubectl.run(&["get", "events", "-o", "json"])?;
        Ok(events
            .contains(&format!("\"reason\": \"{reason}\""))
            .then_some(()))
    })
}
