//! SecureExporters that the release contains. Whether they outlive it is tested with the definition.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testbed::slot::Slot;

use super::template;

/// Makes Helm believe that the cluster has the definition.
const DEFINED: &str = "--api-versions=secureexporter.dev/v1alpha1/SecureExporter";

#[test]
fn resources_can_be_part_of_the_release() -> Result<()> {
    let _slot = Slot::shared();
    let resources = rendered(
        &json!([
            {"name": "on"},
            {
                "name": "edge",
                "namespace": "shop",
                "labels": {"team": "infra", "app.kubernetes.io/name": "stolen"},
                "annotations": {"note": "1", "helm.sh/resource-policy": "delete"},
                "spec": {"exporter": {"port": 9200}},
            },
        ]),
        &["--set", "watchNamespaces={shop}"],
    )?;
    let [first, second] = &resources[..] else {
        bail!("{resources:?}");
    };
    assert_eq!(first["kind"], "SecureExporter");
    // YAML would take it for true if it were not quoted.
    assert_eq!(first["metadata"]["name"], "on");
    assert_eq!(first["metadata"]["namespace"], "default");
    assert_eq!(first["spec"], json!({}));
    let metadata = &second["metadata"];
    assert_eq!(metadata["namespace"], "shop");
    assert_eq!(metadata["labels"]["team"], "infra");
    let name = &metadata["labels"]["app.kubernetes.io/name"];
    assert_eq!(name, "secure-exporter-operator");
    // The key of the CA would be deleted with the resource.
    let annotations = json!({"note": "1", "helm.sh/resource-policy": "keep"});
    assert_eq!(metadata["annotations"], annotations);
    assert_eq!(second["spec"], json!({"exporter": {"port": 9200}}));
    Ok(())
}

#[test]
fn resources_that_cannot_be_are_refused_by_name() -> Result<()> {
    let _slot = Slot::shared();
    let shop = json!([{"name": "nodes", "namespace": "shop"}]);
    let refusal = |list: &Value, more: &[&str]| {
        let refusal = rendered(list, more).err();
        let refusal = refusal.with_context(|| format!("accepted: {list}"))?;
        anyhow::Ok(format!("{refusal:#}"))
    };
    for (list, expected) in [
        (&shop, "add the namespace to watchNamespaces"),
        (&json!([{"spec": {}}]), "/secureExporters/0"),
        (&json!([{"name": "1"}]), "/secureExporters/0/name"),
        (&json!([{"name": "a", "specs": {}}]), "specs"),
        (&json!({"nodes": {}}), "/secureExporters"),
    ] {
        let refusal = refusal(list, &[])?;
        ensure!(refusal.contains(expected), "{list}: {refusal}");
    }
    rendered(&shop, &["--set", "watchNamespaces={*}"])?;

    // In a new cluster there is nothing yet that they could be.
    let list = "secureExporters=[{\"name\": \"nodes\"}]";
    let new = template(&["--set-json", list]);
    let new = format!("{:#}", new.err().context("accepted in a new cluster")?);
    ensure!(new.contains("first install the release without"), "{new}");
    Ok(())
}

/// The resources that the chart makes from this list.
fn rendered(list: &Value, more: &[&str]) -> Result<Vec<Value>> {
    let list = format!("secureExporters={list}");
    let only = ["--show-only", "templates/secureexporters.yaml"];
    let arguments = [&[DEFINED, "--set-json", &list][..], &only, more].concat();
    let text = template(&arguments)?;
    let objects = text.split("---\n").filter(|it| !it.trim().is_empty());
    Ok(objects
        .map(serde_saphyr::from_str)
        .collect::<Result<_, _>>()?)
}
