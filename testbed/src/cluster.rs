//! A real Kubernetes cluster on one Linux machine: etcd, the control plane, and for every node containerd and a kubelet in
//! their own network, mount and process namespaces. Killing one process, the holder, ends all of them.

mod certificates;
mod cgroup;
mod control_plane;
mod disturbance;
mod extent;
mod holder;
mod layout;
mod network;
mod node;
mod preflight;
mod programs;
mod shape;

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

pub use extent::Extent;
pub use layout::{Layout, Node};
pub use programs::Program;
pub use shape::Shape;

use holder::Server;

use crate::{debian, kubectl::Kubectl, process::output, progress::step, servers, wait::wait_while};

/// A cluster on this machine, running or not.
pub struct Cluster {
    layout: Layout,
}

impl Cluster {
    /// Returns the cluster of this name in the shape in which it was started, whether it runs or not.
    pub fn named(name: &str) -> Self {
        let layout = Layout::named(name);
        let shape = Shape::read(&layout.shape_file()).unwrap_or_default();
        Self {
            layout: layout.shaped(shape),
        }
    }

    /// Starts a cluster and waits until its nodes are ready and the API's first namespace has its ServiceAccount.
    ///
    /// # Errors
    /// Something that it needs is missing or did not start; the error names it and its log. Or a cluster of this name runs
    /// in another shape.
    pub fn up(layout: Layout) -> Result<Self> {
        let running = Self::named(&layout.name);
        if running.is_up() {
            running.must_be(&layout)?;
            println!("✓ the cluster `{}` is up already", layout.name);
            return Ok(running);
        }
        preflight::check(layout.extent)?;
        debian::ensure()?;
        let commands = servers::kubernetes_commands(layout.shape.kubernetes)?;
        let pause = servers::ensure(&servers::PAUSE)?;
        let cluster = Self { layout };
        // Left behind by a run that was killed.
        cluster.down()?;
        if let Err(error) = cluster.start(&commands, &pause) {
            let logs = cluster.keep_logs();
            cluster.down()?;
            return Err(error.context(format!(
                "the cluster did not start; its logs: {}",
                logs.display()
            )));
        }
        Ok(cluster)
    }

    fn must_be(&self, wanted: &Layout) -> Result<()> {
        let name = &wanted.name;
        let (is, wanted) = (self.layout.shape, wanted.shape);
        if is != wanted {
            bail!(
                "the cluster `{name}` is up in another shape ({is}) than wanted ({wanted}): cargo xtask cluster down --name {name}"
            );
        }
        for node in self.nodes() {
            node.holder
                .living_pid()
                .with_context(|| format!("restart it: cargo xtask cluster down --name {name}"))?;
        }
        Ok(())
    }

    fn start(&self, commands: &Path, pause: &Path) -> Result<()> {
        let layout = &self.layout;
        let begin = Instant::now();
        fs::create_dir_all(&layout.run)?;
        layout.shape.write(&layout.shape_file())?;
        step("namespaces, network, cgroups, certificates", || {
            cgroup::create(layout)?;
            self.hold()?;
            network::connect(layout)?;
            certificates::write(layout)
        })?;
        let mut servers = step("etcd, kube-apiserver", || {
            let mut servers = vec![
                control_plane::start_etcd(layout, &[])?,
                control_plane::start_api_server(layout, commands)?,
            ];
            self.wait_for_api(&mut servers)?;
            servers.extend(control_plane::start_controllers(layout, commands)?);
            Ok(servers)
        })?;
        if layout.extent == Extent::Whole {
            step(
                "controllers, scheduler, containerd, kubelet; nodes ready",
                || {
                    for node in self.nodes() {
                        servers.extend(self.start_node(&node, commands, pause)?);
                    }
                    self.wait_for_nodes(&mut servers)
                },
            )?;
        }
        println!(
            "  the cluster `{}` was up in {:.1} s",
            layout.name,
            begin.elapsed().as_secs_f32()
        );
        Ok(())
    }

    fn hold(&self) -> Result<()> {
        let layout = &self.layout;
        let (hosts, holders) = (layout.hosts(), layout.holders());
        holders.iter().enumerate().try_for_each(|(at, holder)| {
            let outer = if at == 0 { None } else { holders.first() };
            holder.start(&hosts, outer)
        })
    }

