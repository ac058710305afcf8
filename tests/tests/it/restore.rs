//! Objects that a backup tool restores have labels and annotations, but no owner. The operator adopts them when an annotation
//! of the resource allows it, and clients keep their credentials. An object that is planted later stays foreign.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{exporters::resource, operator::Stage, slot::Slot, wait::wait_until};

/// The objects that the operator generates in this test.
const CHILDREN: [(&str, &str); 8] = [
    ("secret", "nodes-state"),
    ("secret", "nodes-server"),
    ("secret", "nodes-scrape"),
    ("configmap", "nodes-ca"),
    ("serviceaccount", "nodes"),
    ("service", "nodes"),
    ("role", "nodes-discovery"),
    ("daemonset", "nodes"),
];

#[test]
fn restored_objects_are_adopted_once_and_keep_their_credentials() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "restore")?;
    let operator = stage.operator()?;
    stage.kubectl.apply(&exporter())?;
    wait_until("the DaemonSet", Duration::from_secs(60), || {
        let published = stage.secret("scrape").is_ok();
        let runs = stage.kubectl.get("daemonset", "nodes").is_ok();
        Ok((published && runs).then_some(()))
    })?;
    let known = credentials(&stage)?;
    let backup = CHILDREN
        .iter()
        .map(|(kind, name)| Ok(restorable(&stage.kubectl.get(kind, name)?)))
        .collect::<Result<Vec<Value>>>()?;

    drop(operator);
    restore(&stage, &backup)?;
    let operator = stage.operator()?;
    let stalled = wait_until("the condition", Duration::from_secs(30), || {
        let stalled = stage.condition("Stalled").ok();
        Ok(stalled.filter(|it| it["reason"] == "RestoredObject"))
    })?;
    ensure!(credentials(&stage)? == known, "changed before the adoption");
    ensure!(
        unowned(&stage)?.len() == CHILDREN.len(),
        "adopted without permission"
    );

    // Run the command in the message.
    let message = stalled["message"].as_str().unwrap_or_default();
    let (_, command) = message.split_once("kubectl ").context("no command")?;
    let (command, _) = command.split_once(" --overwrite").context("no end")?;
    let words: Vec<&str> = command.split(' ').filter(|word| !word.is_empty()).collect();
    stage.kubectl.run(&words)?;
    wait_until("the adoption", Duration::from_secs(30), || {
        let stalled = stage.condition("Stalled")?;
        let is_done = unowned(&stage)?.is_empty() && stalled["status"] == "False";
        Ok(is_done.then_some(()))
    })?;
    ensure!(credentials(&stage)? == known, "changed by the adoption");
    let events = stage
        .kubectl
        .run(&["get", "events", "-o", "jsonpath={..reason}"])?;
    ensure!(
        events.split(' ').any(|reason| reason == "Adopted"),
        "{events}"
    );
    wait_until(
        "the annotation to be handled",
        Duration::from_secs(10),
        || {
            let handled = stage.status()?["handledRequests"].to_string();
            Ok(handled.contains("adopt=").then_some(()))
        },
    )?;

    // The permission counts once: an object that is planted while no operator runs stays foreign.
    drop(operator);
    let planted = backup.get(2).context("nodes-scrape")?;
    stage.kubectl.delete("secret", "nodes-scrape")?;
    stage.kubectl.apply(planted)?;
    let _operator = stage.operator()?;
    wait_until("the condition", Duration::from_secs(30), || {
        let stalled = stage.condition("Stalled")?;
        Ok((stalled["reason"] == "RestoredObject").then_some(()))
    })?;
    ensure!(unowned(&stage)? == ["nodes-scrape"], "adopted again");
    Ok(())
}

fn exporter() -> Value {
    resource(
        "nodes",
        &json!({"scrape": {"serviceAccounts": [{"name": "prometheus", "namespace": "restore"}]}}),
    )
}

/// Returns an object as a backup tool restores it.
fn restorable(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = &object["metadata"];
    object["metadata"] = json!({
        "name": metadata["name"], "namespace": metadata["namespace"],
        "labels": metadata["labels"], "annotations": metadata["annotations"],
    });
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    object
}

/// Deletes everything and restores it from the backup, with other uids.
fn restore(stage: &Stage, backup: &[Value]) -> Result<()> {
    stage.kubectl.run(&["delete", "secexp", "nodes"])?;
    for (kind, name) in CHILDREN.iter().chain(&[("rolebinding", "nodes-discovery")]) {
        let gone = [
            "delete",
            kind,
            name,
            "--ignore-not-found",
            "--wait=false",
            "--grace-period=0",
        ];
        stage.kubectl.run(&gone)?;
    }
    for object in backup {
        stage.kubectl.apply(object)?;
    }
    stage.kubectl.apply(&exporter())
}

/// The certificate, the password and the CA.
fn credentials(stage: &Stage) -> Result<[String; 3]> {
    let (server, scrape) = (stage.secret("server")?, stage.secret("scrape")?);
    Ok([
        server.get("tls.crt")?.to_owned(),
        scrape.get("password")?.to_owned(),
        scrape.get("ca.crt")?.to_owned(),
    ])
}

fn unowned(stage: &Stage) -> Result<Vec<&'static str>> {
    let mut unowned = Vec::new();
    for (kind, name) in CHILDREN {
        let object = stage.kubectl.get(kind, name)?;
        if object["metadata"]["ownerReferences"].is_null() {
            unowned.push(name);
        }
    }
    Ok(unowned)
}
