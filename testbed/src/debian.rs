//! Installs programs of Debian packages that are missing.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{paths::find_program, process::output, progress::step};

/// Programs and the Debian package of each.
const PROGRAMS: [(&str, &str); 13] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("etcd", "etcd-server"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("htpasswd", "apache2-utils"),
    ("curl", "curl"),
    ("systemd-socket-activate", "systemd"),
    ("systemd-analyze", "systemd"),
    ("adduser", "adduser"),
    ("strace", "strace"),
];

/// Packages without a program on the `PATH`, each with a file by which it is recognized.
const FILES: [(&str, &str); 2] = [
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    (
        "/usr/lib/python3/dist-packages/bcrypt/__init__.py",
        "python3-bcrypt",
    ),
];

/// Installs what is missing.
///
/// # Errors
/// Something is missing and this is not root, or not a machine with `apt-get`. The error names each program and its
/// package.
pub fn ensure() -> Result<()> {
    let mut missing: Vec<(&str, &str)> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| find_program(program).is_none())
        .collect();
    missing.extend(
        FILES
            .into_iter()
            .filter(|(file, _)| !Path::new(file).exists()),
    );
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)
}

/// Installs libfaketime, which changes the clock of a program, if it is missing: few runs need it.
///
/// # Errors
/// See [`ensure`].
pub fn ensure_faketime() -> Result<()> {
    if find_program("faketime").is_some() {
        return Ok(());
    }
    install(&[("faketime", "faketime")])
}

fn install(missing: &[(&str, &str)]) -> Result<()> {
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let names: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
    if !rustix::process::geteuid().is_root() || find_program("apt-get").is_none() {
        bail!(
            "missing: {}. Install them: sudo apt-get install {}",
            names.join(", "),
            packages.join(" ")
        );
    }
    let label = format!("install {}", packages.join(" "));
    step(&label, || {
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command
                .env("DEBIAN_FRONTEND", "noninteractive")
                // The installation must not start services, because the cluster runs its own in its own namespaces.
                .env("RUNLEVEL", "1")
                .args(arguments);
            output(&mut command)
        };
        apt(&["update", "-qq"])?;
        apt(&[
            &["install", "-y", "-qq", "--no-install-recommends"],
            packages.as_slice(),
        ]
        .concat())?;
        Ok(())
    })
}
