//! A node: containerd with its network plugins, and the kubelet.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    control_plane::flags,
    holder::{Server, command, spawn},
    layout::Layout,
};
use crate::{
    image::{self, Content},
    shell::{find_program, output, wait_while},
};

const PAUSE_IMAGE: &str = "localhost/pause:1";

/// Starts containerd and waits until it answers.
///
/// # Errors
/// It did not start.
pub fn start_containerd(layout: &Layout) -> Result<Server> {
    let run = layout.run.display();
    fs::create_dir_all(layout.run.join("cni"))?;
    fs::write(
        layout.run.join("cni/10-pods.conflist"),
        network(layout).to_string(),
    )?;
    // restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not lower the score and would fail.
    let config = format!(
        r#"version = 2
root = "{run}/containerd/root"
state = "{run}/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{run}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{run}/cni"
"#,
        socket = layout.containerd_socket().display(),
    );
    let file = layout.run.join("containerd.toml");
    fs::write(&file, config)?;
    let containerd = find_program("containerd").context("containerd is not installed")?;
    let mut server = spawn(
        layout,
        "containerd",
        &containerd,
        &["-c".into(), file.display().to_string()],
    )?;
    wait_while(
        "containerd answers",
        Duration::from_secs(30),
        || server.check(),
        || ctr(layout, &["version"]).map(Some),
    )?;
    Ok(server)
}

/// Makes the image that holds a pod's namespaces known to containerd.
///
/// # Errors
/// The image could not be written or was refused.
pub fn import_pause(layout: &Layout, pause: &Path) -> Result<()> {
    let archive = layout.run.join("pause.tar");
    image::write(
        &archive,
        PAUSE_IMAGE,
        &Content::of("pause", fs::read(pause)?),
    )?;
    import(layout, &archive)
}

/// Makes an image known to containerd.
///
/// # Errors
/// containerd refused it.
pub fn import(layout: &Layout, archive: &Path) -> Result<()> {
    ctr(
        layout,
        &["images", "import", &archive.display().to_string()],
    )?;
    Ok(())
}

/// Starts the kubelet.
///
/// # Errors
/// It could not be started.
pub fn start_kubelet(layout: &Layout, commands: &Path) -> Result<Server> {
    let file = layout.run.join("kubelet.yaml");
    fs::write(&file, kubelet_configuration(layout).to_string())?;
    let root = layout.run.join("kubelet");
    fs::create_dir_all(&root)?;
    spawn(
        layout,
        "kubelet",
        &commands.join("kubelet"),
        &flags(&[
            ("config", &file.display().to_string()),
            (
                "kubeconfig",
                &layout.kubeconfig("kubelet").display().to_string(),
            ),
            ("root-dir", &root.display().to_string()),
            (
                "cert-dir",
                &layout
                    .run
                    .join("kubelet-certificates")
                    .display()
                    .to_string(),
            ),
            ("hostname-override", layout.node_name()),
            ("node-ip", &layout.node_address()),
            ("v", "2"),
        ]),
    )
}

fn kubelet_configuration(layout: &Layout) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "tlsCertFile": layout.pki("kubelet-server.crt"),
        "tlsPrivateKeyFile": layout.pki("kubelet-server.key"),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "podLogsDir": layout.run.join("pod-logs"),
        "volumePluginDir": layout.run.join("volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", layout.cgroup()),
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "makeIPTablesUtilChains": false,
        "evictionHard": {
            "memory.available": "0%", "nodefs.available": "0%",
            "nodefs.inodesFree": "0%", "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "registryPullQPS": 0,
        "resolvConf": "",
        "clusterDomain": "cluster.local",
        // A changed Secret reaches a pod within a second or two instead of the default's minute.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "syncFrequency": "1s",
        "nodeStatusUpdateFrequency": "1s",
    })
}

fn network(layout: &Layout) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0", "name": "pods",
        "plugins": [{
            "type": "bridge", "bridge": "pods", "isGateway": true,
            "ipam": {
                "type": "host-local", "subnet": layout.pod_network(),
                "dataDir": layout.run.join("ipam"), "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn ctr(layout: &Layout, arguments: &[&str]) -> Result<String> {
    let socket = layout.containerd_socket().display().to_string();
    output(
        command(layout, "ctr")?
            .args(["-a", &socket, "-n", "k8s.io"])
            .args(arguments),
    )
}
