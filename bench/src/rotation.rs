//! Checks whether scrapes fail while credentials rotate. Several nodes receive their Secrets with different delays. A real
//! Prometheus scrapes every second and is never reloaded, and a second client on the same mount makes a new TLS handshake
//! for each request. The operator is killed and generated Secrets are deleted at random.
//!
//! Afterwards everything is replaced at once, without overlap. That must fail scrapes; otherwise the benchmark could not
//! detect a failure.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a measurement ends there"
)]

mod chaos;

use std::{fs, path::PathBuf, process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use chaos::{Chaos, Dice};
use testbed::{
    cluster::{Cluster, Layout, Shape},
    exporters::distrust,
    product::install::{self, NAMESPACE},
    progress::step,
    servers,
};

use crate::nodes::{
    self, Methods,
    count::{Clock, Count, Prometheus},
    fresh,
};

/// Number of replacements at once in this counter-check.
const NAIVE: u32 = 3;

#[derive(Args, Clone)]
pub struct Options {
    /// Number of rotations: of the certificate, the CA, the password, and of the last two together, in turn
    #[arg(long, default_value_t = 52)]
    pub rotations: u32,
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// Maximum delay, in seconds, until a changed Secret reaches a node; each node has its own delay
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(3..=60))]
    pub lag: u16,
    /// Seed of the random numbers; the same seed repeats the same run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The newest Prometheus, or the one from two years ago
    #[arg(long, value_enum, default_value_t = Age::Newest)]
    pub prometheus: Age,
    /// Scrapers show a client certificate in addition to the password, and it is rotated as well
    #[arg(long)]
    pub client_certificates: bool,
    /// Write the figures to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// The version of Prometheus that scrapes.
#[derive(ValueEnum, Clone, Copy)]
pub enum Age {
    /// The newest version.
    Newest,
    /// The version from two years ago.
    Old,
}

/// Runs the benchmark and prints its counts.
///
/// # Errors
/// A part could not be started, a rotation did not end, a scrape failed, or replacing everything at once failed no scrape.
pub fn run(options: &Options) -> Result<ExitCode> {
    let shape = Shape {
        nodes: options.nodes,
        lag: Some(options.lag),
        ..Shape::default()
    };
    let prometheus = match options.prometheus {
        Age::Newest => &servers::PROMETHEUS,
        Age::Old => &servers::PROMETHEUS_OLD,
    };
    let layout = Layout::named("rotation").shaped(shape);
    let cluster = install::cluster_with(layout, prometheus)?;
    let outcome = measure(&cluster, options);
    if outcome.is_err() {
        nodes::explain(&cluster);
    }
    step("cluster down", || cluster.down())?;
    let figures = outcome?;
    println!("\n{figures:#}");
    if let Some(file) = &options.json {
        fs::write(file, format!("{figures:#}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let number = |key: &str| figures[key].as_u64().unwrap_or(u64::MAX);
    ensure!(number("failed") == 0, "Prometheus' scrapes failed");
    ensure!(number("fresh_failed") == 0, "new connections failed");
    ensure!(
        number("naive_failed") > 0,
        "exchanging everything at once failed no scrape: this run could not have seen one that fails"
    );
    Ok(ExitCode::SUCCESS)
}

fn measure(cluster: &Cluster, options: &Options) -> Result<serde_json::Value> {
    install::operator(cluster, &install::SHORT_WAITS)?;
    let prometheus = nodes::start(cluster, options.lag, methods(options))?;
    let fresh = fresh::start(cluster)?;
    let clock = Clock::start();
    let mut chaos = Chaos::new(cluster, Dice::of(options.seed), options.lag);
    for index in 0..options.rotations {
        step(&chaos.announce(index, options.rotations), || {
            chaos.rotate(index)
        })?;
    }
    // The last published version is still on its way to the last node.
    thread::sleep(Duration::from_secs(options.lag.into()));
    let seconds = clock.seconds();
    let sound = prometheus.count(&clock)?;
    let fresh = fresh.stop()?;
    let naive = step("everything exchanged at once, for comparison", || {
        naive(cluster, &prometheus, options)
    })?;
    Ok(json!({
        "rotations": options.rotations,
        "nodes": options.nodes,
        "lag_seconds": options.lag,
        "seed": options.seed,
        "client_certificates": options.client_certificates,
        "seconds": seconds,
        "expected_scrapes": sound.expected,
        "scrapes": sound.scrapes,
        "failed": sound.failed(),
        "fresh_handshakes": fresh.handshakes,
        "fresh_failed": fresh.failed,
        "operator_kills": chaos.kills,
        "secret_deletions": chaos.deletions,
        "naive_failed": naive.failed(),
    }))
}

fn methods(options: &Options) -> Methods {
    if options.client_certificates {
        Methods::PasswordAndCertificate
    } else {
        Methods::Password
    }
}

/// Replaces the CA and all passwords at once, as a manual replacement would.
fn naive(cluster: &Cluster, prometheus: &Prometheus, options: &Options) -> Result<Count> {
    let clock = Clock::start();
    for index in 0..NAIVE {
        distrust(
            &cluster.kubectl(NAMESPACE),
            "nodes",
            &format!("all:{index}"),
        )?;
        thread::sleep(Duration::from_secs(u64::from(options.lag) * 2));
    }
    prometheus.count(&clock)
}
