//! `stat`: boot time, forks, interrupts and context switches, from `/proc/stat`.

use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{KeptFile, fields, lines, parse_u64};

const SOFTIRQ: &str = "collector.stat.softirq";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "stat",
    default_enabled: true,
    summary: "Boot time, forks, interrupts and context switches, from /proc/stat.",
    options: &[OptionSpec::switch(
        SOFTIRQ,
        "false",
        "Show the calls of each kind of soft interrupt.",
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

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    interrupts: u64,
    context_switches: u64,
    boot_time: u64,
    forks: u64,
    running: u64,
    blocked: u64,
    softirqs: [u64; VECTORS.len()],
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Stat {
        file: KeptFile::new(context.procfs(FILE)),
        softirq: context.switch(SOFTIRQ)?,
    }))
}

impl Collector for Stat {
    fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
        write(&parse(self.file.read()?)?, self.softirq, out);
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<Counts, CollectError> {
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
                for (slot, field) in counts.softirqs.iter_mut().zip(parts.skip(1)) {
                    *slot = parse_u64(field).ok_or_else(|| CollectError::malformed(FILE, line))?;
                }
                continue;
            }
            _ => continue,
        };
        *slot = parts
            .next()
            .and_then(parse_u64)
            .ok_or_else(|| CollectError::malformed(FILE, line))?;
    }
    Ok(counts)
}

fn write(counts: &Counts, softirq: bool, out: &mut Exposition) {
    use MetricKind::{Counter, Gauge};
    for (name, help, kind, value) in [
        (
            "node_boot_time_seconds",
            "When the node booted, in seconds since the epoch.",
            Gauge,
            counts.boot_time,
        ),
        (
            "node_context_switches_total",
            "Context switches.",
            Counter,
            counts.context_switches,
        ),
        (
            "node_forks_total",
            "Processes and threads created.",
            Counter,
            counts.forks,
        ),
        (
            "node_intr_total",
            "Interrupts serviced.",
            Counter,
            counts.interrupts,
        ),
        (
            "node_procs_blocked",
            "Processes that wait for I/O.",
            Gauge,
            counts.blocked,
        ),
        (
            "node_procs_running",
            "Processes that can run.",
            Gauge,
            counts.running,
        ),
    ] {
        out.family(&[name], &[help], kind).sample(&[], value);
    }
    if softirq {
        let mut rows: [(&str, u64); VECTORS.len()] = Default::default();
        for (row, vector) in rows
            .iter_mut()
            .zip(VECTORS.into_iter().zip(counts.softirqs))
        {
            *row = vector;
        }
        rows.sort_unstable();
        let mut family = out.family(
            &["node_softirqs_total"],
            &["Soft interrupts called, by kind."],
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

    #[test]
    fn every_count_is_found() {
        let counts = parse(
            b"cpu  1 2 3\nintr 885 9 0 0\nctxt 38014\nbtime 1418183276\nprocesses 26442\nprocs_running 2\nprocs_blocked 1\n\
              softirq 5057 250 1481 1647 99 186 0 1783 500 7 66\n",
        )
        .unwrap();
        let softirqs = [250, 1481, 1647, 99, 186, 0, 1783, 500, 7, 66];
        let expected = Counts {
            interrupts: 885,
            context_switches: 38014,
            boot_time: 1_418_183_276,
            forks: 26442,
            running: 2,
            blocked: 1,
            softirqs,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_count_that_is_none_is_an_error() {
        assert!(parse(b"ctxt many\n").is_err());
        assert!(parse(b"softirq 1 2 x\n").is_err());
    }
}
