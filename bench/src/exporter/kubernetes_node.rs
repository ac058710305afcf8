//! A Kubernetes node full of pods. Each pod has a veth pair on a bridge in a network namespace with its own sysfs, and two
//! tmpfs and an overlay on this host, so that both exporters read the kernel's own files and tables.

use std::{fmt::Write, path::Path, process::Command};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use testbed::{host::network::Network, process::output};

/// Volumes with the credentials and the configuration of a pod.
const TMPFS_OF_A_POD: usize = 2;
/// Maximum number of commands in one call of `ip`.
const BATCH: usize = 50;

/// The node, which is removed when this is dropped.
pub struct KubernetesNode {
    network: Network,
    /// The namespace with the other ends of the pairs.
    _pods_network: Network,
    _mounts: Mounts,
    pods: usize,
}

impl KubernetesNode {
    /// Creates the devices and mounts of this many pods.
    ///
    /// # Errors
    /// This process is not root, or the kernel refused one of them.
    pub fn new(pods: usize) -> Result<Self> {
        // A namespace contains the mounts that existed when it was created.
        let mounts = Mounts::new(pods)?;
        let pods_network = Network::new("bench-pods")?;
        let network = Network::new("bench-node")?;
        let other = pods_network.name();
        network.ip_batch("link add cni0 type bridge\nlink set cni0 up\n")?;
        for first in (0..pods).step_by(BATCH) {
            let (mut near, mut far) = (String::new(), String::new());
            for pod in first..pods.min(first + BATCH) {
                writeln!(
                    near,
                    "link add veth{pod:08x} type veth peer name eth{pod} netns {other}\n\
                     link set veth{pod:08x} master cni0\nlink set veth{pod:08x} up"
                )?;
                writeln!(far, "link set eth{pod} up")?;
            }
            network.ip_batch(&near)?;
            pods_network.ip_batch(&far)?;
        }
        Ok(Self {
            network,
            _pods_network: pods_network,
            _mounts: mounts,
            pods,
        })
    }

    /// The network namespace in which the exporters run.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Checks that a scrape shows all devices and mounts, because measurements of different nodes must not be compared.
    ///
    /// # Errors
    /// Names the family that has too few samples, or the collector that failed.
    pub fn check(&self, scrape: &str) -> Result<()> {
        let samples = |start: &str| scrape.lines().filter(|it| it.starts_with(start)).count();
        // The pairs, the bridge and the loopback device.
        let devices = self.pods + 2;
        for family in [
            "node_network_mtu_bytes{",
            "node_network_receive_bytes_total{",
        ] {
            let shown = samples(family);
            ensure!(
                shown == devices,
                "{shown} samples of {family}, not {devices}"
            );
        }
        // Overlays are left out by default.
        let tmpfs = scrape
            .lines()
            .filter(|line| line.starts_with("node_filesystem_size_bytes{"))
            .filter(|line| line.contains("/pods/"))
            .count();
        let expected = self.pods * TMPFS_OF_A_POD;
        ensure!(tmpfs == expected, "{tmpfs} file systems, not {expected}");
        let failed = scrape.lines().find(|line| {
            line.starts_with("node_scrape_collector_success{collector=\"net")
                && line.ends_with(" 0")
        });
        ensure!(failed.is_none(), "a collector failed: {failed:?}");
        Ok(())
    }
}

/// The mounts of the pods. They belong to this host, because both exporters show the mounts of its first process.
struct Mounts {
    folder: TempDir,
}

impl Mounts {
    fn new(pods: usize) -> Result<Self> {
        let mounts = Self {
            folder: tempfile::tempdir()?,
        };
        let script = mount_script(mounts.folder.path(), pods);
        output(Command::new("sh").args(["-c", &script]))?;
        Ok(mounts)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        // All other mounts are below this one.
        let _ = output(Command::new("umount").arg("--lazy").arg(self.folder.path()));
    }
}

fn mount_script(folder: &Path, pods: usize) -> String {
    let folder = folder.display();
    format!(
        "set -e\n\
         mount -t tmpfs none {folder}\n\
         cd {folder}\n\
         mkdir image\n\
         pod=0\n\
         while [ $pod -lt {pods} ]; do\n\
         mkdir -p pods/$pod/token pods/$pod/config run/$pod/upper run/$pod/work run/$pod/rootfs\n\
         mount -t tmpfs -o size=64k none {folder}/pods/$pod/token\n\
         mount -t tmpfs -o size=64k none {folder}/pods/$pod/config\n\
         run={folder}/run/$pod\n\
         mount -t overlay -o lowerdir={folder}/image,upperdir=$run/upper,workdir=$run/work none $run/rootfs\n\
         pod=$((pod + 1))\n\
         done"
    )
}
