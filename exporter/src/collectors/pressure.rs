//! `pressure`: how long tasks waited for the CPU, for memory and for input and output, from `/proc/pressure`.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, ReadError, fields, lines, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "pressure",
    default_enabled: true,
    summary: "Pressure stall information: time lost waiting for resources, from /proc/pressure.",
    options: &[],
    build,
};

/// A family: its name, its help, the file and the line that it comes from.
type Source = (&'static str, &'static str, &'static str, &'static [u8]);

const SOME: &[u8] = b"some";
const FULL: &[u8] = b"full";
const CPU: &[Source] = &[(
    "node_pressure_cpu_waiting_seconds_total",
    "Seconds during which at least one task waited for a CPU.",
    "pressure/cpu",
    SOME,
)];
const IO: &[Source] = &[
    (
        "node_pressure_io_stalled_seconds_total",
        "Seconds during which all tasks waited for I/O.",
        "pressure/io",
        FULL,
    ),
    (
        "node_pressure_io_waiting_seconds_total",
        "Seconds during which at least one task waited for I/O.",
        "pressure/io",
        SOME,
    ),
];
const IRQ: &[Source] = &[(
    "node_pressure_irq_stalled_seconds_total",
    "Seconds during which all tasks waited for interrupts to be handled.",
    "pressure/irq",
    FULL,
)];
const MEMORY: &[Source] = &[
    (
        "node_pressure_memory_stalled_seconds_total",
        "Seconds during which all tasks waited for memory.",
        "pressure/memory",
        FULL,
    ),
    (
        "node_pressure_memory_waiting_seconds_total",
        "Seconds during which at least one task waited for memory.",
        "pressure/memory",
        SOME,
    ),
];

struct Pressure {
    resources: [(KeptFile, &'static [Source]); 4],
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let resource = |file: &str, sources| (KeptFile::new(context.procfs(file)), sources);
    Ok(Box::new(Pressure {
        resources: [
            resource("pressure/cpu", CPU),
            resource("pressure/io", IO),
            resource("pressure/irq", IRQ),
            resource("pressure/memory", MEMORY),
        ],
    }))
}

impl Collector for Pressure {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let mut missing: Option<ReadError> = None;
        let mut found = false;
        for (file, sources) in &mut self.resources {
            match file.read() {
                Ok(bytes) => write(bytes, sources, &mut skipped, out),
                // An older kernel has fewer of these files, one built without them none.
                Err(error) if error.is_absent() => {
                    missing = Some(error);
                    continue;
                }
                // They are there and cannot be opened where the kernel was started with psi=0.
                Err(error) if error.is_unsupported() => {
                    return Err(CollectError::NoData(error.to_string()));
                }
                Err(error) => skipped.add(error.into()),
            }
            found = true;
        }
        match missing {
            Some(error) if !found => Err(CollectError::NoData(error.to_string())),
            _ => skipped.result(),
        }
    }
}

fn write(bytes: &[u8], sources: &[Source], skipped: &mut Skipped, out: &mut Exposition) {
    for (name, help, file, line) in sources {
        if let Some(microseconds) = skipped.line(file, bytes, total(bytes, line)) {
            out.family(&[name], &[help], MetricKind::Counter)
                .sample(&[], microseconds as f64 / 1000.0 / 1000.0);
        }
    }
}

/// The microseconds at the end of a line such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=17`.
fn total(bytes: &[u8], which: &[u8]) -> Option<u64> {
    let line = lines(bytes).find(|line| fields(line).next() == Some(which))?;
    fields(line).find_map(|field| parse_u64(field.strip_prefix(b"total=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        let bytes = b"some avg10=0.10 avg60=2.00 avg300=3.85 total=15\nfull avg10=0.20 total=9\n";
        assert_eq!(total(bytes, SOME), Some(15));
        assert_eq!(total(bytes, FULL), Some(9));
        assert_eq!(total(b"some avg10=0.10\n", SOME), None);
        assert_eq!(total(b"", FULL), None);
    }
}
