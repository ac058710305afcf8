//! The cgroup below which the kubelet puts every pod, in each hierarchy that the machine has.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use super::layout::{Extent, Layout};
use crate::shell::wait_for;

const ROOT: &str = "/sys/fs/cgroup";

/// Makes the cluster's cgroup.
///
/// # Errors
/// The kernel refused.
pub fn create(layout: &Layout) -> Result<()> {
    for folder in folders(layout)? {
        fs::create_dir_all(&folder)?;
        // A cpuset (v1) begins empty and takes no process until it has both.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let parent = folder.parent().unwrap_or(Path::new(ROOT)).join(file);
            if folder.ends_with(format!("cpuset/{}", layout.cgroup())) && parent.exists() {
                fs::write(folder.join(file), fs::read(parent)?)?;
            }
        }
    }
    Ok(())
}

/// Removes it and what the kubelet made below it.
///
/// # Errors
/// A process is still in it after some seconds.
pub fn remove(layout: &Layout) -> Result<()> {
    wait_for("cgroups empty", Duration::from_secs(10), || {
        for folder in folders(layout)? {
            remove_tree(&folder)?;
        }
        Ok(Some(()))
    })
}

fn folders(layout: &Layout) -> Result<Vec<PathBuf>> {
    if layout.extent == Extent::ControlPlane {
        return Ok(Vec::new());
    }
    let unified = Path::new(ROOT).join("cgroup.controllers").exists();
    if unified {
        return Ok(vec![Path::new(ROOT).join(layout.cgroup())]);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(ROOT)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path().join(layout.cgroup()));
        }
    }
    Ok(folders)
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
