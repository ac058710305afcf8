//! Our own binaries, static, as images and the demo want them.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    paths::{self, repository},
    process::{output, visibly},
    progress::step,
};

/// What we ship.
pub const NAMES: [&str; 2] = [EXPORTER, OPERATOR];
/// The exporter.
pub const EXPORTER: &str = "secure-exporter";
/// The operator.
pub const OPERATOR: &str = "secure-exporter-operator";

/// One of them, built before.
///
/// # Errors
/// It was not built: the test was not started by `cargo xtask test`.
pub fn built(name: &str) -> Result<PathBuf> {
    let file = folder().join(name);
    ensure!(
        file.is_file(),
        "there is no {}: run this test by `cargo xtask test`, which builds it",
        file.display()
    );
    Ok(file)
}

fn folder() -> PathBuf {
    paths::target().join(target()).join("release")
}

/// Builds them and returns the folder they are in.
///
/// # Errors
/// A build failed.
pub fn release() -> Result<PathBuf> {
    step("build static binaries", || {
        NAMES.into_iter().try_for_each(build)
    })?;
    Ok(folder())
}

/// Builds the exporter alone and returns its file.
///
/// # Errors
/// The build failed.
pub fn exporter() -> Result<PathBuf> {
    step("build the static exporter", || build(EXPORTER))?;
    Ok(folder().join(EXPORTER))
}

/// One at a time: together, each would be built with what only the other asks of a library.
fn build(name: &str) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    if name == OPERATOR {
        // There is one in a cluster, so it need not be as small and fast as can be, and is sooner built.
        cargo
            .env("CARGO_PROFILE_RELEASE_LTO", "false")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    }
    visibly(
        cargo
            .current_dir(repository())
            // With an explicit --target this reaches our code, but no build script or procedural macro.
            .env("RUSTFLAGS", static_flags())
            // AES for processors of the widest vectors takes 700 kB of the program. The next best encrypts a scrape in
            // microseconds.
            .env("AWS_LC_SYS_CFLAGS", "-DMY_ASSEMBLER_IS_TOO_OLD_FOR_512AVX")
            // Randomness comes from the kernel alone, as in Go: measuring the processor's jitter as well holds up the
            // first handshake by 24 ms.
            .env("AWS_LC_SYS_NO_JITTER_ENTROPY", "1")
            .args(["build", "--quiet", "--locked", "--release"])
            .args(["--target", &target(), "--package", name]),
    )
}

fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn static_flags() -> String {
    let mut flags = String::from("-C target-feature=+crt-static");
    if relocates_packed() {
        flags += " -C link-arg=-Wl,-z,pack-relative-relocs";
    }
    flags
}

/// Whether a static program can be started whose relocations are packed, to a hundredth of their size: glibc 2.36 and
/// later unpack them.
fn relocates_packed() -> bool {
    let version = output(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default();
    let minor = version.trim().strip_prefix("glibc 2.");
    minor.is_some_and(|minor| minor.parse().is_ok_and(|minor: u32| minor >= 36))
}
