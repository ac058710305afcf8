//! The cgroups below which each kubelet puts its pods, in each hierarchy that the machine has.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use super::{extent::Extent, layout::Layout};
use crate::wait::wait_until;

const ROOT: &str = "/sys/fs/cgroup";

/// Creates one cgroup per node.
///
/// # Errors
/// The kernel refused.
pub fn create(layout: &Layout) -> Result<()> {
    for hierarchy in hierarchies(layout)? {
        for node in layout.nodes() {
            let folder = hierarchy.join(node.cgroup);
            fs::create_dir_all(&folder)?;
            // A cpuset (v1) is empty at first and accepts no process until both are set.
            if hierarchy.ends_with("cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(folder.join(file), fs::read(hierarchy.join(file))?)
                        .with_context(|| format!("cannot fill {file} of {}", folder.display()))?;
                }
            }
        }
    }
    Ok(())
}

/// Removes them and the cgroups that the kubelets created below them.
///
/// # Errors
/// A process is still in one after some seconds.
pub fn remove(layout: &Layout) -> Result<()> {
    wait_until("cgroups empty", Duration::from_secs(10), || {
        for hierarchy in hierarchies(layout)? {
            for entry in fs::read_dir(hierarchy)?.flatten() {
                let name = entry.file_name();
                if name.to_string_lossy().starts_with(&layout.cgroup_prefix()) {
                    remove_tree(&entry.path())?;
                }
            }
        }
        Ok(Some(()))
    })
}

fn hierarchies(layout: &Layout) -> Result<Vec<PathBuf>> {
    if layout.extent == Extent::ControlPlane {
        return Ok(Vec::new());
    }
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut hierarchies = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        // A link is another name of a hierarchy that is listed as well.
        if entry.file_type()?.is_dir() {
            hierarchies.push(entry.path());
        }
    }
    Ok(hierarchies)
}

fn remove_tree(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)?;
    Ok(())
}
