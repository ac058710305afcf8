//! `cargo xtask cluster`: starts and stops a cluster by itself.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use testbed::{
    cluster::{Cluster, Layout, Shape},
    progress::step,
    servers::Kubernetes,
};

const DEFAULT_NAME: &str = "dev";

#[derive(Subcommand)]
pub enum Action {
    /// Start the cluster; does nothing if it is already running
    Up {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        shape: ShapeOptions,
    },
    /// Stop the cluster and remove everything that belongs to it
    Down(Name),
    /// Show the running processes and their memory
    Status(Name),
    /// Run kubectl against this cluster
    Kubectl {
        #[command(flatten)]
        name: Name,
        /// Arguments for kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Args)]
pub struct Name {
    /// Name of the cluster; clusters with different names can run at the same time
    #[arg(long, default_value = DEFAULT_NAME, value_parser = cluster_name)]
    name: String,
}

/// What may differ between two clusters, apart from their names.
#[derive(Args)]
pub struct ShapeOptions {
    /// Number of nodes; each additional node takes about 150 MiB and several seconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Maximum delay, in seconds, until a changed Secret reaches pods; random for each node [default: 3]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(3..=600))]
    lag: Option<u16>,
    /// Version of Kubernetes
    #[arg(long, value_enum, value_name = "VERSION", default_value_t = Kubernetes::DEFAULT)]
    kubernetes: Kubernetes,
}

fn cluster_name(text: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err("a name may contain only a-z, 0-9 and -");
    }
    Ok(text.to_owned())
}

/// Runs `cargo xtask cluster …`.
///
/// # Errors
/// See the individual actions.
pub fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Up { name, shape } => {
            let shape = Shape {
                nodes: shape.nodes,
                lag: shape.lag,
                kubernetes: shape.kubernetes,
            };
            let cluster = Cluster::up(Layout::named(&name.name).shaped(shape))?;
            let name = match name.name.as_str() {
                DEFAULT_NAME => String::new(),
                name => format!(" --name {name}"),
            };
            println!("\nkubectl:     cargo xtask cluster kubectl{name} -- get nodes");
            println!(
                "or:          export KUBECONFIG={}",
                cluster.kubeconfig().display()
            );
            println!("take down:   cargo xtask cluster down{name}");
        }
        Action::Down(name) => step("cluster down", || Cluster::named(&name.name).down())?,
        Action::Status(name) => status(&name.name)?,
        Action::Kubectl { name, arguments } => {
            let cluster = Cluster::named(&name.name);
            if !cluster.is_up() {
                bail!("no cluster of this name is up: cargo xtask cluster up");
            }
            let status = cluster.kubectl("").command()?.args(arguments).status()?;
            return Ok(if status.success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status(name: &str) -> Result<()> {
    let cluster = Cluster::named(name);
    if !cluster.is_up() {
        println!("the cluster `{name}` is not up");
        return Ok(());
    }
    println!("{}", cluster.shape());
    let mut total = 0;
    for (name, kibibytes) in cluster.processes()? {
        println!("  {name:<28} {:>6} MiB", kibibytes / 1024);
        total += kibibytes;
    }
    println!("  {:<28} {:>6} MiB", "all", total / 1024);
    let everything = ["get", "nodes,pods", "-A", "-o", "wide"];
    println!("{}", cluster.kubectl("").run(&everything)?);
    Ok(())
}
