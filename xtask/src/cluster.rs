//! `cargo xtask cluster`: a cluster alone.

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
    /// Start it; nothing happens where it is up already
    Up {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        shape: ShapeOptions,
    },
    /// Stop it and leave nothing behind
    Down(Name),
    /// What runs, and what it takes
    Status(Name),
    /// kubectl, against this cluster
    Kubectl {
        #[command(flatten)]
        name: Name,
        /// What to hand to kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Args)]
pub struct Name {
    /// Several clusters may run beside each other by different names
    #[arg(long, default_value = DEFAULT_NAME, value_parser = cluster_name)]
    name: String,
}

/// What may differ between two clusters but their names.
#[derive(Args)]
pub struct ShapeOptions {
    /// How many nodes; each further one takes about 150 MiB and some seconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// A changed Secret reaches pods late, on each node by a random time of its own, of at most this many seconds
    /// [without it: 3]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(3..=600))]
    lag: Option<u16>,
    /// The Kubernetes version
    #[arg(long, value_enum, value_name = "VERSION", default_value_t = Kubernetes::DEFAULT)]
    kubernetes: Kubernetes,
}

fn cluster_name(text: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err("a name is made of a-z, 0-9 and -");
    }
    Ok(text.to_owned())
}

/// Carries out `cargo xtask cluster …`.
///
/// # Errors
/// As each action says.
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
