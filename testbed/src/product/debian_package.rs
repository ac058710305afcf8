//! The exporter's Debian package. What is in it stands in `exporter/Cargo.toml` and `packaging/`.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    paths::{self, cache, repository},
    process::output,
    progress::step,
};

/// The version of cargo-deb that makes the package.
const CARGO_DEB: &str = "3.8.0";

/// The package, made before.
///
/// # Errors
/// It was not made: the test was not started by `cargo xtask test`.
pub fn made() -> Result<PathBuf> {
    let file = file();
    ensure!(
        file.is_file(),
        "there is no {}: run this test by `cargo xtask test`, which makes it",
        file.display()
    );
    Ok(file)
}

/// Makes the package of the binary that [`release`](super::binaries::release) has built.
///
/// # Errors
/// cargo-deb could not be built, or it failed.
pub fn make() -> Result<PathBuf> {
    let program = cargo_deb()?;
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let file = file();
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

fn file() -> PathBuf {
    paths::target().join("debian/secure-exporter.deb")
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
