//! What the operator leaves alone and what it restores when its objects are changed.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{Exporters, unused_port},
    namespace::{Namespace, in_namespace},
    secret::SecretData,
    slot::Slot,
    wait::wait_until,
};

#[test]
fn a_second_pass_writes_nothing() -> Result<()> {
    in_namespace(&Slot::shared(), "second-pass", |namespace| {
        let exporters = ready(namespace, unused_port())?;
        let before = settled(&exporters)?;
        ensure!(before.len() == 9, "not all children: {before:?}");
        let resource = exporters.resource()?;
        exporters.wait_reconciled()?;
        let mut after = exporters.versions()?;
        // How the passes were noticed.
        let bundle = "ConfigMap/nodes-ca";
        ensure!(
            after.get(bundle) != before.get(bundle),
            "the bundle did not come back"
        );
        after.insert(bundle.to_owned(), before[bundle].clone());
        assert_eq!(before, after);
        assert_eq!(
            exporters.resource()?["metadata"]["resourceVersion"],
            resource["metadata"]["resourceVersion"],
            "the status was written"
        );
        Ok(())
    })
}

#[test]
fn deleted_secrets_come_back_the_same() -> Result<()> {
    in_namespace(&Slot::shared(), "deleted", |namespace| {
        let exporters = ready(namespace, unused_port())?;
        let scraper = exporters.scraper()?;
        for what in ["server", "scrape", "state"] {
            let name = format!("nodes-{what}");
            let old = namespace.kubectl.get("secret", &name)?;
            namespace.kubectl.delete("secret", &name)?;
            let new = namespace.kubectl.wait_recreated("secret", &old)?;
            let differing = SecretData::of(&old)?.differs(&SecretData::of(&new)?);
            ensure!(
                differing.is_empty(),
                "{name} came back with other {differing:?}"
            );
            for field in ["type", "immutable"] {
                assert_eq!(new[field], old[field], "{name}");
            }
            for field in ["labels", "annotations", "ownerReferences"] {
                assert_eq!(new["metadata"][field], old["metadata"][field], "{name}");
            }
        }
        wait_until("the events", Duration::from_secs(20), || {
            let events = namespace.kubectl.run(&["get", "events", "-o", "json"])?;
            let told = |what: &str| {
                events.contains(&format!(
                    "Restored Secret nodes-{what}, which had been deleted"
                ))
            };
            Ok(["server", "scrape", "state"]
                .into_iter()
                .all(told)
                .then_some(()))
        })?;
        let all = exporters.secret("state")?;
        exporters.wait_reconciled()?;
        ensure!(
            all.differs(&exporters.secret("state")?).is_empty(),
            "the state went on to change"
        );
        assert_eq!(scraper.get("/metrics").send()?.status, 200);
        assert_eq!(
            exporters.pod()?["status"]["containerStatuses"][0]["restartCount"],
            0
        );
        Ok(())
    })
}

#[test]
fn an_edited_secret_is_restored() -> Result<()> {
    in_namespace(&Slot::shared(), "edited", |namespace| {
        let exporters = ready(namespace, unused_port())?;
        let scraper = exporters.scraper()?;
        for what in ["server", "scrape"] {
            let before = exporters.secret(what)?;
            let key = if what == "server" {
                "web-config.yml"
            } else {
                "password"
            };
            let patch = json!({"stringData": {key: "", "added": "by hand"}}).to_string();
            namespace
                .kubectl
                .run(&["patch", "secret", &format!("nodes-{what}"), "-p", &patch])?;
            wait_until("the Secret to be restored", Duration::from_secs(60), || {
                let differing = before.differs(&exporters.secret(what)?);
                ensure!(
                    differing.is_empty(),
                    "nodes-{what} differs in {differing:?}"
                );
                Ok(Some(()))
            })?;
        }
        // It is never open in between, because an emptied configuration is refused.
        assert_eq!(scraper.anonymous("/metrics").send()?.status, 401);
        assert_eq!(scraper.get("/metrics").send()?.status, 200);
        Ok(())
    })
}

#[test]
fn an_edited_daemon_set_is_restored() -> Result<()> {
    in_namespace(&Slot::shared(), "edited-pods", |namespace| {
        let exporters = ready(namespace, unused_port())?;
        let before = pod_spec(namespace)?;
        let patches = [
            json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "example.com/other:1"}]),
            json!([{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--no-collector.cpu"}]),
            json!([{"op": "replace", "path": "/spec/template/spec/containers/0/args/1", "value": "--web.require=tls"}]),
            json!([{"op": "replace", "path": "/spec/template/spec/containers/0/volumeMounts/1/readOnly", "value": false}]),
            json!([{"op": "replace", "path": "/spec/template/spec/hostNetwork", "value": false}]),
        ];
        for patch in patches {
            let text = patch.to_string();
            namespace
                .kubectl
                .run(&["patch", "daemonset", "nodes", "--type=json", "-p", &text])?;
            wait_until(
                "the DaemonSet to be restored",
                Duration::from_secs(60),
                || {
                    let now = pod_spec(namespace)?;
                    ensure!(now == before, "after {text} it is {now}");
                    Ok(Some(()))
                },
            )?;
        }
        exporters.wait_ready()
    })
}

