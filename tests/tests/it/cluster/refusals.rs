//! Common first problems: they are reported in a condition, with the fix, and do no harm.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{Exporters, unused_port},
    namespace::{in_labelled_namespace, in_namespace},
    secret::SecretData,
    slot::Slot,
};

#[test]
fn a_foreign_secret_is_not_overwritten() -> Result<()> {
    in_namespace(&Slot::shared(), "foreign", |namespace| {
        let foreign = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "nodes-server"},
            "stringData": {"theirs": "precious"},
        });
        namespace.kubectl.apply(&foreign)?;
        let before = namespace.kubectl.get("secret", "nodes-server")?;
        let exporters = Exporters::apply(
            namespace,
            "nodes",
            &json!({"exporter": {"port": unused_port()}}),
        )?;
        exporters.wait_refused(&["nodes-server"])?;
        assert_eq!(namespace.kubectl.get("secret", "nodes-server")?, before);
        // The fix.
        namespace.kubectl.delete("secret", "nodes-server")?;
        exporters.wait_ready()
    })
}

#[test]
fn a_foreign_daemon_set_is_not_overwritten() -> Result<()> {
    in_namespace(&Slot::shared(), "foreign-pods", |namespace| {
        let labels = json!({"app": "theirs"});
        let foreign = json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "nodes"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        // Nowhere: it is not about its pods.
                        "nodeSelector": {"example.com/none": "true"},
                        "containers": [{"name": "theirs", "image": "example.com/theirs:1"}],
                    },
                },
            },
        });
        namespace.kubectl.apply(&foreign)?;
        let before = namespace.kubectl.get("daemonset", "nodes")?;
        let exporters = Exporters::apply(
            namespace,
            "nodes",
            &json!({"exporter": {"port": unused_port()}}),
        )?;
        exporters.wait_refused(&["DaemonSet", "nodes"])?;
        let after = namespace.kubectl.get("daemonset", "nodes")?;
        assert_eq!(after["spec"], before["spec"]);
        assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
        assert_eq!(
            after["metadata"]["ownerReferences"],
            before["metadata"]["ownerReferences"]
        );
        Ok(())
    })
}

#[test]
fn an_image_outside_the_allow_list_runs_nowhere() -> Result<()> {
    in_namespace(&Slot::shared(), "image", |namespace| {
        let port = unused_port();
        let evil = json!({"image": {"repository": "example.com/evil", "tag": "1"}, "exporter": {"port": port}});
        let exporters = Exporters::apply(namespace, "nodes", &evil)?;
        let refusal = exporters.wait_refused(&[
            "example.com/evil",
            "allow-list",
            "localhost/secure-exporter",
        ])?;
        assert_eq!(refusal["reason"], "WorkloadRefused");
        ensure!(
            namespace.kubectl.find("daemonset", "nodes")?.is_none(),
            "a DaemonSet was made"
        );

        // The fix; and working exporters keep running when the spec becomes invalid again.
        let good = json!({"image": {"repository": "localhost/secure-exporter"}, "exporter": {"port": port}});
        namespace.kubectl.delete("secureexporter", "nodes")?;
        let exporters = Exporters::apply(namespace, "nodes", &good)?;
        exporters.wait_ready()?;
        let scraper = exporters.scraper()?;
        let exporters = Exporters::apply(namespace, "nodes", &evil)?;
        exporters.wait_refused(&["example.com/evil"])?;
        let pod = exporters.pod()?;
        assert_eq!(
            pod["spec"]["containers"][0]["image"],
            "localhost/secure-exporter:dev"
        );
        assert_eq!(scraper.get("/metrics").send()?.status, 200);
        Ok(())
    })
}

