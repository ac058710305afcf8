//! What the chart creates for other programs: objects of prometheus-operator, on a real API server with its real
//! definitions, and a dashboard for Grafana.

use std::{collections::BTreeSet, io::Write, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use testbed::{kubectl::Kubectl, paths, process::output, servers, slot::Slot, test_clusters};

mod definition;
mod resources;
mod values;

const MONITORING: [&str; 2] = ["prometheusrules", "servicemonitors"];

#[test]
fn objects_of_prometheus_operator_are_as_it_defines_them() -> Result<()> {
    let _slot = Slot::shared();
    let kubectl = test_clusters::control_plane()?.kubectl("default");
    for kind in MONITORING {
        let file = format!("monitoring.coreos.com_{kind}.yaml");
        kubectl.define(&servers::monitoring_definitions()?.join(file))?;
    }
    let labels = "prometheusRule.labels.release=stack,serviceMonitor.labels.release=stack";
    let modes = "prometheusRule.mode=Enabled,serviceMonitor.mode=Enabled";
    let text = template(&["--set", modes, "--set", labels])?;
    let objects = checked(&kubectl, &text)?;
    let find = |kind: &str| {
        let found = objects.iter().find(|object| object["kind"] == kind);
        found.with_context(|| format!("no {kind}"))
    };
    for kind in ["PrometheusRule", "ServiceMonitor"] {
        assert_eq!(find(kind)?["metadata"]["labels"]["release"], "stack");
    }

    let mut rules = NamedTempFile::with_suffix(".yaml")?;
    rules.write_all(find("PrometheusRule")?["spec"].to_string().as_bytes())?;
    let told = promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &rules)?;
    ensure!(
        told.contains("rules found") && !told.contains(" 0 rules"),
        "{told}"
    );

    let (monitor, service) = (find("ServiceMonitor")?, find("Service")?);
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(endpoint["honorLabels"], true);
    let ports = service["spec"]["ports"].as_array().context("no ports")?;
    ensure!(
        ports.iter().any(|port| port["name"] == endpoint["port"]),
        "{ports:?}"
    );
    let selected = monitor["spec"]["selector"]["matchLabels"].as_object();
    for (name, value) in selected.context("it selects everything")? {
        assert_eq!(&service["metadata"]["labels"][name], value);
    }
    Ok(())
}

#[test]
fn they_are_made_where_the_cluster_knows_them() -> Result<()> {
    let _slot = Slot::shared();
    let kinds = |arguments: &[&str]| -> Result<BTreeSet<String>> {
        let text = template(arguments)?;
        let kinds = text.lines().filter_map(|line| line.strip_prefix("kind: "));
        Ok(kinds.map(str::to_owned).collect())
    };
    let (plain, known) = (
        kinds(&[])?,
        kinds(&[
            "--api-versions",
            "monitoring.coreos.com/v1/PrometheusRule,monitoring.coreos.com/v1/ServiceMonitor",
        ])?,
    );
    let added: Vec<&String> = known.difference(&plain).collect();
    assert_eq!(added, ["PrometheusRule", "ServiceMonitor"]);
    ensure!(plain.contains("ConfigMap"), "no dashboard");
    let without = kinds(&["--set", "dashboard.mode=Disabled"])?;
    ensure!(!without.contains("ConfigMap"), "a dashboard nobody wants");
    Ok(())
}

#[test]
fn the_dashboard_is_one_that_grafana_and_prometheus_understand() -> Result<()> {
    let _slot = Slot::shared();
    let kubectl = test_clusters::control_plane()?.kubectl("default");
    let objects = checked(&kubectl, &template(&[])?)?;
    let map = objects.iter().find(|object| object["kind"] == "ConfigMap");
    let map = map.context("no ConfigMap")?;
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = map["data"]["secure-exporter.json"]
        .as_str()
        .context("no dashboard")?;
    let dashboard: Value = serde_json::from_str(text)?;
    assert_eq!(dashboard["uid"], "secure-exporter");
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let ids: BTreeSet<String> = panels.iter().map(|panel| panel["id"].to_string()).collect();
    ensure!(ids.len() == panels.len(), "two panels of one id");

    let mut records = Vec::new();
    for target in panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array())
        .flatten()
    {
        let expression = target["expr"]
            .as_str()
            .context("a target without expression")?;
        let expression = expression
            .replace("$__rate_interval", "5m")
            .replace("$namespace", ".*")
            .replace("$name", ".*");
        ensure!(
            !expression.contains('$'),
            "a variable is unknown: {expression}"
        );
        let record = format!("panel:{}", records.len());
        records.push(json!({"record": record, "expr": expression}));
    }
    ensure!(records.len() > 12, "{} expressions", records.len());
    let groups = json!({"groups": [{"name": "dashboard", "rules": records}]});
    let mut rules = NamedTempFile::with_suffix(".yaml")?;
    rules.write_all(groups.to_string().as_bytes())?;
    promtool(&["check", "rules", "--lint=none"], &rules)?;
    Ok(())
}

