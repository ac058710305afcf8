//! `cargo xtask deb`: the exporter's Debian package.

use std::process::{Command, ExitCode};

use anyhow::Result;
use testbed::{
    paths::find_program,
    process::visibly,
    product::{binaries, debian_package},
};

/// Builds the binary and the package, runs lintian on it if it is installed, and prints the path.
///
/// # Errors
/// A build failed, or lintian reported an error.
pub fn run() -> Result<ExitCode> {
    binaries::release()?;
    let file = debian_package::make()?;
    match find_program("lintian") {
        Some(lintian) => visibly(
            Command::new(lintian)
                .arg("--fail-on=error,warning")
                .arg(&file),
        )?,
        None => println!("not checked by lintian, which is not installed"),
    }
    println!("{}", file.display());
    Ok(ExitCode::SUCCESS)
}
