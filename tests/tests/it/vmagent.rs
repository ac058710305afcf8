//! A real vmagent, which reads the list in its own dialect from the same Secret, through a rotation of everything.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    curl::Request,
    exporters::{Exporters, rotate, unused_port},
    namespace::{Namespace, in_namespace},
    slot::Slot,
    wait::wait_until,
};

#[test]
fn vmagent_scrapes_by_the_list_and_follows_a_rotation() -> Result<()> {
    in_namespace(&Slot::shared(), "vmagent", |namespace| {
        let spec = json!({
            "exporter": {"port": unused_port()},
            "rotation": {"clientOverlap": "12s"},
            "scrape": {
                "interval": "1s",
                "timeout": "1s",
                "serviceAccounts": [{"namespace": namespace.name, "name": "vmagent"}],
            },
        });
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let address = start(namespace)?;
        wait_until("the target to be up", Duration::from_secs(60), || {
            let targets = targets(&address)?;
            ensure!(targets[0]["health"] == "up", "{targets}");
            Ok(Some(()))
        })?;
        let (failed, scraped) = (metric(&address, FAILED)?, metric(&address, SCRAPED)?);

        let before = exporters.secret("scrape")?;
        rotate(&namespace.kubectl, "nodes", "ca,password")?;
        wait_until("the rotation", Duration::from_secs(120), || {
            let quiet = exporters.resource()?["status"]["rotation"].is_null();
            let changed = before.differs(&exporters.secret("scrape")?);
            Ok((quiet && changed == ["ca.crt", "password"]).then_some(()))
        })?;
        wait_until("ten more scrapes", Duration::from_secs(60), || {
            let now = metric(&address, SCRAPED)?;
            Ok((now >= scraped + 10.0).then_some(()))
        })?;
        let now = metric(&address, FAILED)?;
        ensure!(now <= failed, "{} scrapes failed", now - failed);
        Ok(())
    })
}

const FAILED: &str = "vm_promscrape_scrapes_failed_total";
const SCRAPED: &str = "vm_promscrape_scrapes_total";

fn start(namespace: &Namespace) -> Result<String> {
    let labels = json!({"app.kubernetes.io/name": "vmagent"});
    let kubectl = &namespace.kubectl;
    kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "vmagent"},
    }))?;
    kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vmagent"},
        "data": {"vmagent.yml": "scrape_config_files: [/etc/prometheus/secrets/nodes-scrape/scrape-list]\n"},
    }))?;
    kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "vmagent", "labels": labels},
        "spec": {
            "serviceAccountName": "vmagent",
            "securityContext": {"runAsUser": 65532, "fsGroup": 65532},
            "containers": [{
                "name": "vmagent", "image": "localhost/vmagent:dev", "imagePullPolicy": "Never",
                "args": [
                    "-promscrape.config=/config/vmagent.yml",
                    "-remoteWrite.url=http://127.0.0.1:9/nowhere",
                    "-remoteWrite.tmpDataPath=/data",
                ],
                "volumeMounts": [
                    {"name": "config", "mountPath": "/config"},
                    {"name": "scrape", "mountPath": "/etc/prometheus/secrets/nodes-scrape"},
                    {"name": "data", "mountPath": "/data"},
                ],
            }],
            "volumes": [
                {"name": "config", "configMap": {"name": "vmagent"}},
                {"name": "scrape", "secret": {"secretName": "nodes-scrape"}},
                {"name": "data", "emptyDir": {}},
            ],
        },
    }))?;
    kubectl.run(&[
        "wait",
        "pod/vmagent",
        "--for=condition=Ready",
        "--timeout=120s",
    ])?;
    let pod = kubectl.get("pod", "vmagent")?;
    let ip = pod["status"]["podIP"].as_str().context("no address")?;
    Ok(format!("http://{ip}:8429"))
}

fn targets(address: &str) -> Result<Value> {
    let answer = Request::get(&format!("{address}/api/v1/targets")).send()?;
    let body: Value = serde_json::from_str(&answer.body)?;
    Ok(body["data"]["activeTargets"].clone())
}

/// The sum over a metric's series.
fn metric(address: &str, name: &str) -> Result<f64> {
    let answer = Request::get(&format!("{address}/metrics")).send()?;
    let series = answer.body.lines().filter(|line| line.starts_with(name));
    let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    Ok(values.sum())
}
