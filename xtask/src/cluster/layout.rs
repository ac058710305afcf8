//! Where the files of a cluster lie and which addresses it has.

use std::path::PathBuf;

/// Paths and addresses of one cluster; two clusters of different names share none.
pub struct Layout {
    /// What it was called on the command line.
    pub name: String,
    /// Its files, in memory: etcd is quick there, and nothing survives a reboot.
    pub run: PathBuf,
    /// The third byte of its network.
    network: u8,
}

impl Layout {
    /// The cluster of this name.
    pub fn named(name: &str) -> Self {
        // Stable and spread: 10.77.x for nodes; a clash of two names would be refused by the kernel, not be silent.
        let network = name
            .bytes()
            .fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte))
            | 1;
        Self {
            name: name.to_owned(),
            run: PathBuf::from("/dev/shm/secure-exporter").join(name),
            network,
        }
    }

    /// The node's address, also that of the API server.
    pub fn node_address(&self) -> String {
        format!("10.77.{}.1", self.network)
    }

    /// This machine's end of the cable to the cluster.
    pub fn outside_address(&self) -> String {
        format!("10.77.{}.254", self.network)
    }

    /// The addresses that pods get.
    pub fn pod_network(&self) -> String {
        format!("10.78.{}.0/24", self.network)
    }

    /// The name of this machine's end of the cable.
    pub fn outside_interface(&self) -> String {
        format!("sx-{}", self.network)
    }

    /// The first address of the service network: the API server, seen from pods.
    pub fn service_address(&self) -> &'static str {
        "10.96.0.1"
    }

    /// The node's name.
    pub fn node_name(&self) -> &'static str {
        "node1"
    }

    /// The cgroup below which all containers run.
    pub fn cgroup(&self) -> String {
        format!("secure-exporter-{}", self.name)
    }

    /// The folder of logs, one file per program.
    pub fn logs(&self) -> PathBuf {
        self.run.join("log")
    }

    /// A key (`NAME.key`) or certificate (`NAME.crt`).
    pub fn pki(&self, file: &str) -> PathBuf {
        self.run.join("pki").join(file)
    }

    /// The kubeconfig of a user.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.run.join(format!("{user}.kubeconfig"))
    }

    /// containerd's socket.
    pub fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd/containerd.sock")
    }
}
