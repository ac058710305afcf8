//! Checks the requirements on the machine before anything is started.

use std::path::Path;

use anyhow::{Result, bail};

use super::extent::Extent;

/// Checks for cgroups, and prints what is missing without root.
///
/// # Errors
/// Everything that is missing, with what to do about it.
pub fn check(extent: Extent) -> Result<()> {
    let mut missing = Vec::new();
    if !Path::new("/dev/shm").exists() {
        missing.push("/dev/shm: mount a tmpfs there");
    }
    match extent {
        Extent::Whole if !has_memory_cgroup() => {
            missing.push("cgroups with a memory controller below /sys/fs/cgroup: mount them");
        }
        Extent::Whole => {}
        Extent::ControlPlane => eprintln!(
            "!! NOT ROOT: a control plane only, on the loopback address. Everything but running pods works;\n\
             !! no node, no kubelet, no containerd. Run this by sudo for a whole cluster."
        ),
    }
    if !missing.is_empty() {
        bail!(
            "a cluster cannot run here; missing:\n  - {}",
            missing.join("\n  - ")
        );
    }
    Ok(())
}

fn has_memory_cgroup() -> bool {
    ["memory", "cgroup.controllers"]
        .iter()
        .any(|name| Path::new("/sys/fs/cgroup").join(name).exists())
}
