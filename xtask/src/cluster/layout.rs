//! Where the files of a cluster lie and which addresses it has.

use std::path::{Path, PathBuf};

/// How much of a cluster this user may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Control plane and a node, in a network of their own: needs root.
    Whole,
    /// etcd, API server, controllers and scheduler on this machine's loopback address: everything but running pods.
    ControlPlane,
}

/// Paths and addresses of one cluster; two clusters of different names share none.
pub struct Layout {
    /// What it was called on the command line.
    pub name: String,
    /// Its files, in memory: etcd is quick there, and nothing survives a reboot.
    pub run: PathBuf,
    /// What this user may run.
    pub extent: Extent,
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
        let user = rustix::process::geteuid();
        let (extent, folder) = if user.is_root() {
            (Extent::Whole, "secure-exporter".to_owned())
        } else {
            (
                Extent::ControlPlane,
                format!("secure-exporter-{}", user.as_raw()),
            )
        };
        Self {
            name: name.to_owned(),
            run: Path::new("/dev/shm").join(folder).join(name),
            extent,
            network,
        }
    }

    /// The node's address, also that of the API server.
    pub fn node_address(&self) -> String {
        match self.extent {
            Extent::Whole => format!("10.77.{}.1", self.network),
            Extent::ControlPlane => "127.0.0.1".to_owned(),
        }
    }

    /// The API server's port. In a network of its own it is the one that pods expect.
    pub fn api_port(&self) -> u16 {
        self.port(443, 20_000)
    }

    /// The ports of etcd: for clients, and for the other members that it does not have.
    pub fn etcd_ports(&self) -> (u16, u16) {
        (self.port(2379, 21_000), self.port(2380, 22_000))
    }

    /// The ports of the controllers and of the scheduler.
    pub fn controller_ports(&self) -> (u16, u16) {
        (self.port(10257, 23_000), self.port(10259, 24_000))
    }

    fn port(&self, alone: u16, shared: u16) -> u16 {
        match self.extent {
            Extent::Whole => alone,
            Extent::ControlPlane => shared + u16::from(self.network),
        }
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
