//! Runs the benchmarks, which are a separate program because they need a TLS stack that nothing else here should have to
//! build.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;
use testbed::{paths::repository, process::visibly};

/// Twice every kind of rotation.
pub const QUICK_ROTATION: [&str; 3] = ["rotation", "--rotations", "8"];
/// Half a minute with every kind of scrape.
pub const QUICK_SOAK: [&str; 5] = ["soak", "--seconds", "40", "--rate", "50"];

#[derive(Args)]
pub struct Options {
    /// The benchmark and its options
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

/// Like [`run`], with the arguments of the program.
///
/// # Errors
/// See [`run`].
pub fn measure(arguments: &[&str]) -> Result<()> {
    visibly(
        Command::new(env!("CARGO"))
            .current_dir(repository())
            .args(["run", "--quiet", "--package", "secure-exporter-bench", "--"])
            .args(arguments),
    )
}
