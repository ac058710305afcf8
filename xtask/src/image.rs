//! `cargo xtask image`: builds one OCI image per binary.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use testbed::product::image;

#[derive(Args)]
pub struct Options {
    /// Tag of the images
    #[arg(long, default_value = "dev")]
    tag: String,
    /// Prefix of the images' names
    #[arg(long, default_value = "localhost")]
    repository: String,
    /// Directory for the archives
    #[arg(long, default_value = "target/images")]
    output: PathBuf,
}

/// Builds the binaries, writes an archive for each and prints their paths.
///
/// # Errors
/// A build failed, or a file could not be written.
pub fn run(options: &Options) -> Result<ExitCode> {
    for archive in image::ours(&options.repository, &options.tag, &options.output)? {
        println!("{}", archive.display());
    }
    Ok(ExitCode::SUCCESS)
}
