//! The benchmarks are a program of their own: they need a TLS stack, which nothing else here is to wait for.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;
use testbed::{paths::repository, process::visibly};

/// Every kind of rotation twice.
pub const QUICK_ROTATION: [&str; 3] = ["rotation", "--rotations", "8"];
/// Half a minute that has every kind of scrape in it.
pub const QUICK_SOAK: [&str; 5] = ["soak", "--seconds", "40", "--rate", "50"];

#[derive(Args)]
pub struct Options {
    /// Which one, and its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and runs a benchmark.
///
/// # Errors
/// It could not be built, or it failed.
pub fn run(options: &Options) -> Result<ExitCode> {
    let arguments: Vec<&str> = options.arguments.iter().map(String::as_str).collect();
    measure(&arguments)?;
    Ok(ExitCode::SUCCESS)
}

/// As [`run`], by arguments of the program.
///
/// # Errors
/// As there.
pub fn measure(arguments: &[&str]) -> Result<()> {
    visibly(
        Command::new(env!("CARGO"))
            .current_dir(repository())
            .args(["run", "--quiet", "--package", "secure-exporter-bench", "--"])
            .args(arguments),
    )
}