#[test]
fn pods_stay_as_they_are_when_the_author_asks_for_more_than_is_allowed() -> Result<()> {
    in_namespace(&Slot::shared(), "author", |namespace| {
        let port = unused_port();
        let spec = |workload: Value| json!({"exporter": {"port": port}, "workload": workload});
        // As in a pod spec, a number of CPUs needs no quotes.
        let allowed = json!({"resources": {"limits": {"cpu": 1, "memory": "96Mi"}}});
        let exporters = Exporters::apply(namespace, "nodes", &spec(allowed))?;
        exporters.wait_ready()?;
        let before = namespace.kubectl.get("daemonset", "nodes")?;
        let pod = exporters.pod()?;
        for (asked, field, flag) in [
            (
                json!({"podLabels": {"app": "payments"}}),
                "spec.workload.podLabels[app]",
                "--allowed-pod-label-prefixes",
            ),
            (
                json!({"podAnnotations": {"sidecar.istio.io/inject": "true"}}),
                "spec.workload.podAnnotations[sidecar.istio.io/inject]",
                "--allowed-pod-annotation-prefixes",
            ),
            (
                json!({"priorityClassName": "system-node-critical"}),
                "spec.workload.priorityClassName",
                "--allowed-priority-classes",
            ),
            (
                json!({"resources": {"requests": {"cpu": 64}}}),
                "spec.workload.resources.requests[cpu]",
                "--max-exporter-resources",
            ),
        ] {
            let exporters = Exporters::apply(namespace, "nodes", &spec(asked))?;
            let refusal = exporters.wait_refused(&[field, flag, "stays as it is"])?;
            assert_eq!(refusal["reason"], "WorkloadRefused");
        }
        let after = namespace.kubectl.get("daemonset", "nodes")?;
        assert_eq!(after["spec"], before["spec"]);
        assert_eq!(exporters.pod()?["metadata"]["uid"], pod["metadata"]["uid"]);
        Exporters::apply(namespace, "nodes", &spec(json!({})))?.wait_ready()
    })
}

#[test]
fn the_credentials_of_another_resource_cannot_be_used() -> Result<()> {
    in_namespace(&Slot::shared(), "references", |namespace| {
        let first = Exporters::apply(
            namespace,
            "first",
            &json!({"exporter": {"port": unused_port()}}),
        )?;
        first.wait_ready()?;
        let (password, issuer) = (
            json!({"authentication": {"basicAuth": {"passwordSecretRef": {"name": "first-scrape"}}}}),
            json!({"tls": {"issuer": {"type": "Provided", "provided": {"secretName": "first-server"}}}}),
        );
        for (name, spec, secret) in [
            ("password", password, "first-scrape"),
            ("issuer", issuer, "first-server"),
        ] {
            let mut spec = spec;
            spec["exporter"] = json!({"port": unused_port()});
            let second = Exporters::apply(namespace, name, &spec)?;
            second.wait_refused(&["Secret", secret, "was generated for a SecureExporter"])?;
            for made in ["server", "scrape"] {
                let made = format!("{name}-{made}");
                ensure!(namespace.kubectl.find("secret", &made)?.is_none(), "{made}");
            }
        }
        Ok(())
    })
}

#[test]
fn arguments_with_which_the_exporters_would_not_start_do_not_reach_them() -> Result<()> {
    in_namespace(&Slot::shared(), "arguments", |namespace| {
        let port = unused_port();
        let spec = |arguments: Value| json!({"exporter": {"port": port, "extraArgs": arguments}});
        let good = spec(json!(["--collector.netdev.device-exclude=^veth"]));
        let exporters = Exporters::apply(namespace, "nodes", &good)?;
        exporters.wait_ready()?;
        let pod = exporters.pod()?;
        for (arguments, index, words) in [
            (
                json!(["--log.format=json", "--collector.netdev.device-exclude=("]),
                1,
                "regular expression",
            ),
            (json!(["--collector.cpu.inf"]), 0, "--collector.cpu.inf"),
            (json!(["--collector.systemd"]), 0, "message bus"),
        ] {
            let exporters = Exporters::apply(namespace, "nodes", &spec(arguments))?;
            let field = format!("spec.exporter.extraArgs[{index}]");
            let refusal = exporters.wait_refused(&[&field, words])?;
            assert_eq!(refusal["reason"], "InvalidSpec");
        }
        assert_eq!(exporters.pod()?["metadata"]["uid"], pod["metadata"]["uid"]);
        let scraper = exporters.scraper()?;
        assert_eq!(scraper.get("/metrics").send()?.status, 200);
        Ok(())
    })
}

