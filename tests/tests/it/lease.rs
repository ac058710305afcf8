//! Only one release serves a namespace. Another one reports that and changes nothing until the first one has stopped.

use std::{process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    curl::Request,
    exporters::{condition, resource},
    kubectl::Kubectl,
    operator::Stage,
    process::{Process, free_port, visibly},
    slot::Slot,
    wait::wait_until,
};

const FIRST: &str = "a/first";
const SECOND: &str = "b/second";

#[test]
fn a_second_release_names_the_first_one_and_takes_over_after_a_clean_stop() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "lease")?;
    let first = operator(&stage, FIRST, free_port()?)?;
    stage.kubectl.apply(&exporter(9100))?;
    wait_published(&stage)?;
    ensure!(
        holder(&stage.kubectl)? == json!(FIRST),
        "the first release does not hold the Lease"
    );
    let before = served(&stage)?;

    let port = free_port()?;
    let _second = operator(&stage, SECOND, port)?;
    let contended = wait_until("the condition", Duration::from_secs(30), || {
        Ok(condition(&stage.status()?, "Contended").ok().cloned())
    })?;
    let message = contended["message"].as_str().unwrap_or_default();
    ensure!(contended["status"] == "True", "{contended}");
    ensure!(
        message.contains(FIRST) && message.contains(SECOND),
        "{message}"
    );
    let metrics = Request::get(&format!("http://127.0.0.1:{port}/metrics")).send()?;
    let held = r#"secure_exporter_operator_lease_held{namespace="lease"} 0"#;
    ensure!(metrics.body.contains(held), "{}", metrics.body);

    // The holder is killed, so that only the second release could act on a change.
    drop(first);
    stage.kubectl.apply(&exporter(9111))?;
    thread::sleep(Duration::from_secs(5));
    ensure!(served(&stage)? == before, "the second release has written");

    let first = operator(&stage, FIRST, free_port()?)?;
    // A pass writes both, one after the other.
    let is_other =
        |now: &(Value, Value), before: &(Value, Value)| now.0 != before.0 && now.1 != before.1;
    let changed = wait_until("the change", Duration::from_secs(30), || {
        let now = served(&stage)?;
        Ok(is_other(&now, &before).then_some(now))
    })?;
    ensure!(
        condition(&stage.status()?, "Contended").is_ok(),
        "the holder removed the condition too early"
    );
    stop(first)?;
    let lease = stage.kubectl.get("lease", "secure-exporter-operator")?;
    ensure!(
        lease["spec"]["leaseDurationSeconds"] == 60,
        "the Lease was not released: {lease}"
    );
    stage.kubectl.apply(&exporter(9112))?;
    wait_until("the second release", Duration::from_secs(150), || {
        Ok(is_other(&served(&stage)?, &changed).then_some(()))
    })?;
    ensure!(
        holder(&stage.kubectl)? == json!(SECOND),
        "the Lease was not taken over"
    );
    wait_until(
        "the condition to be removed",
        Duration::from_secs(10),
        || {
            Ok(condition(&stage.status()?, "Contended")
                .is_err()
                .then_some(()))
        },
    )
}

#[test]
fn a_deleted_lease_leaves_one_release_that_writes() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "lease-deleted")?;
    let (first_port, second_port) = (free_port()?, free_port()?);
    let _first = operator(&stage, FIRST, first_port)?;
    stage.kubectl.apply(&exporter(9100))?;
    wait_published(&stage)?;
    let _second = operator(&stage, SECOND, second_port)?;
    wait_until("the condition", Duration::from_secs(30), || {
        Ok(condition(&stage.status()?, "Contended").ok().cloned())
    })?;

    stage.kubectl.delete("lease", "secure-exporter-operator")?;
    wait_until("another Lease", Duration::from_secs(60), || {
        stage.kubectl.find("lease", "secure-exporter-operator")
    })?;
    // Wakes both.
    stage.kubectl.apply(&exporter(9111))?;
    let holds = |port: u16| -> Result<bool> {
        let metrics = Request::get(&format!("http://127.0.0.1:{port}/metrics")).send()?;
        let held = r#"secure_exporter_operator_lease_held{namespace="lease-deleted"} 1"#;
        Ok(metrics.body.contains(held))
    };
    wait_until("one holder", Duration::from_secs(45), || {
        let holders = (holds(first_port)?, holds(second_port)?);
        Ok((holders.0 != holders.1).then_some(()))
    })
}

#[test]
fn the_lease_of_a_release_that_has_disappeared_expires() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "lease-expired")?;
    stage.kubectl.apply(&json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "secure-exporter-operator"},
        "spec": {"holderIdentity": "gone/release", "leaseDurationSeconds": 20},
    }))?;
    let _operator = operator(&stage, FIRST, free_port()?)?;
    stage.kubectl.apply(&exporter(9100))?;
    wait_until("the condition", Duration::from_secs(15), || {
        Ok(condition(&stage.status()?, "Contended").ok().cloned())
    })?;
    ensure!(
        stage.secret("state").is_err(),
        "written although another release holds the Lease"
    );
    wait_published(&stage)?;
    ensure!(
        holder(&stage.kubectl)? == json!(FIRST),
        "the Lease was not taken over"
    );

    // A namespace without resources needs no Lease, and nobody should be alerted about it.
    stage.kubectl.delete("secureexporter", "nodes")?;
    wait_until("the end of the Lease", Duration::from_secs(75), || {
        let lease = stage.kubectl.find("lease", "secure-exporter-operator")?;
        Ok(lease.is_none().then_some(()))
    })
}

fn operator(stage: &Stage, release: &str, port: u16) -> Result<Process> {
    stage.operator_with(&[
        &format!("--release={release}"),
        &format!("--listen-address=127.0.0.1:{port}"),
    ])
}

/// Stops an operator as the kubelet does.
fn stop(mut operator: Process) -> Result<()> {
    visibly(Command::new("kill").args(["-TERM", &operator.id().to_string()]))?;
    let status = operator.ended(Duration::from_secs(20))?;
    ensure!(status.success(), "{status}: {}", operator.log()?);
    Ok(())
}

fn wait_published(stage: &Stage) -> Result<()> {
    wait_until("the first certificate", Duration::from_secs(60), || {
        Ok(stage.secret("scrape").is_ok().then_some(()))
    })
}

fn holder(kubectl: &Kubectl) -> Result<Value> {
    let lease = kubectl.get("lease", "secure-exporter-operator")?;
    Ok(lease["spec"]["holderIdentity"].clone())
}

/// The fields of Service and DaemonSet that depend on the port.
fn served(stage: &Stage) -> Result<(Value, Value)> {
    let service = stage.kubectl.get("service", "nodes")?;
    let set = stage.kubectl.get("daemonset", "nodes")?;
    let ports = service["spec"]["ports"].clone();
    let generation = set["metadata"]
        .get("generation")
        .context("the DaemonSet has no generation")?;
    Ok((ports, generation.clone()))
}

fn exporter(port: u16) -> Value {
    resource("nodes", &json!({"exporter": {"port": port}}))
}
