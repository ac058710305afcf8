//! Generates every file that is derived from the Rust types.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use clap::Args;

use testbed::{paths::repository, process::output};

#[derive(Args)]
pub struct Options {
    /// Write nothing; fail if a file is stale
    #[arg(long)]
    check: bool,
}

/// Writes every generated file; with `--check`, reports the stale ones.
///
/// # Errors
/// A file could not be read or written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut stale = 0;
    for (path, text) in files()? {
        let path = repository().join(path);
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            continue;
        }
        if options.check {
            eprintln!("stale: {} (run cargo xtask generate)", path.display());
            stale += 1;
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(if stale == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn files() -> Result<Vec<(PathBuf, String)>> {
    // The operator prints it, so that this program needs none of the operator's dependencies.
    let crd = output(Command::new(env!("CARGO")).current_dir(repository()).args([
        "run",
        "--quiet",
        "--package",
        "secure-exporter-operator",
        "--",
        "crd",
    ]))?;
    let name = "secureexporters.secureexporter.dev.yaml";
    Ok(vec![
        (PathBuf::from("crds").join(name), crd.clone()),
        // Not in the chart's folder crds, of which Helm would install but never upgrade the content.
        (
            PathBuf::from("charts/secure-exporter/definitions").join(name),
            crd,
        ),
    ])
}
