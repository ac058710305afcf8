//! A real prometheus-operator, which makes the configuration of its Prometheus from our PodMonitor and Secrets: the password is
//! written into the configuration, and the CA bundle is copied into a Secret of its own, so that they arrive on two ways.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{Exporters, unused_port},
    kubectl::Kubectl,
    namespace::{Namespace, in_namespace},
    prometheus::wait_for,
    servers,
    slot::Slot,
    test_clusters,
    wait::wait_until,
};

use crate::rotation::{no_scrape_failed, rotate_everything};

/// How long the operators may take to make or remove an object.
const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn its_prometheus_scrapes_through_every_kind_of_rotation() -> Result<()> {
    in_namespace(&Slot::shared(), "stack", |namespace| {
        let mut spec = json!({
            "exporter": {"port": unused_port()},
            "rotation": {"clientOverlap": "12s"},
            "authentication": {"methods": ["BasicAuth", "ClientCertificate"]},
            "scrape": {
                "interval": "1s",
                "timeout": "1s",
                "instanceLabel": "Address",
                "serviceAccounts": [{"namespace": namespace.name, "name": "prometheus"}],
                "prometheusOperator": {"labels": {"release": "stack"}},
            },
        });
        // First the resource, then the definitions: PodMonitors may appear in a cluster at any time.
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let kubectl = &namespace.kubectl;
        test_clusters::main()?
            .kubectl("")
            .define(&servers::monitoring_definitions()?)?;
        wait_until("the PodMonitor", TIMEOUT, || {
            kubectl.find("podmonitor", "nodes")
        })?;

        let address = start(namespace)?;
        let up = wait_for(&address, "up", 1, "1")?;
        let (labels, pod) = (&up[0].labels, exporters.pod()?);
        for (label, value) in [
            ("job", &json!("node-exporter")),
            ("instance", &json!(exporters.address())),
            ("node", &pod["spec"]["nodeName"]),
            ("namespace", &pod["metadata"]["namespace"]),
            ("pod", &pod["metadata"]["name"]),
            ("container", &pod["spec"]["containers"][0]["name"]),
            ("endpoint", &json!("metrics")),
        ] {
            assert_eq!(labels[label], *value, "{label}");
        }
        rotate_everything(&exporters, kubectl)?;
        no_scrape_failed(&address)?;

        spec["scrape"]["prometheusOperator"] = json!({"mode": "Disabled"});
        Exporters::apply(namespace, "nodes", &spec)?;
        wait_until("the PodMonitor to be deleted", TIMEOUT, || {
            let found = kubectl.find("podmonitor", "nodes")?;
            Ok(found.is_none().then_some(()))
        })
    })
}

/// Starts prometheus-operator and a Prometheus of it, and returns the address of its API.
fn start(namespace: &Namespace) -> Result<String> {
    let kubectl = &namespace.kubectl;
    for object in operator(&namespace.name) {
        kubectl.apply(&object)?;
    }
    for object in prometheus() {
        kubectl.apply(&object)?;
    }
    let pod = wait_until("the pod of the Prometheus", TIMEOUT, || {
        kubectl.find("pod", "prometheus-stack-0")
    });
    pod.with_context(|| logs(kubectl))?;
    let ready = kubectl.run(&[
        "wait",
        "pod/prometheus-stack-0",
        "--for=condition=Ready",
        "--timeout=150s",
    ]);
    ready.with_context(|| logs(kubectl))?;
    let pod = kubectl.get("pod", "prometheus-stack-0")?;
    let address = pod["status"]["podIP"].as_str().context("no address")?;
    ensure!(
        !pod.to_string().contains("nodes-scrape"),
        "the PodMonitor alone must do"
    );
    Ok(format!("http://{address}:9090"))
}

fn logs(kubectl: &Kubectl) -> String {
    kubectl
        .run(&["logs", "deployment/prometheus-operator", "--tail=20"])
        .unwrap_or_default()
}

fn operator(namespace: &str) -> [Value; 3] {
    let labels = json!({"app.kubernetes.io/name": "prometheus-operator"});
    let binding = format!("{namespace}:prometheus-operator");
    [
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus-operator"},
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": binding},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "prometheus-operator", "namespace": namespace}],
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "prometheus-operator"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "serviceAccountName": "prometheus-operator",
                        "containers": [{
                            "name": "prometheus-operator",
                            "image": "localhost/prometheus-operator:dev",
                            "imagePullPolicy": "Never",
                            "args": [
                                format!("--namespaces={namespace}"),
                                "--prometheus-config-reloader=localhost/prometheus-config-reloader:dev",
                            ],
                        }],
                    },
                },
            },
        }),
    ]
}

fn prometheus() -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus"},
        }),
        json!({
            "apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "metadata": {"name": "stack"},
            "spec": {
                "image": "localhost/prometheus:dev",
                "imagePullPolicy": "Never",
                "version": "v3.16.0",
                "serviceAccountName": "prometheus",
                "podMonitorSelector": {"matchLabels": {"release": "stack"}},
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532},
            },
        }),
    ]
}