#[test]
fn two_resources_on_one_port_are_reported() -> Result<()> {
    in_namespace(&Slot::shared(), "port", |namespace| {
        let port = unused_port();
        let spec = json!({"exporter": {"port": port}});
        let first = Exporters::apply(namespace, "first", &spec)?;
        first.wait_ready()?;
        let second = Exporters::apply(namespace, "second", &spec)?;
        let other = format!("SecureExporter {}/first", namespace.name);
        second.wait_refused(&[&port.to_string(), "spec.exporter.port", &other])?;
        let events = namespace.kubectl.run(&["get", "events", "-o", "json"])?;
        ensure!(events.contains("PortConflict"), "no event: {events}");
        let conflicted = second.resource()?;
        let conditions = conflicted["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        ensure!(
            conditions
                .iter()
                .any(|it| it["reason"] == "PortConflict" || it["type"] == "PortConflict"),
            "{conditions:?}"
        );
        first.wait_ready()?;
        // The fix.
        Exporters::apply(
            namespace,
            "second",
            &json!({"exporter": {"port": unused_port()}}),
        )?
        .wait_ready()
    })
}

#[test]
fn a_namespace_that_forbids_host_paths_is_named_with_its_label() -> Result<()> {
    const LABEL: &str = "pod-security.kubernetes.io/enforce";
    in_labelled_namespace(
        &Slot::shared(),
        "secured",
        &[(LABEL, "restricted")],
        |namespace| {
            let exporters = Exporters::apply(
                namespace,
                "nodes",
                &json!({"exporter": {"port": unused_port()}}),
            )?;
            exporters.wait_refused(&[LABEL, "privileged"])?;
            // The fix that the condition names.
            let label = format!("{LABEL}=privileged");
            namespace.kubectl.run(&[
                "label",
                "namespace",
                &namespace.name,
                &label,
                "--overwrite",
            ])?;
            exporters.wait_ready()
        },
    )
}

#[test]
fn a_damaged_state_is_reported_and_never_replaced() -> Result<()> {
    in_namespace(&Slot::shared(), "damaged", |namespace| {
        let exporters = Exporters::apply(
            namespace,
            "nodes",
            &json!({"exporter": {"port": unused_port()}}),
        )?;
        exporters.wait_ready()?;
        let scraper = exporters.scraper()?;
        let published = exporters.secret("server")?;
        let state = namespace.kubectl.get("secret", "nodes-state")?;
        let patch = json!({"stringData": {"leaf.key": "damaged"}}).to_string();
        namespace
            .kubectl
            .run(&["patch", "secret", "nodes-state", "-p", &patch])?;
        exporters.wait_refused(&["nodes-state", "leaf.key"])?;
        ensure!(
            published.differs(&exporters.secret("server")?).is_empty(),
            "what is served has changed"
        );
        assert_eq!(scraper.get("/metrics").send()?.status, 200);
        let differing = SecretData::of(&state)?.differs(&exporters.secret("state")?);
        assert_eq!(differing, ["leaf.key"]);
        // The fix: the backup.
        let patch = json!({"data": {"leaf.key": state["data"]["leaf.key"]}}).to_string();
        namespace
            .kubectl
            .run(&["patch", "secret", "nodes-state", "-p", &patch])?;
        exporters.wait_ready()?;
        ensure!(
            published.differs(&exporters.secret("server")?).is_empty(),
            "not as before"
        );
        Ok(())
    })
}

#[test]
fn a_port_of_the_node_that_something_else_holds() -> Result<()> {
    in_namespace(&Slot::shared(), "taken", |namespace| {
        let port = unused_port();
        // Like a node_exporter that was there first: on the node's network, without declaring its port.
        let other = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "older"},
            "spec": {
                "hostNetwork": true,
                "enableServiceLinks": false,
                "containers": [{
                    "name": "older",
                    "image": "localhost/secure-exporter:dev",
                    "imagePullPolicy": "Never",
                    "args": [format!("--web.listen-address=:{port}")],
                }],
            },
        });
        namespace.kubectl.apply(&other)?;
        namespace.kubectl.run(&[
            "wait",
            "pod/older",
            "--for=condition=Ready",
            "--timeout=90s",
        ])?;
        let exporters = Exporters::apply(namespace, "nodes", &json!({"exporter": {"port": port}}))?;
        exporters.wait_refused(&[&port.to_string(), "spec.exporter.port"])?;
        namespace.kubectl.delete("pod", "older")?;
        exporters.wait_ready()
    })
}
