//! The files and addresses of a cluster.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use super::{extent::Extent, holder::Holder, shape::Shape};

/// Paths and addresses of one cluster; clusters with different names share none.
pub struct Layout {
    /// Its name on the command line.
    pub name: String,
    /// Its files, in memory, because etcd is fast there and nothing survives a reboot.
    pub run: PathBuf,
    /// What this user may run.
    pub extent: Extent,
    /// The number of nodes, and the delay until a changed Secret reaches their pods.
    pub shape: Shape,
    /// The third byte of its networks.
    network: u8,
}

/// One node of a cluster: an address, a network for its pods, and namespaces in which its containerd and kubelet run.
pub struct Node {
    /// Counted from 1. The first node shares its namespaces with the control plane.
    pub index: u8,
    /// Its name in Kubernetes.
    pub name: String,
    /// Its address: that of its kubelet and of its pods with `hostNetwork`.
    pub address: Ipv4Addr,
    /// The addresses of its other pods.
    pub pod_network: String,
    /// The files of its containerd and kubelet.
    pub run: PathBuf,
    /// The cgroup below which its containers run.
    pub cgroup: String,
    /// Keeps its namespaces.
    pub holder: Holder,
}

impl Layout {
    /// Returns the layout of the cluster of this name, with one node.
    pub fn named(name: &str) -> Self {
        // Stable and spread: 10.77.x for nodes. If two names collide, the second cluster refuses to start.
        let network = name
            .bytes()
            .fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
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
            shape: Shape::default(),
            network,
        }
    }

    /// The same cluster in another shape.
    pub fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// The nodes in order; none if this user may not run any.
    pub fn nodes(&self) -> Vec<Node> {
        match self.extent {
            Extent::Whole => (1..=self.shape.nodes)
                .map(|index| self.node(index))
                .collect(),
            Extent::ControlPlane => Vec::new(),
        }
    }

    /// The node of an index from 1.
    pub fn node(&self, index: u8) -> Node {
        let name = format!("node{index}");
        let run = self.run.join(&name);
        Node {
            address: self.address(index),
            pod_network: format!("10.{}.{}.0/24", 77_u8.saturating_add(index), self.network),
            cgroup: format!("{}{name}", self.cgroup_prefix()),
            holder: match index {
                1 => self.holder(),
                _ => self.holder_at(
                    format!("{name} of the cluster `{}`", self.name),
                    run.clone(),
                ),
            },
            index,
            name,
            run,
        }
    }

    /// All holders, starting with that of the control plane.
    pub fn holders(&self) -> Vec<Holder> {
        let further = self.nodes().into_iter().skip(1).map(|node| node.holder);
        [self.holder()].into_iter().chain(further).collect()
    }

    /// Holds the namespaces of the control plane, which are also those of the first node; the holder of every other node is
    /// a process within them.
    pub fn holder(&self) -> Holder {
        self.holder_at(format!("the cluster `{}`", self.name), self.run.clone())
    }

    fn holder_at(&self, of: String, folder: PathBuf) -> Holder {
        Holder {
            of,
            folder,
            logs: self.logs(),
            extent: self.extent,
        }
    }

    /// The address of the API server.
    pub fn api_address(&self) -> Ipv4Addr {
        match self.extent {
            Extent::Whole => self.address(1),
            Extent::ControlPlane => Ipv4Addr::LOCALHOST,
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
    pub fn outside_address(&self) -> Ipv4Addr {
        self.address(254)
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.network, host)
    }

    /// The name of this machine's end of the cable.
    pub fn outside_interface(&self) -> String {
        format!("sx-{}", self.network)
    }

    /// The first address of the service network: the API server, seen from pods.
    pub fn service_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96, 0, 1)
    }

    /// The common prefix of the names of all cgroups of this cluster, and of no other cluster.
    pub fn cgroup_prefix(&self) -> String {
        format!("secure-exporter-{}.", self.name)
    }

    /// The host names that processes of the cluster can resolve.
    pub fn hosts(&self) -> String {
        let nodes = self.nodes().into_iter();
        nodes.fold("127.0.0.1 localhost\n".to_owned(), |hosts, node| {
            format!("{hosts}{} {}\n", node.address, node.name)
        })
    }

    /// The file with its shape while it runs.
    pub fn shape_file(&self) -> PathBuf {
        self.run.join("shape")
    }

    /// The folder of logs, one file per program.
    pub fn logs(&self) -> PathBuf {
        self.run.join("log")
    }

    /// The audit log of the API server.
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    /// A key (`NAME.key`) or certificate (`NAME.crt`).
    pub fn pki(&self, file: &str) -> PathBuf {
        self.run.join("pki").join(file)
    }

    /// The kubeconfig of a user.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.run.join(format!("{user}.kubeconfig"))
    }
}

impl Node {
    /// containerd's socket.
    pub fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd/containerd.sock")
    }

    /// The name of the files of its kubelet as a client of the API.
    pub fn kubelet_user(&self) -> String {
        format!("kubelet-{}", self.name)
    }

    /// The name of the files of its kubelet as a server.
    pub fn kubelet_server(&self) -> String {
        format!("kubelet-server-{}", self.name)
    }
}
