//! All tests. Those that need real servers get them: a cluster with the chart installed, Prometheus, and where to find them.

use std::{
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::Result;
use clap::Args;

use crate::{
    bench::{exporter::large_host::LargeHost, rotation, soak},
    binaries,
    cluster::{Cluster, Layout, Shape},
    deb,
    install::{self, NAMESPACE},
    servers::{self, Kubernetes},
    shell::{repository, step, visibly},
};

#[derive(Args)]
pub struct Options {
    /// Leave out what needs root and real servers; says so at the end
    #[arg(long)]
    quick: bool,
    /// Handed to `cargo test`
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
        visibly(cargo_test().args(&options.arguments))?;
        println!(
            "\nSKIPPED by --quick: every test against real servers (system-tests). `cargo xtask test` runs them."
        );
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = install::cluster(Layout::named("test"))?;
    let outcome = with_servers(&cluster, options);
    step("cluster down", || cluster.down())?;
    outcome?;
    if options.arguments.is_empty() {
        rotation::run(&rotation::Options::quick())?;
        soak::run(&soak::Options::quick())?;
    }
    println!("all tests took {:.0} s", begin.elapsed().as_secs_f32());
    Ok(ExitCode::SUCCESS)
}

fn with_servers(cluster: &Cluster, options: &Options) -> Result<()> {
    // Tests use a namespace each, so the operator must watch them all.
    let values = [&["watchNamespaces={*}"][..], &install::SHORT_WAITS].concat();
    install::operator(cluster, &values)?;
    install::import_server(cluster, "vmagent", &servers::ensure(&servers::VMAGENT)?)?;
    // For tests that start and kill an operator of their own.
    let control_plane = Cluster::up(Layout::named("control-plane").shaped(Shape::CONTROL_PLANE))?;
    let definition = repository().join("crds").display().to_string();
    let outcome = control_plane
        .kubectl(&["apply", "--server-side", "-f", &definition])
        .and_then(|_| test(cluster, &control_plane, options));
    step("control plane down", || control_plane.down())?;
    outcome
}

fn test(cluster: &Cluster, control_plane: &Cluster, options: &Options) -> Result<()> {
    let binaries = binaries::folder();
    let large_host = LargeHost::generate()?;
    visibly(
        cargo_test()
            .args(["--features", "system-tests/servers"])
            .env("TEST_KUBECONFIG", cluster.kubeconfig())
            .env(
                "TEST_KUBECTL",
                servers::kubernetes_commands(Kubernetes::DEFAULT)?.join("kubectl"),
            )
            .env("TEST_PROMETHEUS", servers::ensure(&servers::PROMETHEUS)?)
            .env("TEST_PROMTOOL", servers::ensure(&servers::PROMTOOL)?)
            .env(
                "TEST_CERT_MANAGER",
                servers::ensure(&servers::CERT_MANAGER)?,
            )
            .env(
                "TEST_CERT_MANAGER_DEFINITIONS",
                servers::cert_manager_definitions()?,
            )
            .env(
                "TEST_NODE_EXPORTER",
                servers::ensure(&servers::NODE_EXPORTER)?,
            )
            .env(
                "TEST_NODE_EXPORTER_FIXTURES",
                servers::node_exporter_fixtures()?,
            )
            .env("TEST_PROCFS_FIXTURES", servers::procfs_fixtures()?)
            .env("TEST_LARGE_HOST", large_host.folder())
            .env("TEST_HELM", servers::ensure(&servers::HELM)?)
            .env("TEST_MONITORING", servers::monitoring_definitions()?)
            .env("TEST_NODE_ADDRESS", cluster.node_address().to_string())
            .env("TEST_OPERATOR_NAMESPACE", NAMESPACE)
            .env("TEST_EXPORTER", binaries.join("secure-exporter"))
            .env("TEST_OPERATOR", binaries.join("secure-exporter-operator"))
            .env("TEST_PACKAGE", deb::package()?)
            .env("TEST_CONTROL_PLANE", control_plane.kubeconfig())
            .args(&options.arguments),
    )
}

fn cargo_test() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(repository())
        .args(["test", "--workspace", "--locked"]);
    command
}
