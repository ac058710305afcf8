//! A bare host with a file system that hangs on demand.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command, time::Duration};

use anyhow::Result;
use tempfile::TempDir;

use crate::{process::Process, slot::Slot, wait::wait_until};

/// The file system, in its own mount namespace.
pub struct HangingFiles {
    folder: TempDir,
    server: Process,
}

impl HangingFiles {
    /// Mounts it; `program` is this package's `hanging_files`.
    ///
    /// # Errors
    /// This is not root, or the kernel has no FUSE.
    pub fn mount(_slot: &Slot, program: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (mount_point, control) = (folder.path().join("files"), folder.path().join("control"));
        fs::create_dir(&mount_point)?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "--", program])
            .args([&mount_point, &control]);
        let mut server = Process::spawn(&mut command)?;
        let mounts = format!("/proc/{}/mounts", server.id());
        wait_until("the mount", Duration::from_secs(20), || {
            server.check()?;
            let mounts = fs::read_to_string(&mounts)?;
            Ok(mounts.contains("hanging").then_some(()))
        })?;
        let files = Self { folder, server };
        files.link_procfs()?;
        Ok(files)
    }

    /// Where it is mounted.
    pub fn mount_point(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// A procfs whose first process is in the mount namespace of its reader.
    pub fn procfs(&self) -> PathBuf {
        self.folder.path().join("proc")
    }

    /// The words before a program's command line that give it access to the mount.
    pub fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.server.id().to_string(), "--"]);
        command
    }

    /// Selects the operations that hang, while all others keep working: `statfs`, `readdir`, `read`; `gone` removes a
    /// device that stays listed.
    ///
    /// # Errors
    /// The disk is full.
    pub fn control(&self, words: &str) -> Result<()> {
        // Replaced as a whole, because a partial word would release what hangs.
        let (new, control) = (
            self.folder.path().join("new"),
            self.folder.path().join("control"),
        );
        fs::write(&new, words)?;
        Ok(fs::rename(new, control)?)
    }

    fn link_procfs(&self) -> Result<()> {
        let init = self.procfs().join("1");
        fs::create_dir_all(&init)?;
        symlink("/proc/self/mountinfo", init.join("mountinfo"))?;
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            if !name
                .to_string_lossy()
                .starts_with(|first: char| first.is_ascii_digit())
            {
                symlink(
                    PathBuf::from("/proc").join(&name),
                    self.procfs().join(&name),
                )?;
            }
        }
        Ok(())
    }
}
