//! Fault drills, one after the other, each during a rotation on three nodes that a real Prometheus scrapes: does the operator
//! work again soon after the fault, was anything lost or generated twice, what could a user see meanwhile, did a scrape fail?
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a drill ends there"
)]

mod consistency;
mod drill;
mod environment;
mod fault;
mod operators;
mod rights;
mod snapshot;
mod symptoms;

use std::{fs, path::PathBuf, process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use drill::{LIMIT, Outcome, drill};
use environment::Environment;
use fault::{Durations, Fault};
use testbed::{
    cluster::{Cluster, Layout, Shape},
    product::install,
    progress::step,
};

use crate::nodes::{self, count::Clock};

/// The maximum delay, in seconds, until a changed Secret reaches a pod.
const LAG: u16 = 3;

#[derive(Args, Clone)]
pub struct Options {
    /// Run only the faults whose names contain this, for example `etcd` or `403`; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    #[command(flatten)]
    durations: Durations,
    /// Write the results to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the drills and prints the outcome of each.
///
/// # Errors
/// A program could not be started, the operator did not work again in time, something was lost or generated twice, or a
/// scrape failed.
pub fn run(options: &Options) -> Result<ExitCode> {
    let shape = Shape {
        nodes: options.nodes,
        lag: Some(LAG),
        ..Shape::default()
    };
    let cluster = install::cluster(Layout::named("faults").shaped(shape))?;
    let outcome = drills(options);
    if outcome.is_err() {
        nodes::explain(&cluster);
    }
    step("cluster down", || cluster.down())?;
    let figures = outcome?;
    let summary = |key: &str| figures[key].to_string();
    println!(
        "\n{} of {} drills recovered, the slowest after {} s; failed scrapes: {}",
        summary("recovered"),
        summary("drills"),
        summary("slowest_recovery_seconds"),
        summary("failed_scrapes"),
    );
    if let Some(file) = &options.json {
        fs::write(file, format!("{figures:#}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    ensure!(
        figures["recovered"] == figures["drills"],
        "in at least one drill the operator did not work again within {} s, or something was lost or generated twice",
        LIMIT.as_secs()
    );
    ensure!(figures["failed_scrapes"] == 0, "scrapes failed");
    Ok(ExitCode::SUCCESS)
}

fn drills(options: &Options) -> Result<Value> {
    let cluster = Cluster::named("faults");
    install::operator(&cluster, &install::SHORT_WAITS)?;
    let mut environment = Environment::start(cluster, LAG)?;
    let faults = chosen(fault::all(environment.rights()), &options.only);
    ensure!(
        !faults.is_empty(),
        "--only matches no fault; without it, all are drilled"
    );
    if faults.iter().any(|it| matches!(it, Fault::WrongClock(_))) {
        environment.operators.prepare_clock()?;
    }
    let clock = Clock::start();
    let mut outcomes: Vec<Result<Outcome>> = Vec::new();
    for fault in &faults {
        println!();
        let outcome = drill(&mut environment, fault, &options.durations);
        match &outcome {
            Ok(outcome) => outcome.print(),
            Err(error) => println!("✗ {fault}\n    WRONG: {error:#}"),
        }
        if !outcome.as_ref().is_ok_and(Outcome::is_good) {
            // The next drill must start with an operator that works.
            environment.operators.replace_pod()?;
        }
        outcomes.push(outcome);
    }
    // Wait until what was published last has reached every node.
    thread::sleep(Duration::from_secs(LAG.into()));
    let count = environment.prometheus.count(&clock)?;
    let fresh = environment.fresh.stop()?;
    Ok(json!({
        "drills": outcomes.len(),
        "recovered": outcomes.iter().flatten().filter(|it| it.is_good()).count(),
        "slowest_recovery_seconds": slowest(&outcomes),
        "failed_scrapes": count.failed() + fresh.failed,
        "scrapes": count.scrapes,
        "fresh_handshakes": fresh.handshakes,
        "fresh_failed": fresh.failed,
        "nodes": options.nodes,
        "seconds": clock.seconds(),
        "each": outcomes.iter().flatten().map(Outcome::to_json).collect::<Vec<_>>(),
    }))
}

fn chosen(faults: Vec<Fault>, only: &[String]) -> Vec<Fault> {
    let wanted = |fault: &Fault| {
        let name = fault.to_string().to_lowercase();
        only.is_empty() || only.iter().any(|text| name.contains(&text.to_lowercase()))
    };
    faults.into_iter().filter(wanted).collect()
}

/// Returns the slowest recovery, rounded to a tenth of a second.
fn slowest(outcomes: &[Result<Outcome>]) -> Option<f64> {
    let recoveries = outcomes.iter().flatten().filter_map(|it| it.recovery);
    let slowest = recoveries.max_by(f64::total_cmp)?;
    Some((slowest * 10.0).round() / 10.0)
}
