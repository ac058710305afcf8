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

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

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

/// Whether a process has ended, with all of its threads. The last of them closes its files and ports; until its parent looks
/// at it, it stays in the list of processes.
pub fn has_ended(process: Pid) -> bool {
    let folder = PathBuf::from(format!("/proc/{}", process.as_raw_nonzero()));
    let threads = fs::read_dir(folder.join("task")).map_or(0, Iterator::count);
    let stat = fs::read_to_string(folder.join("stat"));
    stat.map_or(true, |stat| {
        let state = stat.rsplit_once(") ").map(|(_, state)| state);
        threads <= 1 && state.is_some_and(|state| state.starts_with(['Z', 'X']))
    })
}

/// Whether anybody listens on one of these TCP ports in the network namespace of a process.
///
/// # Errors
/// The process does not run.
pub fn is_listening(process: u32, ports: &[u16]) -> Result<bool> {
    let ends: Vec<String> = ports.iter().map(|port| format!(":{port:04X}")).collect();
    let read = |table| {
        fs::read_to_string(format!("/proc/{process}/net/{table}"))
            .with_context(|| format!("cannot read the connections of process {process}"))
    };
    let is_listener = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, state) = (columns.next().unwrap_or_default(), columns.nth(1));
        state == Some(LISTEN) && ends.iter().any(|end| local.ends_with(end))
    };
    let has_listener = |table: String| table.lines().any(is_listener);
    Ok(has_listener(read("tcp")?) || has_listener(read("tcp6")?))
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

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener},
        process,
    };

    use super::*;

    #[test]
    fn a_port_is_listened_to_until_it_is_closed() -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let ports = [listener.local_addr()?.port()];
        assert!(is_listening(process::id(), &ports)?);
        drop(listener);
        assert!(!is_listening(process::id(), &ports)?);
        Ok(())
    }
}
