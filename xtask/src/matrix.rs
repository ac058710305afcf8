//! The demo on each Kubernetes version, from the newest to the oldest that the chart accepts. Every version is built once,
//! which takes minutes, so this runs on demand only.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use testbed::servers::Kubernetes;

use crate::demo;

/// Runs the demo on one version after another, then prints one line for each.
///
/// # Errors
/// The demo failed on at least one version. The versions after it were run nevertheless.
pub fn run() -> Result<ExitCode> {
    let versions = Kubernetes::value_variants();
    let outcomes: Vec<Result<Duration>> = versions.iter().copied().map(demo_on).collect();
    println!();
    for (version, outcome) in versions.iter().zip(&outcomes) {
        let version = version.version();
        match outcome {
            Ok(time) => println!("✓ Kubernetes {version}: passed in {} s", time.as_secs()),
            Err(error) => {
                let text = format!("{error:#}");
                let first = text.lines().next().unwrap_or_default();
                println!("✗ Kubernetes {version}: {first}");
            }
        }
    }
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    ensure!(
        failed == 0,
        "the demo failed on {failed} of {} Kubernetes versions",
        versions.len()
    );
    Ok(ExitCode::SUCCESS)
}

fn demo_on(kubernetes: Kubernetes) -> Result<Duration> {
    println!("\n══ Kubernetes {}", kubernetes.version());
    let begin = Instant::now();
    let options = demo::Options {
        keep: false,
        kubernetes,
    };
    demo::run(&options).inspect_err(|error| eprintln!("error: {error:#}"))?;
    Ok(begin.elapsed())
}
