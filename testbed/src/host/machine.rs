//! A copy of this machine whose changes are discarded, for tests that install packages and create users.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    process::{Process, output},
    slot::Slot,
    wait::wait_until,
};

/// The root file system below a layer in memory, in its own mount namespace. Processes, devices and the network are those
/// of the machine; `/run` is empty, so that no script finds a running systemd.
const LAYER: &str = r#"
set -e
mount -t tmpfs layer "$0"
mkdir "$0/upper" "$0/work" "$0/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"
for name in proc sys dev; do mount --rbind "/$name" "$0/root/$name"; done
mount -t tmpfs run "$0/root/run"
echo ready
exec sleep infinity
"#;

/// A copy that exists until it is dropped.
pub struct Machine {
    /// Its mounts are removed with it.
    holder: Process,
    folder: TempDir,
}

impl Machine {
    /// Creates a copy.
    ///
    /// # Errors
    /// This is not root, or the kernel has no overlay file system.
    pub fn copy(_slot: &Slot) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut holder = Process::spawn(
            Command::new("unshare")
                .args(["--mount", "--propagation", "private", "sh", "-c", LAYER])
                .arg(folder.path()),
        )?;
        wait_until("the copied machine", Duration::from_secs(10), || {
            holder.check()?;
            Ok(holder.log()?.contains("ready").then_some(()))
        })?;
        Ok(Self { holder, folder })
    }

    /// Returns a command that runs a program in the copy.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg("chroot")
            .arg(self.root())
            .arg(program)
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a program in it to its end, and returns its output.
    ///
    /// # Errors
    /// It failed; the error contains its output.
    pub fn run(&self, line: &[&str]) -> Result<String> {
        let (program, arguments) = line.split_first().unwrap_or((&"true", &[]));
        output(self.command(program).args(arguments))
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }
}
