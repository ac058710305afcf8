//! Our own binaries, static, as images and the demo want them.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::shell::{repository, step, visibly};

/// What we ship.
pub const NAMES: [&str; 2] = ["secure-exporter", "secure-exporter-operator"];

/// Builds them and returns the folder they are in.
///
/// # Errors
/// The build failed.
pub fn release() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    step("build static binaries", || {
        visibly(
            Command::new(env!("CARGO"))
                .current_dir(repository())
                // With an explicit --target this reaches our code, but no build script or procedural macro.
                .env("RUSTFLAGS", "-C target-feature=+crt-static")
                .args([
                    "build",
                    "--quiet",
                    "--locked",
                    "--profile",
                    "image",
                    "--target",
                    &target,
                ])
                .args(NAMES.iter().flat_map(|name| ["--package", name])),
        )
    })?;
    Ok(repository().join("target").join(target).join("image"))
}
