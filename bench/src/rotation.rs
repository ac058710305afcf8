//! Does a scrape fail while credentials rotate? Several nodes whose Secrets arrive late, each by a time of its own; a real
//! Prometheus that scrapes every second and is never reloaded; and a second client on the same mount, which makes a new
//! TLS handshake each time. The operator is killed and generated Secrets are deleted at random.
//!
//! Afterwards everything is exchanged at once, as without overlap: that must fail scrapes, or this could not see them.
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

/// How many exchanges at once make the counter-proof.
const NAIVE: u32 = 3;

#[derive(Args, Clone)]
pub struct Options {
    /// How many rotations: of certificate, authority, password, and of the last two together, in turn
    #[arg(long, default_value_t = 52)]
    pub rotations: u32,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// A changed Secret arrives late by up to this many seconds, on each node by a time of its own
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(3..=60))]
    pub lag: u16,
    /// What chance decides is decided again in the same way
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The newest Prometheus, or that of two years ago
    #[arg(long, value_enum, default_value_t = Age::Newest)]
    pub prometheus: Age,
    /// Scrapers show a client certificate besides the password, and that rotates as well
    #[arg(long)]
    pub client_certificates: bool,
    /// Write the figures to a file
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// Which Prometheus scrapes.
#[derive(ValueEnum, Clone, Copy)]
pub enum Age {
    /// The newest.
    Newest,
    /// That of two years ago.
    Old,
}

/// Runs it and says what was counted.
///
/// # Errors
/// A part could not be started, a rotation does not end, a scrape failed, or exchanging everything at once failed none.
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
    // What was published last is still on its way to the last node.
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

/// All trust and every password end when the new ones begin: a swap as it is done by hand.
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
