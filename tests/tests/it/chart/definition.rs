//! The definition as a part of the release.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use testbed::{
    kubectl::Kubectl,
    paths::{self, repository},
    process::output,
    servers,
    slot::Slot,
    test_clusters,
};

use super::{chart, template};

const NAME: &str = "secureexporters.secureexporter.dev";

#[test]
fn the_definition_is_the_generated_one_and_is_kept() -> Result<()> {
    let _slot = Slot::shared();
    let kubectl = test_clusters::control_plane()?.kubectl("default");
    let generated = repository().join(format!("crds/{NAME}.yaml"));
    let generated = parsed(&kubectl, paths::text(&generated)?)?;
    for keep in [true, false] {
        let keep_it = format!("crds.keep={keep}");
        let only = "templates/crds.yaml";
        let values = ["--set", "crds.enabled=true", "--set", &keep_it];
        let text = template(&[&values[..], &["--show-only", only]].concat())?;
        let file = NamedTempFile::with_suffix(".yaml")?;
        std::fs::write(file.path(), text)?;
        let definition = parsed(&kubectl, paths::text(file.path())?)?;
        assert_eq!(definition["metadata"]["name"], NAME);
        assert_eq!(definition["spec"], generated["spec"]);
        let policy = &definition["metadata"]["annotations"]["helm.sh/resource-policy"];
        assert_eq!(policy == "keep", keep, "{policy}");
    }
    ensure!(!template(&[])?.contains("kind: CustomResourceDefinition"));
    Ok(())
}

/// The definition of this cluster was installed by kubectl.
#[test]
fn a_definition_that_exists_is_taken_over_and_stays() -> Result<()> {
    let _slot = Slot::shared();
    let cluster = test_clusters::control_plane()?;
    let kubectl = cluster.kubectl("default");
    // On a cluster that was kept, an earlier run has left its mark.
    kubectl.annotate("crd", NAME, "meta.helm.sh/release-name-")?;
    let before = kubectl.get("crd", NAME)?;
    let helm = |arguments: &[&str]| {
        let mut helm = Command::new(servers::ensure(&servers::HELM)?);
        helm.arg("--kubeconfig").arg(cluster.kubeconfig());
        helm.args(["--namespace", "default"]).args(arguments);
        output(&mut helm)
    };
    let chart = chart();
    // Nothing but the definition: neither operator nor roles.
    let values = "replicaCount=0,rbac.create=false";
    let install = [
        "upgrade",
        "--install",
        "taker",
        paths::text(&chart)?,
        "--set",
        values,
    ];
    let refusal = helm(&install).err().context("it is overwritten")?;
    let refusal = format!("{refusal:#}");
    ensure!(refusal.contains("ownership metadata"), "{refusal}");

    let taken = ["--take-ownership", "--force-conflicts"];
    helm(&[&install[..], &taken].concat())?;
    let owner = |definition: &Value| {
        definition["metadata"]["annotations"]["meta.helm.sh/release-name"].clone()
    };
    assert_eq!(owner(&kubectl.get("crd", NAME)?), json!("taker"));
    // From now on it is upgraded like everything else.
    helm(&install)?;
    helm(&["uninstall", "taker"])?;
    let after = kubectl.get("crd", NAME)?;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    Ok(())
}

/// A file's object as JSON.
fn parsed(kubectl: &Kubectl, file: &str) -> Result<Value> {
    let arguments = ["create", "--dry-run=client", "-o", "json", "-f", file];
    Ok(serde_json::from_str(&kubectl.run(&arguments)?)?)
}
