//! The exporter's Debian package. What is in it stands in `exporter/Cargo.toml` and `packaging/`.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::Result;

use super::binaries;
use crate::{
    servers::cache,
    shell::{find_program, output, repository, step, visibly},
};

/// The version of cargo-deb that makes the package.
const CARGO_DEB: &str = "3.8.0";

/// Builds the binary, makes the package of it, has lintian look at it where that is installed, and says where it is.
///
/// # Errors
/// A build failed, or lintian found a mistake.
pub fn run() -> Result<ExitCode> {
    binaries::release()?;
    let file = package()?;
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

/// Makes the package of the binary that [`binaries::release`] has built.
///
/// # Errors
/// cargo-deb could not be built, or it failed.
pub fn package() -> Result<PathBuf> {
    let program = cargo_deb()?;
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let file = repository().join("target/debian/secure-exporter.deb");
    step("make the Debian package", || {
        output(
            Command::new(program)
                .current_dir(repository())
                .args(["--manifest-path", "exporter/Cargo.toml", "--locked"])
                // It was built as the images have it, and stripped.
                .args(["--no-build", "--no-strip", "--profile", "release"])
                .args(["--target", &target, "--output"])
                .arg(&file),
        )
    })?;
    Ok(file)
}

/// Finds cargo-deb in the cache, and builds it where it is not there.
fn cargo_deb() -> Result<PathBuf> {
    let root = cache()?.join(format!("cargo-deb-{CARGO_DEB}"));
    let program = root.join("bin/cargo-deb");
    if program.is_file() {
        return Ok(program);
    }
    let label = format!("build cargo-deb {CARGO_DEB} (once; then cached)");
    step(&label, || {
        output(
            Command::new(env!("CARGO"))
                // Away from this repository, whose settings are not for other people's programs.
                .current_dir(cache()?)
                .args(["install", "cargo-deb", "--locked", "--version", CARGO_DEB])
                .arg("--root")
                .arg(&root),
        )
    })?;
    Ok(program)
}