    fn start_node(&self, node: &Node, commands: &Path, pause: &Path) -> Result<[Server; 2]> {
        let sync_frequency = self.layout.shape.sync_frequency()?;
        if self.layout.shape.lag.is_some() {
            println!(
                "  {}: a changed Secret reaches its pods within {:.1} s",
                node.name,
                shape::longest_wait(sync_frequency).as_secs_f32()
            );
        }
        let containerd = node::start_containerd(node)?;
        node::import_pause(node, pause)?;
        let kubelet = node::start_kubelet(&self.layout, node, commands, sync_frequency)?;
        Ok([containerd, kubelet])
    }

    /// Ends every process of the cluster and removes its files. Does nothing if there is none.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn down(&self) -> Result<()> {
        self.layout.holder().stop()?;
        network::disconnect(&self.layout);
        cgroup::remove(&self.layout)?;
        if self.layout.run.exists() {
            fs::remove_dir_all(&self.layout.run)
                .with_context(|| format!("cannot remove {}", self.layout.run.display()))?;
            // The folder of all clusters is removed with the last of them.
            if let Some(folder) = self.layout.run.parent() {
                let _ = fs::remove_dir(folder);
            }
        }
        Ok(())
    }

    /// Whether its holder runs.
    pub fn is_up(&self) -> bool {
        self.layout.holder().pid().is_some() && self.kubeconfig().is_file()
    }

    /// The administrator's kubeconfig, which also works from this machine's own network.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// The audit log of the API server.
    pub fn audit_log(&self) -> PathBuf {
        self.layout.audit_log()
    }

    /// The address of the first node, which is also that of the API server.
    pub fn node_address(&self) -> Ipv4Addr {
        self.layout.api_address()
    }

    /// Its nodes, in order.
    pub fn nodes(&self) -> Vec<Node> {
        self.layout.nodes()
    }

    /// Returns kubectl for one of its namespaces; an empty namespace is for objects without one.
    pub fn kubectl(&self, namespace: &str) -> Kubectl {
        Kubectl::new(self.layout.shape.kubernetes, &self.kubeconfig(), namespace)
    }

    /// The number of its nodes, their delay, and their version.
    pub fn shape(&self) -> Shape {
        self.layout.shape
    }

    /// Returns every process of it, by name, with its resident memory in KiB.
    ///
    /// # Errors
    /// It does not run.
    pub fn processes(&self) -> Result<Vec<(String, u64)>> {
        self.layout.holder().processes()
    }

    /// Imports an image archive on every node.
    ///
    /// # Errors
    /// A node's containerd refused it.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        self.nodes()
            .iter()
            .try_for_each(|node| node::import(node, archive))
    }

    fn wait_for_api(&self, servers: &mut [Server]) -> Result<()> {
        wait_while(
            "kube-apiserver ready",
            Duration::from_secs(60),
            || servers.iter_mut().try_for_each(Server::check),
            || self.kubectl("").raw("/readyz").map(Some),
        )?;
        Ok(())
    }

    fn wait_for_nodes(&self, servers: &mut [Server]) -> Result<()> {
        wait_while(
            "nodes ready",
            Duration::from_secs(90),
            || servers.iter_mut().try_for_each(Server::check),
            || {
                let kubectl = self.kubectl("");
                let ready = kubectl.run(&[
                    "get",
                    "nodes",
                    "-o",
                    "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}",
                ])?;
                kubectl.run(&["get", "serviceaccount", "default", "-n", "default"])?;
                let ready = ready.split(' ').filter(|status| *status == "True").count();
                Ok((ready == self.nodes().len()).then_some(()))
            },
        )
    }

    fn keep_logs(&self) -> PathBuf {
        let kept = std::env::temp_dir().join(format!("secure-exporter-{}-logs", self.layout.name));
        let _ = fs::remove_dir_all(&kept);
        let copied = output(
            Command::new("cp")
                .arg("-r")
                .arg(self.layout.logs())
                .arg(&kept),
        );
        if copied.is_ok() {
            kept
        } else {
            self.layout.logs()
        }
    }
}
