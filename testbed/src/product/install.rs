//! A cluster with our images in it and the chart installed: what the demo and the tests both begin with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::image::{self, Content};
use crate::{
    cluster::{Cluster, Extent, Layout},
    paths::{self, repository},
    process::output,
    progress::step,
    servers::{self, Server},
};

/// Where the chart and the examples go.
pub const NAMESPACE: &str = "monitoring";

/// A running cluster whose nodes have our images and Prometheus'.
///
/// # Errors
/// Something could not be built or started.
pub fn cluster(layout: Layout) -> Result<Cluster> {
    cluster_with(layout, &servers::PROMETHEUS)
}

/// The same with a Prometheus of choice.
///
/// # Errors
/// As [`cluster`].
pub fn cluster_with(layout: Layout, prometheus: &Server) -> Result<Cluster> {
    if layout.extent != Extent::Whole {
        bail!("pods need a node, and a node needs root: run this by sudo");
    }
    // Before the cluster is there: a build that fails leaves none behind.
    let prometheus = servers::ensure(prometheus)?;
    let archives = image::ours("localhost", "dev", &images())?;
    let cluster = Cluster::up(layout)?;
    step("import images", || {
        archives
            .iter()
            .try_for_each(|archive| cluster.import_image(archive))?;
        import_server(&cluster, "prometheus", &prometheus)
    })?;
    Ok(cluster)
}

/// Makes a server known to the nodes as the image `localhost/NAME:dev`.
///
/// # Errors
/// The image could not be written, or containerd refused it.
pub fn import_server(cluster: &Cluster, name: &str, binary: &Path) -> Result<()> {
    let archive = images().join(format!("{name}.tar"));
    let content = Content::in_bin(name, fs::read(binary)?);
    image::write(&archive, &format!("localhost/{name}:dev"), &content)?;
    cluster.import_image(&archive)
}

/// Waits of a rotation as short as the kubelets of our clusters allow, for tests.
pub const SHORT_WAITS: [&str; 7] = [
    "rotation.trustSoak=2s",
    "rotation.acceptSoak=1s",
    "rotation.blindWait=20s",
    "rotation.unusedFor=4s",
    "rotation.minimumOverlap=1s",
    "rotation.probeInterval=1s",
    "rotation.sampleInterval=10s",
];

/// `helm install`, with the images of this working tree.
///
/// # Errors
/// Helm is neither there nor can be built, or it failed.
pub fn operator(cluster: &Cluster, values: &[&str]) -> Result<()> {
    let helm = servers::ensure(&servers::HELM)?;
    let archive = images().join("secure-exporter-operator.tar");
    let digest = image::digest(&fs::read(archive)?);
    step(
        "helm install secure-exporter charts/secure-exporter",
        || {
            let mut command = Command::new(helm);
            command
                .arg("--kubeconfig")
                .arg(cluster.kubeconfig())
                .args(["upgrade", "--install", "secure-exporter"])
                .arg(repository().join("charts/secure-exporter"))
                .args([
                    "--namespace",
                    NAMESPACE,
                    "--create-namespace",
                    "--wait",
                    "--timeout",
                    "120s",
                ])
                .args([
                    "--set",
                    "operator.image.repository=localhost/secure-exporter-operator",
                ])
                .args(["--set", "operator.image.tag=dev"])
                .args([
                    "--set",
                    "exporter.image.repository=localhost/secure-exporter",
                ])
                .args(["--set", "exporter.image.tag=dev"])
                // The tag stays while the image changes: this is what makes a new one roll out.
                .arg("--set-string")
                .arg(format!("operator.podAnnotations.image={digest}"));
            for value in values {
                command.args(["--set", value]);
            }
            output(&mut command)
        },
    )?;
    Ok(())
}

fn images() -> PathBuf {
    paths::target().join("images")
}
