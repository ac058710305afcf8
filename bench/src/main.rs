//! Benchmarks and fault drills. Each prints a table, and writes its figures as JSON if asked to.
#![forbid(unsafe_code)]

mod exporter;
mod faults;
mod nodes;
mod rotation;
mod soak;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Benchmarks and fault drills.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Compare the exporter with the real node_exporter: CPU, latency, memory, a large host, and an unauthenticated client
    /// that tries passwords
    Exporter(exporter::Options),
    /// Fault drills, each during a rotation under a real Prometheus: what recovers, how soon, and what a person sees
    Faults(faults::Options),
    /// Rotate credentials under a real Prometheus that is never reloaded, while the operator is killed and Secrets are
    /// deleted
    Rotation(rotation::Options),
    /// Scrape the exporter for an hour with all kinds of clients; fails if its memory, descriptors or threads grow
    Soak(soak::Options),
}

fn main() -> ExitCode {
    let outcome = run(&Arguments::parse().bench);
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Exporter(options) => exporter::run(options),
        Bench::Faults(options) => faults::run(options),
        Bench::Rotation(options) => rotation::run(options),
        Bench::Soak(options) => soak::run(options),
    }
}
