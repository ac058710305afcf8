//! `softnet`: how each CPU processes its incoming packets, from `/proc/net/softnet_stat`.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::exposition::MetricKind::{self, Counter, Gauge};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_hex};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "softnet",
    default_enabled: true,
    summary: "Backlog of incoming packets of each CPU, from /proc/net/softnet_stat.",
    options: &[],
    build,
};

const FILE: &str = "net/softnet_stat";
/// The columns that the oldest kernel prints.
const OLDEST_WIDTH: usize = 9;
const WIDEST: usize = 13;
/// The column that holds the CPU's number, since Linux 5.14. Until then a line's place was its number.
const CPU: usize = 12;
/// The families in order: their column, name, help and type.
const FAMILIES: [(usize, &str, &str, MetricKind); 7] = [
    (
        11,
        "node_softnet_backlog_len",
        "Number of packets waiting in the backlog of the CPU.",
        Gauge,
    ),
    (
        8,
        "node_softnet_cpu_collision_total",
        "Times that CPUs collided on the transmit lock of a device.",
        Counter,
    ),
    (
        1,
        "node_softnet_dropped_total",
        "Packets dropped because the backlog was full.",
        Counter,
    ),
    (
        10,
        "node_softnet_flow_limit_count_total",
        "Packets dropped because their flow had reached its limit.",
        Counter,
    ),
    (
        0,
        "node_softnet_processed_total",
        "Packets processed.",
        Counter,
    ),
    (
        9,
        "node_softnet_received_rps_total",
        "Times that another CPU woke this one to process packets (RPS).",
        Counter,
    ),
    (
        2,
        "node_softnet_times_squeezed_total",
        "Polling rounds that ended with packets left because the time or packet budget was used up.",
        Counter,
    ),
];

struct Softnet {
    file: KeptFile,
    cpus: Vec<Cpu>,
}

#[derive(Debug, PartialEq, Eq)]
struct Cpu {
    number: String,
    /// Columns that the kernel does not print stay 0.
    columns: [u64; WIDEST],
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Softnet {
        file: KeptFile::new(context.procfs(FILE)),
        cpus: Vec::new(),
    }))
}

impl Collector for Softnet {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        parse(self.file.read()?, &mut self.cpus, &mut skipped);
        self.cpus.sort_unstable_by(|a, b| a.number.cmp(&b.number));
        for (column, name, help, kind) in FAMILIES {
            let mut family = out.family(&[name], &[help], kind);
            for cpu in &self.cpus {
                let value = cpu.columns.get(column).copied().unwrap_or_default();
                family.sample(&[("cpu", cpu.number.as_bytes())], value);
            }
        }
        skipped.result()
    }
}

fn parse(bytes: &[u8], cpus: &mut Vec<Cpu>, skipped: &mut Skipped) {
    cpus.clear();
    for (place, line) in lines(bytes).enumerate() {
        cpus.extend(skipped.line(FILE, line, parse_cpu(place, line)));
    }
}

fn parse_cpu(place: usize, line: &[u8]) -> Option<Cpu> {
    let mut columns = [0; WIDEST];
    let mut width = 0;
    for (slot, field) in columns.iter_mut().zip(fields(line)) {
        *slot = parse_hex(field)?;
        width += 1;
    }
    let number = match columns.get(CPU) {
        Some(number) if width > CPU => number.to_string(),
        _ => place.to_string(),
    };
    (width >= OLDEST_WIDTH).then_some(Cpu { number, columns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8], cpus: &mut Vec<Cpu>) -> Result<(), CollectError> {
        whole(|skipped| crate::collectors::softnet::parse(bytes, cpus, skipped))
    }

    #[test]
    fn kernels_of_all_ages_are_read() {
        let mut cpus = Vec::new();
        parse(
            b"1 2 3 0 0 0 0 0 4 5 6 7 b 0 0\nff 2 3 0 0 0 0 0 4\n1 2 3 0 0 0 0 0 4 5 6\n",
            &mut cpus,
        )
        .unwrap();
        let seen: Vec<_> = cpus
            .iter()
            .map(|cpu| (cpu.number.as_str(), cpu.columns))
            .collect();
        assert_eq!(
            seen,
            [
                ("11", [1, 2, 3, 0, 0, 0, 0, 0, 4, 5, 6, 7, 11]),
                ("1", [255, 2, 3, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]),
                ("2", [1, 2, 3, 0, 0, 0, 0, 0, 4, 5, 6, 0, 0]),
            ]
        );
        assert!(parse(b"1 2 3\n", &mut cpus).is_err());
        assert!(parse(b"1 2 3 0 0 0 0 0 x\n", &mut cpus).is_err());
    }
}
