//! `schedstat`: how long each CPU ran tasks and let them wait, from `/proc/schedstat`.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "schedstat",
    default_enabled: true,
    summary: "Scheduler statistics of each CPU, from /proc/schedstat.",
    options: &[],
    build,
};

const FILE: &str = "schedstat";
/// The fields of a CPU's line before the three that are shown.
const FIELDS_BEFORE: usize = 6;
const NANOSECONDS: f64 = 1e9;

struct Schedstat {
    file: KeptFile,
}

/// What the scheduler did on one CPU.
#[derive(Debug, PartialEq, Eq)]
struct Cpu<'a> {
    name: &'a [u8],
    running: u64,
    waiting: u64,
    timeslices: u64,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Schedstat {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for Schedstat {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read().map_err(CollectError::optional)?;
        let mut skipped = Skipped::default();
        write(&parse(bytes, &mut skipped), out);
        skipped.result()
    }
}

/// The CPUs in order of their names as text.
fn parse<'a>(bytes: &'a [u8], skipped: &mut Skipped) -> Vec<Cpu<'a>> {
    let mut cpus = Vec::new();
    for line in lines(bytes) {
        let Some(rest) = line.strip_prefix(b"cpu") else {
            continue;
        };
        cpus.extend(skipped.line(FILE, line, parse_cpu(rest)));
    }
    cpus.sort_unstable_by(|a, b| a.name.cmp(b.name));
    cpus
}

fn parse_cpu(rest: &[u8]) -> Option<Cpu<'_>> {
    let mut parts = fields(rest);
    let name = parts.next()?;
    let mut numbers = parts.skip(FIELDS_BEFORE).map(parse_u64);
    Some(Cpu {
        name,
        running: numbers.next()??,
        waiting: numbers.next()??,
        timeslices: numbers.next()??,
    })
}

/// How a value is taken from a CPU.
type Get = fn(&Cpu<'_>) -> f64;

fn write(cpus: &[Cpu<'_>], out: &mut Exposition) {
    let families: [(&str, &str, Get); 3] = [
        (
            "node_schedstat_running_seconds_total",
            "Seconds during which the CPU ran tasks.",
            |cpu| cpu.running as f64 / NANOSECONDS,
        ),
        (
            "node_schedstat_timeslices_total",
            "Number of timeslices run on the CPU.",
            |cpu| cpu.timeslices as f64,
        ),
        (
            "node_schedstat_waiting_seconds_total",
            "Seconds that runnable tasks spent waiting for the CPU.",
            |cpu| cpu.waiting as f64 / NANOSECONDS,
        ),
    ];
    for (name, help, get) in families {
        let mut family = out.family(&[name], &[help], MetricKind::Counter);
        for cpu in cpus {
            family.sample(&[("cpu", cpu.name)], get(cpu));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8]) -> Result<Vec<Cpu<'_>>, CollectError> {
        whole(|skipped| crate::collectors::schedstat::parse(bytes, skipped))
    }

    #[test]
    fn cpus_in_textual_order_and_nothing_else() {
        let bytes = b"version 15\ntimestamp 1\ncpu10 0 0 0 0 0 0 1 2 3\ndomain0 3 9\ncpu2 0 0 0 0 0 0 4 5 6\n";
        let cpus = parse(bytes).unwrap();
        assert_eq!(
            cpus.iter().map(|cpu| cpu.name).collect::<Vec<_>>(),
            [b"10".as_slice(), b"2"]
        );
        assert_eq!(
            (cpus[1].running, cpus[1].waiting, cpus[1].timeslices),
            (4, 5, 6)
        );
        assert!(parse(b"cpu0 0 0 0\n").is_err());
    }
}
