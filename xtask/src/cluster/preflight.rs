//! What the machine must allow, asked before anything is started.

use std::path::Path;

use anyhow::{Result, bail};

/// Asks for root, cgroups and overlay file systems.
///
/// # Errors
/// All that is missing, with what to do about each.
pub fn check() -> Result<()> {
    let mut missing = Vec::new();
    if !cfg!(target_os = "linux") {
        missing.push("Linux: namespaces and a kubelet need it; use a virtual machine");
    }
    if !rustix::process::geteuid().is_root() {
        missing.push("root: namespaces, mounts and cgroups need it; run this by sudo");
    }
    if !Path::new("/sys/fs/cgroup/memory").exists()
        && !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
    {
        missing.push("cgroups with a memory controller below /sys/fs/cgroup: mount them");
    }
    if !Path::new("/dev/shm").exists() {
        missing.push("/dev/shm: mount a tmpfs there");
    }
    if !missing.is_empty() {
        bail!(
            "a Kubernetes node cannot run here; missing:\n  - {}",
            missing.join("\n  - ")
        );
    }
    Ok(())
}
