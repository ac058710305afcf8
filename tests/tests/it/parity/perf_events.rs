//! The same events of processor and kernel. Each exporter counts from a moment of its own, so that names, kinds, labels and
//! order are compared, and what both count in the same time.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use testbed::{
    comparison::pair::{Both, Pair},
    process::output,
    slot::Slot,
};

const BEGINNING: &str = "node_perf_";
const FLAGS: [&str; 3] = [
    "--collector.disable-defaults",
    "--collector.perf",
    // The machines that tests run on have two CPUs at least.
    "--collector.perf.cpus=0-1",
];
const TRACEPOINT: &str = "/sys/kernel/tracing/events/sched/sched_process_exec/id";
const EXECUTED: &str = "node_perf_sched_sched_process_exec";
const SWITCHES: &str = "node_perf_context_switches_total";
/// Programs to be run between two scrapes.
const PROGRAMS: u32 = 200;

#[test]
fn events_of_processor_and_kernel() -> Result<()> {
    let slot = Slot::alone();
    let mut flags = FLAGS.to_vec();
    let counted = if Path::new(TRACEPOINT).exists() {
        flags.push("--collector.perf.tracepoint=sched:sched_process_exec");
        EXECUTED
    } else {
        SWITCHES
    };
    let pair = Pair::start(&slot, &flags)?;
    let first = pair.get("/metrics")?;
    let series = |body: &str| -> Vec<String> {
        let lines = body.lines().filter(|line| {
            let named = line.strip_prefix("# TYPE ").unwrap_or(line);
            named.starts_with(BEGINNING) || named.starts_with("node_scrape_collector_success")
        });
        lines.map(without_value).collect()
    };
    let [ours, theirs] = [&first.ours.1, &first.theirs.1].map(|body| series(body));
    // Five events of the kernel, each with its kind and two CPUs, which every machine has.
    ensure!(
        theirs.len() >= 15,
        "node_exporter shows only {theirs:#?}: this test needs root"
    );
    ensure!(
        ours == theirs,
        "ours {ours:#?}, node_exporter's {theirs:#?}"
    );

    for _ in 0..PROGRAMS {
        output(&mut Command::new("true"))?;
    }
    let second = pair.get("/metrics")?;
    let growth = Both {
        ours: total(&second.ours.1, counted)? - total(&first.ours.1, counted)?,
        theirs: total(&second.theirs.1, counted)? - total(&first.theirs.1, counted)?,
    };
    for growth in [growth.ours, growth.theirs] {
        ensure!(growth >= f64::from(PROGRAMS), "{counted} grew by {growth}");
    }
    // Ours is asked first, so that the times between the scrapes are alike but not the same.
    let ratio = growth.ours / growth.theirs;
    ensure!((0.8..1.25).contains(&ratio), "{counted} grew by {growth:?}");
    Ok(())
}

fn without_value(line: &str) -> String {
    if line.starts_with('#') || line.starts_with("node_scrape") {
        return line.to_owned();
    }
    line.split(' ').next().unwrap_or_default().to_owned()
}

/// Of all CPUs.
fn total(body: &str, family: &str) -> Result<f64> {
    let beginning = format!("{family}{{");
    let values = body.lines().filter(|line| line.starts_with(&beginning));
    let values = values.map(|line| {
        let value = line.rsplit(' ').next().context("a value")?;
        Ok(value.parse::<f64>()?)
    });
    values.sum()
}
