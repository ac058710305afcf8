//! Everything that is run while developing: a real cluster, images, the demo, the tests, generated files.
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

/// Everything that is run while developing secure-exporter.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The whole product on a real cluster on this machine, shown as a person wants to see it
    Demo(demo::Options),
    /// The demo on each supported Kubernetes version
    Matrix,
    /// All tests, those against real servers included
    Test(test::Options),
    /// Claims, measured
    #[command(disable_help_flag = true)]
    Bench(bench::Options),
    /// A real Kubernetes on this machine, in namespaces of its own
    Cluster {
        #[command(subcommand)]
        action: cluster::Action,
    },
    /// One OCI image per binary, as archives for `ctr images import` and `docker load`
    Image(image::Options),
    /// The exporter's Debian package, with its units
    Deb,
    /// Everything that is generated from the Rust types: the CRD and the chart's copy of it
    Generate(generate::Options),
    /// Build (once) the servers that tests run against, and say where they are
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
