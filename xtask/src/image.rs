//! `cargo xtask image`: one OCI image per binary.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use testbed::product::image;

#[derive(Args)]
pub struct Options {
    /// What comes behind the colon of the images' names
    #[arg(long, default_value = "dev")]
    tag: String,
    /// What the images' names begin with
    #[arg(long, default_value = "localhost")]
    repository: String,
    /// Where to put the archives
    #[arg(long, default_value = "target/images")]
    output: PathBuf,
}

/// Builds the binaries, writes an archive for each and says where they are.
///
/// # Errors
/// A build failed, or a file could not be written.
pub fn run(options: &Options) -> Result<ExitCode> {
    for archive in image::ours(&options.repository, &options.tag, &options.output)? {
        println!("{}", archive.display());
    }
    Ok(ExitCode::SUCCESS)
}
