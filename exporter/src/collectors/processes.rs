//! `processes`: how many processes and threads there are, in which states, and how many there may be.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, Directory, KeptFile, fields, list_directories, parse_u64, trim};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "processes",
    default_enabled: false,
    summary: "Processes and threads by state, from /proc.",
    options: &[],
    build,
};

const STAT: &str = "PID/stat";
const MOST_PROCESSES: &str = "sys/kernel/pid_max";
const MOST_THREADS: &str = "sys/kernel/threads-max";

struct Processes {
    procfs: PathBuf,
    most_processes: KeptFile,
    most_threads: KeptFile,
    buffer: Vec<u8>,
}

/// By the letter that the kernel gives a state.
type States = BTreeMap<u8, u64>;

#[derive(Debug, Default)]
struct Census {
    processes: u64,
    threads: u64,
    process_states: States,
    thread_states: States,
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    threads: u64,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Processes {
        procfs: context.settings().procfs.clone(),
        most_processes: KeptFile::new(context.procfs(MOST_PROCESSES)),
        most_threads: KeptFile::new(context.procfs(MOST_THREADS)),
        buffer: Vec::new(),
    }))
}

impl Collector for Processes {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let census = self.count(&mut skipped)?;
        // What is known is shown, even where a limit cannot be read.
        let threads = "Number of threads of all processes.";
        show("node_processes_threads", threads, census.threads, out);
        let most = number(&mut self.most_threads, MOST_THREADS);
        if let Some(most) = skipped.part(most) {
            let limit = "Maximum number of threads.";
            show("node_processes_max_threads", limit, most, out);
        }
        write_states(
            "node_processes_state",
            "Number of processes by state.",
            "state",
            &census.process_states,
            out,
        );
        write_states(
            "node_processes_threads_state",
            "Number of threads by state.",
            "thread_state",
            &census.thread_states,
            out,
        );
        let most = number(&mut self.most_processes, MOST_PROCESSES);
        if let Some(most) = skipped.part(most) {
            let limit = "Maximum number of process IDs.";
            show("node_processes_max_processes", limit, most, out);
        }
        show("node_processes_pids", "Processes.", census.processes, out);
        skipped.result()
    }
}

impl Processes {
    /// Counts all processes that live long enough to be looked at.
    fn count(&mut self, skipped: &mut Skipped) -> Result<Census, CollectError> {
        let mut census = Census::default();
        for id in numbered(list_directories(&self.procfs)?) {
            let process = self.procfs.join(OsStr::from_bytes(&id));
            let stat = skipped.part(self.look_at(process.clone()));
            let Some(stat) = stat.flatten() else {
                continue;
            };
            census.processes += 1;
            census.threads = census.threads.wrapping_add(stat.threads);
            *census.process_states.entry(stat.state).or_default() += 1;
            let tasks = process.join("task");
            let threads = match list_directories(&tasks) {
                Ok(threads) => numbered(threads),
                Err(_) => continue,
            };
            for thread in threads {
                // The process and its first thread are one.
                let state = if thread == id {
                    Some(stat.state)
                } else {
                    let thread = self.look_at(tasks.join(OsStr::from_bytes(&thread)));
                    skipped.part(thread).flatten().map(|thread| thread.state)
                };
                if let Some(state) = state {
                    *census.thread_states.entry(state).or_default() += 1;
                }
            }
        }
        Ok(census)
    }

    /// The state of a process or thread; `None` when it has gone or is hidden.
    fn look_at(&mut self, task: PathBuf) -> Result<Option<Stat>, CollectError> {
        let Some(directory) = Directory::open_if_present(task)? else {
            return Ok(None);
        };
        match directory.read("stat", &mut self.buffer)? {
            None => Ok(None),
            Some(line) => {
                let stat = parse(line).ok_or_else(|| CollectError::malformed(STAT, line))?;
                Ok(Some(stat))
            }
        }
    }
}

fn numbered(mut names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    names.retain(|name| parse_u64(name).is_some());
    names
}

/// A name in parentheses may hold any byte, a parenthesis included; what matters comes after the last one.
fn parse(line: &[u8]) -> Option<Stat> {
    let end = line.iter().rposition(|&byte| byte == b')')?;
    let mut columns = fields(line.get(end + 1..)?);
    let state = *columns.next()?.first()?;
    let threads = columns.nth(16).and_then(parse_u64)?;
    Some(Stat { state, threads })
}

fn number(file: &mut KeptFile, name: &'static str) -> Result<u64, CollectError> {
    let bytes = file.read()?;
    parse_u64(trim(bytes)).ok_or_else(|| CollectError::malformed(name, bytes))
}

fn show(name: &str, help: &str, value: u64, out: &mut Exposition) {
    out.family(&[name], &[help], MetricKind::Gauge)
        .sample(&[], value);
}

fn write_states(name: &str, help: &str, label: &str, states: &States, out: &mut Exposition) {
    let mut family = out.family(&[name], &[help], MetricKind::Gauge);
    for (state, count) in states {
        family.sample(&[(label, std::slice::from_ref(state))], *count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line = b"7 (a) R (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 55 0 0\n";
        assert_eq!(
            parse(line),
            Some(Stat {
                state: b'S',
                threads: 3
            })
        );
        assert_eq!(parse(b"7 (a) S 1 7"), None);
        assert_eq!(parse(b"7 a S"), None);
    }
}
