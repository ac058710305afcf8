//! A real Kubernetes on one Linux machine: etcd, the control plane, containerd and a kubelet, in network, mount and
//! process namespaces of their own. Killing one process, the holder, ends all of it.

mod certificates;
mod cgroup;
mod control_plane;
mod holder;
mod layout;
mod node;
mod preflight;

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

pub use layout::{Extent, Layout};

use holder::Server;

use crate::{
    debian, servers,
    shell::{output, step, wait_while},
};

#[derive(Subcommand)]
pub enum Action {
    /// Start it; nothing happens where it is up already
    Up {
        /// Several clusters may run beside each other by different names
        #[arg(long, default_value = "dev")]
        name: String,
    },
    /// Stop it and leave nothing behind
    Down {
        /// The name it was started by
        #[arg(long, default_value = "dev")]
        name: String,
    },
    /// What runs, and what it takes
    Status {
        /// The name it was started by
        #[arg(long, default_value = "dev")]
        name: String,
    },
    /// kubectl, against this cluster
    Kubectl {
        /// The name it was started by
        #[arg(long, default_value = "dev")]
        name: String,
        /// What to hand to kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Carries out `cargo xtask cluster …`.
///
/// # Errors
/// As each action says.
pub fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Up { name } => {
            let cluster = Cluster::up(Layout::named(&name))?;
            println!("\nkubectl:     cargo xtask cluster kubectl -- get nodes");
            println!(
                "or:          export KUBECONFIG={}",
                cluster.kubeconfig().display()
            );
            println!("take down:   cargo xtask cluster down");
        }
        Action::Down { name } => step("cluster down", || Cluster::at(Layout::named(&name)).down())?,
        Action::Status { name } => Cluster::at(Layout::named(&name)).status()?,
        Action::Kubectl { name, arguments } => {
            let cluster = Cluster::at(Layout::named(&name));
            if !cluster.is_up() {
                bail!("no cluster of this name is up: cargo xtask cluster up");
            }
            let status = cluster.kubectl_command()?.args(arguments).status()?;
            return Ok(if status.success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A cluster of this machine, up or not.
pub struct Cluster {
    layout: Layout,
}

impl Cluster {
    /// The cluster at a place, whether it runs or not.
    pub fn at(layout: Layout) -> Self {
        Self { layout }
    }

    /// Starts a cluster and waits until its node is ready and the API's first namespace has its ServiceAccount.
    ///
    /// # Errors
    /// Something that it needs is missing or did not start: names it, and the log that tells more.
    pub fn up(layout: Layout) -> Result<Self> {
        let cluster = Self { layout };
        if cluster.is_up() {
            println!("✓ the cluster `{}` is up already", cluster.layout.name);
            return Ok(cluster);
        }
        preflight::check(cluster.layout.extent)?;
        debian::ensure()?;
        let commands = servers::kubernetes_commands()?;
        let pause = servers::ensure(&servers::PAUSE)?;
        // What a killed run left behind.
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

    fn start(&self, commands: &std::path::Path, pause: &std::path::Path) -> Result<()> {
        let layout = &self.layout;
        let begin = Instant::now();
        fs::create_dir_all(&layout.run)?;
        step("namespaces, network, cgroups, certificates", || {
            cgroup::create(layout)?;
            holder::start(layout)?;
            certificates::write(layout)
        })?;
        let mut servers = step("etcd, kube-apiserver", || {
            let mut servers = Vec::from(control_plane::start_api(layout, commands)?);
            self.wait_for_api(&mut servers)?;
            servers.extend(control_plane::start_controllers(layout, commands)?);
            Ok(servers)
        })?;
        if layout.extent == Extent::Whole {
            step(
                "controllers, scheduler, containerd, kubelet; node ready",
                || {
                    servers.push(node::start_containerd(layout)?);
                    node::import_pause(layout, pause)?;
                    servers.push(node::start_kubelet(layout, commands)?);
                    self.wait_for_node(&mut servers)
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

    /// Ends every process of the cluster and removes what it had. Nothing happens where there is none.
    ///
    /// # Errors
    /// Something would not go away.
    pub fn down(&self) -> Result<()> {
        holder::stop(&self.layout)?;
        cgroup::remove(&self.layout)?;
        if self.layout.run.exists() {
            fs::remove_dir_all(&self.layout.run)
                .with_context(|| format!("cannot remove {}", self.layout.run.display()))?;
            // The folder of all clusters goes with the last of them.
            if let Some(folder) = self.layout.run.parent() {
                let _ = fs::remove_dir(folder);
            }
        }
        Ok(())
    }

    /// Whether its holder lives.
    pub fn is_up(&self) -> bool {
        holder::pid(&self.layout).is_some() && self.kubeconfig().is_file()
    }

    /// The administrator's kubeconfig; good from this machine's own network too.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// The node's address.
    pub fn node_address(&self) -> String {
        self.layout.node_address()
    }

    /// kubectl with this cluster's kubeconfig, to be given its arguments.
    ///
    /// # Errors
    /// kubectl is neither there nor can be built.
    pub fn kubectl_command(&self) -> Result<Command> {
        let mut command = Command::new(servers::kubernetes_commands()?.join("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig());
        Ok(command)
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// It failed: holds what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        output(self.kubectl_command()?.args(arguments))
    }

    /// Makes an image archive known to the node.
    ///
    /// # Errors
    /// containerd refused it.
    pub fn import_image(&self, archive: &std::path::Path) -> Result<()> {
        node::import(&self.layout, archive)
    }

    fn wait_for_api(&self, servers: &mut [Server]) -> Result<()> {
        wait_while(
            "kube-apiserver ready",
            Duration::from_secs(60),
            || servers.iter_mut().try_for_each(Server::check),
            || self.kubectl(&["get", "--raw", "/readyz"]).map(Some),
        )?;
        Ok(())
    }

    fn wait_for_node(&self, servers: &mut [Server]) -> Result<()> {
        wait_while(
            "node ready",
            Duration::from_secs(90),
            || servers.iter_mut().try_for_each(Server::check),
            || {
                let ready = self.kubectl(&[
                    "get",
                    "nodes",
                    "-o",
                    "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}",
                ])?;
                self.kubectl(&["get", "serviceaccount", "default", "-n", "default"])?;
                Ok((ready == "True").then_some(()))
            },
        )
    }

    fn status(&self) -> Result<()> {
        if !self.is_up() {
            println!("the cluster `{}` is not up", self.layout.name);
            return Ok(());
        }
        for (name, kibibytes) in holder::processes(&self.layout)? {
            println!("  {name:<28} {:>6} MiB", kibibytes / 1024);
        }
        println!(
            "{}",
            self.kubectl(&["get", "nodes,pods", "-A", "-o", "wide"])?
        );
        Ok(())
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
