//! What comes from Debian's packages, installed where a person with root has not done so yet.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{find_program, output, step};

/// Programs and the Debian package that each comes from.
const PROGRAMS: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("etcd", "etcd-server"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("htpasswd", "apache2-utils"),
];

/// Network plugins have no program on the `PATH`; this file tells that they are installed.
const NETWORK_PLUGIN: (&str, &str) = ("/usr/lib/cni/bridge", "containernetworking-plugins");

/// Installs what is missing.
///
/// # Errors
/// Something is missing and this is not root, or not a machine with `apt-get`: names each program and its package.
pub fn ensure() -> Result<()> {
    let mut missing: Vec<(&str, &str)> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| find_program(program).is_none())
        .collect();
    if !std::path::Path::new(NETWORK_PLUGIN.0).exists() {
        missing.push(NETWORK_PLUGIN);
    }
    if missing.is_empty() {
        return Ok(());
    }
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
                // Installing must start no service: the cluster runs its own, in its own namespaces.
                .env("RUNLEVEL", "1")
                .args(arguments);
            output(&mut command)
        };
        apt(&["update", "-qq"])?;
        apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages.as_slice()].concat())?;
        Ok(())
    })
}
