//! Finds the programs of a cluster among all processes of the machine, and sends signals to them.

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
    /// The store of all objects.
    Etcd,
    /// The API server.
    ApiServer,
}

impl Program {
    /// Its name, which is the name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
        }
    }
}

/// The environment variable that a holder sets for the programs that it starts, to its folder.
pub const HELD_IN: &str = "SECURE_EXPORTER_HELD_IN";

/// The program that starts the others in the namespaces of a holder and waits for their end. It stops when they are stopped.
const STARTER: &str = "nsenter";

/// Returns the running processes of a program that was started by the holder with this folder, or with one below it.
pub fn held(folder: &Path, program: &str) -> Vec<Pid> {
    of_program(program, |process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .filter_map(|line| line.strip_prefix(HELD_IN.as_bytes())?.strip_prefix(b"="))
            .any(|held_in| Path::new(OsStr::from_bytes(held_in)).starts_with(folder))
    })
}

/// Returns the running processes of a program whose cgroup path contains this text, as those of a cluster's containers do.
pub fn contained(cgroup: &str, program: &str) -> Vec<Pid> {
    of_program(program, |process| {
        let cgroups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        cgroups.contains(cgroup)
    })
}

/// Continues the starters of the stopped programs of this folder, which were stopped with them. Unless they continue, a
/// program that has ended stays as a zombie.
pub fn continue_starters(folder: &Path) {
    for process in held(folder, STARTER) {
        let _ = kill_process(process, Signal::CONT);
    }
}

/// Sends a signal to each process.
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

/// Whether a process has ended, so that its files and ports are closed. Its parent may not have looked at it yet.
pub fn has_ended(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.map_or(true, |stat| {
        let state = stat.rsplit_once(") ").map(|(_, state)| state);
        state.is_some_and(|state| state.starts_with(['Z', 'X']))
    })
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