#[test]
fn a_level_that_would_log_nothing_is_refused() -> Result<()> {
    let _slot = Slot::shared();
    let level = |level: &str| template(&["--set-string", &format!("operator.log.level={level}")]);
    for level_that_exists in ["debug", r"info\,kube=debug"] {
        ensure!(level(level_that_exists)?.contains("--log-level="));
    }
    for none in ["verbose", "kube=debug"] {
        let refusal = format!("{:#}", level(none).err().context("it is accepted")?);
        ensure!(refusal.contains("/operator/log/level"), "{refusal}");
    }
    Ok(())
}

#[test]
fn what_authors_may_do_reaches_the_operator() -> Result<()> {
    let _slot = Slot::shared();
    let default = template(&[])?;
    ensure!(
        default.contains("- \"--max-exporter-resources=cpu=1,memory=512Mi\""),
        "{default}"
    );
    for absent in ["--allowed-", "--require-reference-label"] {
        ensure!(!default.contains(absent), "{absent} is the default");
    }
    let values = [
        "allowedPodLabelPrefixes={team,example.com/}",
        "allowedPodAnnotationPrefixes={*}",
        "allowedPriorityClasses={monitoring}",
        "maxExporterResources.cpu=null",
        "requireReferenceLabel=true",
    ];
    let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    let text = template(&arguments)?;
    for flag in [
        "\"--allowed-pod-label-prefixes=team,example.com/\"",
        "\"--allowed-pod-annotation-prefixes=*\"",
        "\"--allowed-priority-classes=monitoring\"",
        "\"--max-exporter-resources=memory=512Mi\"",
        "--require-reference-label",
    ] {
        ensure!(text.contains(&format!("- {flag}\n")), "no {flag} in {text}");
    }
    for bad in [
        "allowedPodLabelPrefixes={example.com/*}",
        "maxExporterResources.cpu=lots",
    ] {
        ensure!(template(&["--set", bad]).is_err(), "accepted: {bad}");
    }
    Ok(())
}

#[test]
fn a_namespace_that_does_not_exist_is_left_out_and_named() -> Result<()> {
    let _slot = Slot::shared();
    let cluster = test_clusters::control_plane()?;
    let watched = ["--set", "watchNamespaces={kube-public,not-there}"];
    let mut helm = Command::new(servers::ensure(&servers::HELM)?);
    helm.arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["install", "missing", "--namespace", "default"])
        .arg(chart())
        .args(["--dry-run=server", "--set", "crds.enabled=false"])
        .args(watched);
    let told = output(&mut helm)?;
    let (objects, notes) = told.split_once("NOTES:").context("no notes")?;
    let roles_in =
        |text: &str, namespace: &str| text.matches(&format!("  namespace: {namespace}\n")).count();
    ensure!(roles_in(objects, "kube-public") == 2, "{objects}");
    ensure!(roles_in(objects, "not-there") == 0, "{objects}");
    // The operator still waits for it.
    ensure!(objects.contains("kube-public,not-there"), "{objects}");
    ensure!(notes.contains("DO NOT EXIST: not-there."), "{notes}");

    // Without a cluster nothing is known, and nothing left out.
    ensure!(roles_in(&template(&watched)?, "not-there") == 2);
    Ok(())
}

/// Every object of a text, as the API server would keep it; a field that it does not know is an error.
fn checked(kubectl: &Kubectl, text: &str) -> Result<Vec<Value>> {
    let mut file = NamedTempFile::with_suffix(".yaml")?;
    file.write_all(text.as_bytes())?;
    let path = file.path().to_str().context("a path that is no text")?;
    let check = [
        "create",
        "--dry-run=server",
        "--validate=strict",
        "-o",
        "json",
        "-f",
        path,
    ];
    let told = kubectl.run(&check)?;
    // One object after the other, without a list around them.
    let objects = serde_json::Deserializer::from_str(&told).into_iter();
    Ok(objects.collect::<Result<_, _>>()?)
}

/// The chart's objects. Without the definition, unless the arguments ask for it: the clusters have it already.
fn template(arguments: &[&str]) -> Result<String> {
    let mut helm = Command::new(servers::ensure(&servers::HELM)?);
    helm.args(["template", "secure-exporter"])
        .arg(chart())
        .args(["--namespace", "default"])
        .args(["--set", "crds.enabled=false"])
        .args(arguments);
    output(&mut helm)
}

fn promtool(arguments: &[&str], file: &NamedTempFile) -> Result<String> {
    let mut promtool = Command::new(servers::ensure(&servers::PROMTOOL)?);
    output(promtool.args(arguments).arg(file.path()))
}

fn chart() -> PathBuf {
    paths::repository().join("charts/secure-exporter")
}
