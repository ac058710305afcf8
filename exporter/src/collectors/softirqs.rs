//! `softirqs`: soft interrupts by kind and CPU, from `/proc/softirqs`.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "softirqs",
    default_enabled: false,
    summary: "Soft interrupts by type and CPU, from /proc/softirqs.",
    options: &[],
    build,
};

const FILE: &str = "softirqs";

struct Softirqs {
    file: KeptFile,
}

/// A CPU, a kind and its count.
type Row<'a> = (String, &'a [u8], u64);

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let file = KeptFile::new(context.procfs(FILE));
    Ok(Box::new(Softirqs { file }))
}

impl Collector for Softirqs {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let mut rows = parse(self.file.read()?, &mut skipped);
        rows.sort_unstable();
        let help = "Soft interrupts handled, by type and CPU.";
        let mut family = out.family(
            &["node_softirqs_functions_total"],
            &[help],
            MetricKind::Counter,
        );
        for (cpu, kind, count) in rows {
            family.sample(&[("cpu", cpu.as_bytes()), ("type", kind)], count);
        }
        skipped.result()
    }
}

/// Below a line of headings each kind has a line with a number for each CPU.
fn parse<'a>(bytes: &'a [u8], skipped: &mut Skipped) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for line in lines(bytes).skip(1) {
        let read = parse_kind(line);
        rows.extend(skipped.line(FILE, line, read).into_iter().flatten());
    }
    rows
}

fn parse_kind(line: &[u8]) -> Option<Vec<Row<'_>>> {
    let mut parts = fields(line);
    let kind = parts.next()?.strip_suffix(b":")?;
    let row = |(cpu, count): (usize, _)| Some((cpu.to_string(), kind, parse_u64(count)?));
    parts.enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8]) -> Result<Vec<Row<'_>>, CollectError> {
        whole(|skipped| crate::collectors::softirqs::parse(bytes, skipped))
    }

    #[test]
    fn every_kind_has_a_number_for_each_cpu() {
        let rows = parse(b"   CPU0 CPU1\n HI: 3 0\n NET_RX: 1 2\n").unwrap();
        let row = |cpu: &str, kind: &'static str, count| (cpu.to_owned(), kind.as_bytes(), count);
        assert_eq!(
            rows,
            [
                row("0", "HI", 3),
                row("1", "HI", 0),
                row("0", "NET_RX", 1),
                row("1", "NET_RX", 2)
            ]
        );
        for file in ["CPU0\nHI 1\n", "CPU0\nHI: x\n"] {
            assert!(parse(file.as_bytes()).is_err(), "{file:?}");
        }
    }
}
