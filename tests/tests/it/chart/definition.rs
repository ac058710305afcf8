//! The definition as a part of the release: which one it is, who owns it, and that it outlives the release.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{
    cluster::{Cluster, Layout, Shape},
    kubectl::Kubectl,
    paths::{repository, text},
    process::output,
    servers,
    slot::Slot,
    wait::wait_until,
};

use super::{chart, template};

const NAME: &str = "secureexporters.secureexporter.dev";
const FILE: &str = "secureexporters.secureexporter.dev.yaml";
const TEMPLATE: &str = "templates/crds.yaml";

#[test]
fn the_definition_is_the_generated_one_and_is_kept() -> Result<()> {
    let _slot = Slot::shared();
    let generated = generated()?;
    for (values, kept) in [
        ("crds.enabled=true", true),
        // The values of an earlier chart, by `helm upgrade --reuse-values`.
        ("crds=null", true),
        ("crds.enabled=true,crds.keep=false", false),
    ] {
        let rendered = template(&["--set", values, "--show-only", TEMPLATE])?;
        let definition: Value = serde_saphyr::from_str(&rendered)?;
        let metadata = &definition["metadata"];
        assert_eq!(metadata["name"], NAME);
        assert_eq!(floats(&definition["spec"]), floats(&generated["spec"]));
        let policy = &metadata["annotations"]["helm.sh/resource-policy"];
        assert_eq!(policy == "keep", kept, "{values}: {policy}");
    }
    ensure!(!template(&[])?.contains("kind: CustomResourceDefinition"));
    Ok(())
}

/// In a cluster of its own: with the definition, the resources of all other tests would be deleted.
#[test]
fn it_is_taken_over_upgraded_and_outlives_the_release() -> Result<()> {
    let _slot = Slot::alone();
    let layout = || Layout::named("definition").shaped(Shape::CONTROL_PLANE);
    // What a killed run left behind: it would be taken for the new one.
    Cluster::named(&layout().name).down()?;
    let cluster = Cluster::up(layout())?;
    let outcome = of_an_earlier_chart(&cluster).and_then(|()| of_kubectl(&cluster));
    cluster.down()?;
    outcome
}

/// Earlier charts had the definition in their folder crds.
fn of_an_earlier_chart(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl("default");
    let (_earlier, earlier) = chart_with(&definition_of(1)?)?;
    fs::rename(earlier.join("definitions"), earlier.join("crds"))?;
    fs::remove_file(earlier.join(TEMPLATE))?;
    install(cluster, "first", &earlier, &[])?;
    has_columns(&kubectl, 1)?;
    resource(&kubectl, "mine")?;

    let refusal = install(cluster, "first", &chart(), &[]);
    refused_with(refusal, "ownership metadata")?;
    has_columns(&kubectl, 1)?;

    let taken = ["--take-ownership", "--set", "secureExporters[0].name=nodes"];
    install(cluster, "first", &chart(), &taken)?;
    has_columns(&kubectl, all_columns()?)?;
    belongs_to(&kubectl, "first")?;
    let before = identities(&kubectl)?;
    ensure!(before.len() == 3, "{before:?}");

    // From now on it is upgraded like everything else. The resource is no longer in the values.
    let (_newer, newer) = chart_with(&definition_of(2)?)?;
    install(cluster, "first", &newer, &[])?;
    has_columns(&kubectl, 2)?;
    // Back to the chart that does not contain it, and forth.
    install(cluster, "first", &earlier, &[])?;
    ensure!(identities(&kubectl)? == before);
    install(cluster, "first", &chart(), &[])?;
    helm(cluster, &["uninstall", "first"])?;
    let after = identities(&kubectl)?;
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}

