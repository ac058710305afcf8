//! Fault drills, one after the other, each during a rotation on three nodes under a real Prometheus: does the operator work
//! again soon after the fault, was anything lost or generated twice, what did a person see meanwhile, and did a scrape fail?
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a drill ends there"
)]

mod drill;
mod fault;
mod ledger;
mod operators;
mod rights;
mod scene;
mod sight;
mod witness;

use std::{fs, path::PathBuf, process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use drill::{LIMIT, Outcome, drill};
use fault::{Durations, Fault};
use scene::Scene;
use testbed::{
    cluster::{Cluster, Layout, Shape},
    product::install,
    progress::step,
};

use crate::nodes::{self, count::Clock};

/// A changed Secret arrives late by up to this many seconds.
const LAG: u16 = 3;

#[derive(Args, Clone)]
pub struct Options {
    /// Only the faults whose names contain this, for example `etcd` or `403`; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    #[command(flatten)]
    durations: Durations,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs all drills and says what came of each.
///
/// # Errors
/// A part could not be started, the operator was not at work again in time, something was lost or made twice, or a scrape
/// failed.
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
    let mut scene = Scene::set(cluster, LAG)?;
    let faults = chosen(fault::all(scene.rights()), &options.only);
    ensure!(
        !faults.is_empty(),
        "no fault has such a name; without --only, all are drilled"
    );
    if faults.iter().any(|it| matches!(it, Fault::WrongClock(_))) {
        scene.operators.prepare_clock()?;
    }
    let clock = Clock::start();
    let mut outcomes: Vec<Result<Outcome>> = Vec::new();
    for fault in &faults {
        println!();
        let outcome = drill(&mut scene, fault, &options.durations);
        match &outcome {
            Ok(outcome) => outcome.print(),
            Err(error) => println!("✗ {fault}\n    WRONG: {error:#}"),
        }
        if !outcome.as_ref().is_ok_and(Outcome::is_good) {
            // The next one is to find an operator that does its work.
            scene.operators.new_pod()?;
        }
        outcomes.push(outcome);
    }
    // What was published last is still on its way to the last node.
    thread::sleep(Duration::from_secs(LAG.into()));
    let count = scene.prometheus.count(&clock)?;
    let fresh = scene.fresh.stop()?;
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

/// To a tenth of a second.
fn slowest(outcomes: &[Result<Outcome>]) -> Option<f64> {
    let recoveries = outcomes.iter().flatten().filter_map(|it| it.recovery);
    let slowest = recoveries.max_by(f64::total_cmp)?;
    Some((slowest * 10.0).round() / 10.0)
}
