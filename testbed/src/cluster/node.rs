//! A node: containerd with its network plugins, and the kubelet.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    control_plane::flags,
    holder::Server,
    layout::{Layout, Node},
};
use crate::{
    paths::find_program,
    process::output,
    product::image::{self, Content},
    wait::wait_while,
};

const PAUSE_IMAGE: &str = "localhost/pause:1";

/// Starts containerd and waits until it responds.
///
/// # Errors
/// It did not start.
pub fn start_containerd(node: &Node) -> Result<Server> {
    let run = node.run.display();
    fs::create_dir_all(node.run.join("cni"))?;
    fs::write(
        node.run.join("cni/10-pods.conflist"),
        network(node).to_string(),
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
        socket = node.containerd_socket().display(),
    );
    let file = node.run.join("containerd.toml");
    fs::write(&file, config)?;
    let containerd = find_program("containerd").context("containerd is not installed")?;
    let mut server = node.holder.spawn(
        &format!("containerd-{}", node.name),
        &containerd,
        &["-c".into(), file.display().to_string()],
    )?;
    wait_while(
        "containerd answers",
        Duration::from_secs(30),
        || server.check(),
        || ctr(node, &["version"]).map(Some),
    )?;
    Ok(server)
}

/// Imports the image that holds a pod's namespaces into containerd.
///
/// # Errors
/// The image could not be written or was refused.
pub fn import_pause(node: &Node, pause: &Path) -> Result<()> {
    let archive = node.run.join("pause.tar");
    image::write(
        &archive,
        PAUSE_IMAGE,
        &Content::of("pause", fs::read(pause)?),
    )?;
    import(node, &archive)
}

/// Imports an image into containerd.
///
/// # Errors
/// containerd refused it.
pub fn import(node: &Node, archive: &Path) -> Result<()> {
    ctr(node, &["images", "import", &archive.display().to_string()])?;
    Ok(())
}

/// Starts the kubelet, which checks each pod again after `sync_frequency`.
///
/// # Errors
/// It could not be started.
pub fn start_kubelet(
    layout: &Layout,
    node: &Node,
    commands: &Path,
    sync_frequency: Duration,
) -> Result<Server> {
    let file = node.run.join("kubelet.yaml");
    let configuration = kubelet_configuration(layout, node, sync_frequency);
    fs::write(&file, configuration.to_string())?;
    let folder = |name: &str| node.run.join(name).display().to_string();
    fs::create_dir_all(folder("kubelet"))?;
    let kubeconfig = layout.kubeconfig(&node.kubelet_user());
    node.holder.spawn(
        &format!("kubelet-{}", node.name),
        &commands.join("kubelet"),
        &flags(&[
            ("config", &file.display().to_string()),
            ("kubeconfig", &kubeconfig.display().to_string()),
            ("root-dir", &folder("kubelet")),
            ("cert-dir", &folder("kubelet-certificates")),
            ("hostname-override", &node.name),
            ("node-ip", &node.address.to_string()),
            ("v", "2"),
        ]),
    )
}

fn kubelet_configuration(
    layout: &Layout,
    node: &Node,
    sync_frequency: Duration,
) -> serde_json::Value {
    let server = node.kubelet_server();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "tlsCertFile": layout.pki(&format!("{server}.crt")),
        "tlsPrivateKeyFile": layout.pki(&format!("{server}.key")),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{}", node.containerd_socket().display()),
        "podLogsDir": node.run.join("pod-logs"),
        "volumePluginDir": node.run.join("volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.cgroup),
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
        // Together they determine when a changed Secret reaches a pod: see `Shape::sync_frequency`.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "syncFrequency": format!("{}ms", sync_frequency.as_millis()),
        "nodeStatusUpdateFrequency": "1s",
    })
}

fn network(node: &Node) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0", "name": "pods",
        "plugins": [{
            "type": "bridge", "bridge": "pods", "isGateway": true,
            "ipam": {
                "type": "host-local", "subnet": node.pod_network,
                "dataDir": node.run.join("ipam"), "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn ctr(node: &Node, arguments: &[&str]) -> Result<String> {
    let socket = node.containerd_socket().display().to_string();
    output(
        node.holder
            .command("ctr")?
            .args(["-a", &socket, "-n", "k8s.io"])
            .args(arguments),
    )
}
