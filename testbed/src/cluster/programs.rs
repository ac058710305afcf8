//! The programs of a cluster, found among all processes of this machine, and signals to them.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Keeps all objects.
    Etcd,
    /// What everybody talks to.
    ApiServer,
}

impl Program {
    /// Its name, which is that of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
        }
    }
}

/// The environment variable by which programs that a holder started are recognised: its folder.
pub const HELD_IN: &str = "SECURE_EXPORTER_HELD_IN";

/// What a program is started by, which waits for its end outside. It stops when the program stops.
const STARTED_BY: &str = "nsenter";

/// The running processes of a program that was started in the holder of this folder, or in one within it.
pub fn held(folder: &Path, program: &str) -> Vec<Pid> {
    of_program(program, |process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .filter_map(|line| line.strip_prefix(HELD_IN.as_bytes())?.strip_prefix(b"="))
            .any(|held_in| Path::new(OsStr::from_bytes(held_in)).starts_with(folder))
    })
}

/// The running processes of a program in cgroups whose path has this in it, as those of a cluster's containers have.
pub fn contained(cgroup: &str, program: &str) -> Vec<Pid> {
    of_program(program, |process| {
        let cgroups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        cgroups.contains(cgroup)
    })
}

/// Lets those go on which stopped with the programs of this folder that were stopped, and wait for their end. Nobody else
/// does, and as long as they do not, what has ended is not gone.
pub fn wake_those_who_wait(folder: &Path) {
    for process in held(folder, STARTED_BY) {
        let _ = kill_process(process, Signal::CONT);
    }
}

/// Sends a signal to each.
///
/// # Errors
/// The kernel refused one, other than because the process has ended.
pub fn signal(processes: &[Pid], signal: Signal) -> Result<()> {
    for process in processes {
        match kill_process(*process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot signal process {process:?}"));
            }
        }
    }
    Ok(())
}

fn of_program(program: &str, matches: impl Fn(&PathBuf) -> bool) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let words = fs::read(entry.path().join("cmdline")).ok()?;
        let first = words.split(|byte| *byte == 0).next()?;
        let name = Path::new(OsStr::from_bytes(first)).file_name()?;
        let found = name == program && matches(&entry.path());
        found.then(|| Pid::from_raw(id)).flatten()
    });
    processes.collect()
}
