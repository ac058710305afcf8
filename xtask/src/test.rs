//! Runs all tests. Those that need real servers get them: a cluster with the chart installed, a control plane without
//! nodes, and the programs that they run.

use std::{
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::Result;
use clap::Args;

use testbed::{
    cluster::{Cluster, Layout, Shape},
    paths::repository,
    process::visibly,
    product::{debian_package, install},
    progress::step,
    rights,
    servers::{self, Server},
    test_clusters,
};

use crate::bench::{self, QUICK_ROTATION, QUICK_SOAK};

/// What the tests run beside and in the clusters. They would build it themselves, but one after the other and without
/// output.
const SERVERS: [&Server; 5] = [
    &servers::PROMETHEUS,
    &servers::PROMTOOL,
    &servers::CERT_MANAGER,
    &servers::NODE_EXPORTER,
    &servers::HELM,
];

/// What runs in pods, in addition to what every cluster has.
const IN_PODS: [&Server; 3] = [
    &servers::VMAGENT,
    &servers::PROMETHEUS_OPERATOR,
    &servers::CONFIG_RELOADER,
];

#[derive(Args)]
pub struct Options {
    /// Leave out tests that need root and real servers; the output says so
    #[arg(long)]
    quick: bool,
    /// Leave the clusters running, so that single tests can be repeated with `cargo test --package system-tests --features
    /// servers MODULE::TEST`
    #[arg(long)]
    keep: bool,
    /// Arguments for `cargo test`: `-p system-tests parity::` runs the tests of one module
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the tests.
///
/// # Errors
/// A server could not be started, or a test failed.
pub fn run(options: &Options) -> Result<ExitCode> {
    let begin = Instant::now();
    if options.quick {
        visibly(&mut cargo_test(options, &[]))?;
        println!(
            "\nSKIPPED by --quick: every test against real servers (system-tests). `cargo xtask test` runs them."
        );
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = install::cluster(Layout::named(test_clusters::MAIN))?;
    let outcome = with_servers(&cluster, options);
    if !options.keep {
        step("cluster down", || cluster.down())?;
    }
    outcome?;
    if options.arguments.is_empty() {
        bench::measure(&QUICK_ROTATION)?;
        bench::measure(&QUICK_SOAK)?;
    }
    println!("all tests took {:.0} s", begin.elapsed().as_secs_f32());
    Ok(ExitCode::SUCCESS)
}

fn with_servers(cluster: &Cluster, options: &Options) -> Result<()> {
    // Each test uses its own namespace, so the operator must watch all of them.
    let values = [&["watchNamespaces={*}"][..], &install::SHORT_WAITS].concat();
    install::operator(cluster, &values)?;
    for server in IN_PODS {
        install::import_server(cluster, server.name, &servers::ensure(server)?)?;
    }
    for server in SERVERS {
        servers::ensure(server)?;
    }
    debian_package::make()?;
    let layout = Layout::named(test_clusters::CONTROL_PLANE).shaped(Shape::CONTROL_PLANE);
    let control_plane = Cluster::up(layout)?;
    let outcome = control_plane
        .kubectl("")
        .define(&repository().join("crds"))
        .and_then(|()| rights::copy(cluster, &control_plane))
        .and_then(|()| test(options))
        .and_then(|()| {
            // Only a run of all tests shows what is never used.
            if options.arguments.is_empty() {
                rights::compare(cluster, &control_plane)
            } else {
                Ok(())
            }
        });
    if !options.keep {
        step("control plane down", || control_plane.down())?;
    }
    outcome
}

fn test(options: &Options) -> Result<()> {
    visibly(&mut cargo_test(
        options,
        &["--features", "system-tests/servers"],
    ))
}

/// Everything, unless the arguments select packages.
fn cargo_test(options: &Options, features: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(repository())
        // Errors name what failed; for panics, `RUST_BACKTRACE` shows the calls.
        .env("RUST_LIB_BACKTRACE", "0")
        .args(["test", "--locked"])
        .args(features);
    let selects = |argument: &String| argument == "-p" || argument.starts_with("--package");
    if !options.arguments.iter().any(selects) {
        command.arg("--workspace");
    }
    command.args(&options.arguments);
    command
}
