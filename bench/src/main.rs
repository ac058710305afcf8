//! Claims that are measured: each prints a table, and writes its figures as JSON where asked to.
#![forbid(unsafe_code)]

mod exporter;
mod faults;
mod nodes;
mod rotation;
mod soak;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Claims, measured.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// The exporter beside the real node_exporter: CPU, latency, memory, a large host, and a stranger who tries passwords
    Exporter(exporter::Options),
    /// Fault drills, each during a rotation under a real Prometheus: what recovers, how soon, and what a person sees
    Faults(faults::Options),
    /// Rotations, interleaved, under a real Prometheus that is never told, with the operator killed and Secrets deleted
    Rotation(rotation::Options),
    /// The exporter scraped for an hour by all kinds of clients: fails when it comes to hold more memory, descriptors or threads
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