/// kubectl owns the fields that it has set, so that Helm overwrites them only with --force-conflicts.
fn of_kubectl(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl("default");
    kubectl.delete("crd", NAME)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(FILE);
    fs::write(&file, definition_of(1)?.to_string())?;
    kubectl.define(&file)?;

    let refusal = install(cluster, "second", &chart(), &[]);
    refused_with(refusal, "ownership metadata")?;
    let taken = ["--take-ownership", "--force-conflicts"];
    install(cluster, "second", &chart(), &taken)?;
    has_columns(&kubectl, all_columns()?)?;
    belongs_to(&kubectl, "second")?;

    install(cluster, "second", &chart(), &["--set", "crds.keep=false"])?;
    helm(cluster, &["uninstall", "second"])?;
    wait_until("the definition to be gone", Duration::from_secs(30), || {
        Ok(kubectl.find("crd", NAME)?.is_none().then_some(()))
    })
}

/// Installs or upgrades a release with nothing but what no operator is needed for.
fn install(cluster: &Cluster, release: &str, chart: &Path, more: &[&str]) -> Result<String> {
    let arguments = ["upgrade", "--install", release, text(chart)?];
    let values = ["--set", "replicaCount=0,rbac.create=false"];
    helm(cluster, &[&arguments[..], &values, more].concat())
}

fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut helm = Command::new(servers::ensure(&servers::HELM)?);
    helm.arg("--kubeconfig").arg(cluster.kubeconfig());
    output(helm.args(["--namespace", "default"]).args(arguments))
}

fn refused_with(outcome: Result<String>, words: &str) -> Result<()> {
    let refusal = outcome.err().context("it is accepted")?;
    let refusal = format!("{refusal:#}");
    ensure!(refusal.contains(words), "{refusal}");
    Ok(())
}

/// The chart with another definition. It is removed with the folder.
fn chart_with(definition: &Value) -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("secure-exporter");
    output(Command::new("cp").arg("-r").arg(chart()).arg(&copy))?;
    let file = copy.join("definitions").join(FILE);
    fs::write(file, definition.to_string())?;
    Ok((folder, copy))
}

fn generated() -> Result<Value> {
    let file = repository().join("crds").join(FILE);
    Ok(serde_saphyr::from_str(&fs::read_to_string(file)?)?)
}

/// The same with every number as a float: Helm writes 1.0 as 1.
fn floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(floats).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, it)| (name.clone(), floats(it)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// The definition as another version could be: with only the first columns for `kubectl get`.
fn definition_of(columns: usize) -> Result<Value> {
    let mut definition = generated()?;
    let all = definition.pointer_mut("/spec/versions/0/additionalPrinterColumns");
    let all = all.and_then(Value::as_array_mut).context("no columns")?;
    ensure!(all.len() > columns);
    all.truncate(columns);
    Ok(definition)
}

fn columns(definition: &Value) -> usize {
    let columns = &definition["spec"]["versions"][0]["additionalPrinterColumns"];
    columns.as_array().map_or(0, Vec::len)
}

fn all_columns() -> Result<usize> {
    Ok(columns(&generated()?))
}

fn has_columns(kubectl: &Kubectl, expected: usize) -> Result<()> {
    let found = columns(&kubectl.get("crd", NAME)?);
    ensure!(found == expected, "{found} columns instead of {expected}");
    Ok(())
}

fn belongs_to(kubectl: &Kubectl, release: &str) -> Result<()> {
    let definition = kubectl.get("crd", NAME)?;
    let owner = &definition["metadata"]["annotations"]["meta.helm.sh/release-name"];
    ensure!(owner == release, "it belongs to {owner}");
    Ok(())
}

fn resource(kubectl: &Kubectl, name: &str) -> Result<()> {
    kubectl.apply(&json!({
        "apiVersion": "secureexporter.dev/v1alpha1", "kind": "SecureExporter",
        "metadata": {"name": name}, "spec": {},
    }))
}

/// Which definition and which resources there are: an object that was deleted and created again is another one.
fn identities(kubectl: &Kubectl) -> Result<Vec<Value>> {
    let mut objects = kubectl.list("secexp", "")?;
    objects.push(kubectl.get("crd", NAME)?);
    let identity = |object: &Value| {
        let metadata = &object["metadata"];
        json!([metadata["name"], metadata["uid"]])
    };
    Ok(objects.iter().map(identity).collect())
}