#[test]
fn a_container_that_was_slipped_in_is_removed() -> Result<()> {
    in_namespace(&Slot::shared(), "slipped-in", |namespace| {
        // It could read the certificate's key and the whole file system of the node.
        let exporters = ready(namespace, unused_port())?;
        let before = pod_spec(namespace)?;
        let guests = [
            (
                "containers",
                json!({"name": "guest", "image": "example.com/guest:1"}),
            ),
            (
                "initContainers",
                json!({"name": "guest", "image": "example.com/guest:1"}),
            ),
            (
                "volumes",
                json!({"name": "guest", "hostPath": {"path": "/etc"}}),
            ),
        ];
        for (list, guest) in guests {
            let patch = json!({"spec": {"template": {"spec": {list: [guest]}}}}).to_string();
            namespace
                .kubectl
                .run(&["patch", "daemonset", "nodes", "-p", &patch])?;
            wait_until("the guest to be gone", Duration::from_secs(60), || {
                let now = pod_spec(namespace)?;
                ensure!(now == before, "{list} with a guest: {now}");
                Ok(Some(()))
            })?;
        }
        exporters.wait_ready()
    })
}

#[test]
fn a_rollout_restart_is_left_alone() -> Result<()> {
    in_namespace(&Slot::shared(), "restart", |namespace| {
        const ANNOTATION: &str = "kubectl.kubernetes.io/restartedAt";
        let exporters = ready(namespace, unused_port())?;
        let pod = exporters.pod()?;
        namespace
            .kubectl
            .run(&["rollout", "restart", "daemonset/nodes"])?;
        let another = wait_until("another pod", Duration::from_secs(120), || {
            Ok(Some(exporters.pod()?).filter(|it| it["metadata"]["uid"] != pod["metadata"]["uid"]))
        })?;
        exporters.wait_reconciled()?;
        let daemon_set = namespace.kubectl.get("daemonset", "nodes")?;
        let annotations = &daemon_set["spec"]["template"]["metadata"]["annotations"];
        annotations[ANNOTATION]
            .as_str()
            .context("the annotation was removed")?;
        assert_eq!(
            exporters.pod()?["metadata"]["uid"],
            another["metadata"]["uid"],
            "restarted twice"
        );
        exporters.wait_ready()
    })
}

#[test]
fn a_changed_spec_reaches_the_node() -> Result<()> {
    in_namespace(&Slot::shared(), "changed", |namespace| {
        let port = unused_port();
        let exporters = ready(namespace, port)?;
        let scraper = exporters.scraper()?;
        assert!(scraper.get("/metrics").send()?.body.contains("node_load1 "));
        let spec = json!({"exporter": {"port": port, "collectors": {"disabled": ["loadavg"]}}});
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        wait_until("the collector to be off", Duration::from_secs(120), || {
            let answer = scraper.get("/metrics").send()?;
            Ok((answer.status == 200 && !answer.body.contains("node_load1 ")).then_some(()))
        })?;
        exporters.wait_ready()
    })
}

fn ready(namespace: &Namespace, port: u16) -> Result<Exporters<'_>> {
    let spec = json!({
        "exporter": {"port": port},
        "scrape": {"serviceAccounts": [{"namespace": namespace.name, "name": "default"}]},
    });
    let exporters = Exporters::apply(namespace, "nodes", &spec)?;
    exporters.wait_ready()?;
    Ok(exporters)
}

fn pod_spec(namespace: &Namespace) -> Result<Value> {
    Ok(namespace.kubectl.get("daemonset", "nodes")?["spec"]["template"]["spec"].take())
}

/// The versions once they stay: the DaemonSet's counts, written by Kubernetes itself, arrive a moment after the pod.
fn settled(exporters: &Exporters<'_>) -> Result<BTreeMap<String, String>> {
    wait_until("the objects to settle", Duration::from_secs(60), || {
        let resource = exporters.resource()?;
        let before = exporters.versions()?;
        thread::sleep(Duration::from_secs(3));
        let still = exporters.versions()? == before
            && exporters.resource()?["metadata"]["resourceVersion"]
                == resource["metadata"]["resourceVersion"];
        Ok(still.then_some(before))
    })
}
