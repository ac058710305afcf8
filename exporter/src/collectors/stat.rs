//! `stat`: boot time, forks, interrupts and context switches, from `/proc/stat`.

use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

const SOFTIRQ: &str = "collector.stat.softirq";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "stat",
    default_enabled: true,
    summary: "Boot time, forks, interrupts and context switches, from /proc/stat.",
    options: &[OptionSpec::switch(
        SOFTIRQ,
        "false",
        "Show the number of soft interrupts of each type.",
    )],
    build,
};

const FILE: &str = "stat";
/// The kinds of soft interrupt, in the order in which the kernel prints them.
const VECTORS: [&str; 10] = [
    "hi",
    "timer",
    "net_tx",
    "net_rx",
    "block",
    "block_iopoll",
    "tasklet",
    "sched",
    "hrtimer",
    "rcu",
];

struct Stat {
    file: KeptFile,
    softirq: bool,
}

/// Lines that a kernel does not print leave zeros; `None` means that a line cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    interrupts: Option<u64>,
    context_switches: Option<u64>,
    boot_time: Option<u64>,
    forks: Option<u64>,
    running: Option<u64>,
    blocked: Option<u64>,
    softirqs: Option<[u64; VECTORS.len()]>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            interrupts: Some(0),
            context_switches: Some(0),
            boot_time: Some(0),
            forks: Some(0),
            running: Some(0),
            blocked: Some(0),
            softirqs: Some([0; VECTORS.len()]),
        }
    }
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Stat {
        file: KeptFile::new(context.procfs(FILE)),
        softirq: context.switch(SOFTIRQ)?,
    }))
}

impl Collector for Stat {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let counts = parse(self.file.read()?, &mut skipped);
        write(&counts, self.softirq, out);
        skipped.result()
    }
}

fn parse(bytes: &[u8], skipped: &mut Skipped) -> Counts {
    let mut counts = Counts::default();
    for line in lines(bytes) {
        let mut parts = fields(line);
        let slot = match parts.next() {
            Some(b"intr") => &mut counts.interrupts,
            Some(b"ctxt") => &mut counts.context_switches,
            Some(b"btime") => &mut counts.boot_time,
            Some(b"processes") => &mut counts.forks,
            Some(b"procs_running") => &mut counts.running,
            Some(b"procs_blocked") => &mut counts.blocked,
            Some(b"softirq") => {
                // The first number is their sum.
                let calls = parse_vectors(parts.skip(1));
                counts.softirqs = skipped.line(FILE, line, calls);
                continue;
            }
            _ => continue,
        };
        *slot = skipped.line(FILE, line, parts.next().and_then(parse_u64));
    }
    counts
}

fn parse_vectors<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Option<[u64; VECTORS.len()]> {
    let mut calls = [0; VECTORS.len()];
    for (slot, number) in calls.iter_mut().zip(numbers) {
        *slot = parse_u64(number)?;
    }
    Some(calls)
}

fn write(counts: &Counts, softirq: bool, out: &mut Exposition) {
    use MetricKind::{Counter, Gauge};
    for (name, help, kind, value) in [
        (
            "node_boot_time_seconds",
            "Time of the last boot, in seconds since the epoch.",
            Gauge,
            counts.boot_time,
        ),
        (
            "node_context_switches_total",
            "Number of context switches.",
            Counter,
            counts.context_switches,
        ),
        (
            "node_forks_total",
            "Number of processes and threads created.",
            Counter,
            counts.forks,
        ),
        (
            "node_intr_total",
            "Number of interrupts serviced.",
            Counter,
            counts.interrupts,
        ),
        (
            "node_procs_blocked",
            "Number of processes that are blocked, waiting for I/O.",
            Gauge,
            counts.blocked,
        ),
        (
            "node_procs_running",
            "Number of runnable processes.",
            Gauge,
            counts.running,
        ),
    ] {
        if let Some(value) = value {
            out.family(&[name], &[help], kind).sample(&[], value);
        }
    }
    if let Some(softirqs) = counts.softirqs.filter(|_| softirq) {
        let mut rows: [(&str, u64); VECTORS.len()] = Default::default();
        for (row, vector) in rows.iter_mut().zip(VECTORS.into_iter().zip(softirqs)) {
            *row = vector;
        }
        rows.sort_unstable();
        let mut family = out.family(
            &["node_softirqs_total"],
            &["Number of soft interrupts, by type."],
            Counter,
        );
        for (vector, calls) in rows {
            family.sample(&[("vector", vector.as_bytes())], calls);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8]) -> Result<Counts, CollectError> {
        whole(|skipped| crate::collectors::stat::parse(bytes, skipped))
    }

    #[test]
    fn every_count_is_found() {
        let counts = parse(
            b"cpu  1 2 3\nintr 885 9 0 0\nctxt 38014\nbtime 1418183276\nprocesses 26442\nprocs_running 2\nprocs_blocked 1\n\
              softirq 5057 250 1481 1647 99 186 0 1783 500 7 66\n",
        )
        .unwrap();
        let softirqs = [250, 1481, 1647, 99, 186, 0, 1783, 500, 7, 66];
        let expected = Counts {
            interrupts: Some(885),
            context_switches: Some(38014),
            boot_time: Some(1_418_183_276),
            forks: Some(26442),
            running: Some(2),
            blocked: Some(1),
            softirqs: Some(softirqs),
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_count_that_is_none_is_an_error() {
        assert!(parse(b"ctxt many\n").is_err());
        assert!(parse(b"softirq 1 2 x\n").is_err());
        let counts =
            crate::collectors::stat::parse(b"ctxt many\nprocesses 5\n", &mut Skipped::default());
        assert_eq!((counts.context_switches, counts.forks), (None, Some(5)));
    }
}
