//! Development tasks: a real cluster, images, the demo, the tests, generated files.
#![forbid(unsafe_code)]

mod bench;
mod cluster;
mod deb;
mod demo;
mod generate;
mod image;
mod matrix;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use testbed::servers;

/// Development tasks of secure-exporter.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the whole product on a real cluster on this machine
    Demo(demo::Options),
    /// Run the demo on each supported Kubernetes version
    Matrix,
    /// Run all tests, including those against real servers
    Test(test::Options),
    /// Run the benchmarks and fault drills
    #[command(disable_help_flag = true)]
    Bench(bench::Options),
    /// Manage a real Kubernetes cluster on this machine, in its own namespaces
    Cluster {
        #[command(subcommand)]
        action: cluster::Action,
    },
    /// Build one OCI image per binary, as archives for `ctr images import` and `docker load`
    Image(image::Options),
    /// Build the exporter's Debian package, with its systemd units
    Deb,
    /// Generate everything that is derived from the Rust types: the CRD and the chart's copy of it
    Generate(generate::Options),
    /// Build the servers for the tests once, and print their paths
    Servers,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Matrix => matrix::run(),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Cluster { action } => cluster::run(action),
        Task::Image(options) => image::run(&options),
        Task::Deb => deb::run(),
        Task::Generate(options) => generate::run(&options),
        Task::Servers => servers::build_all(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
