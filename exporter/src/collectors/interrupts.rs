//! `interrupts`: interrupts by line and CPU, from `/proc/interrupts`.

use crate::collect::device_filter::DeviceFilter;
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

const EXCLUDE: &str = "collector.interrupts.name-exclude";
const INCLUDE: &str = "collector.interrupts.name-include";
const INCLUDE_ZEROS: &str = "collector.interrupts.include-zeros";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "interrupts",
    default_enabled: false,
    summary: "Interrupts by line and CPU, from /proc/interrupts.",
    options: &[
        OptionSpec::switch(
            INCLUDE_ZEROS,
            "true",
            "Also show interrupts that a CPU has never handled.",
        ),
        OptionSpec::pattern(
            EXCLUDE,
            "",
            "Regular expression of interrupts to leave out, matched against TYPE;INFO;DEVICES.",
        ),
        OptionSpec::pattern(
            INCLUDE,
            "",
            "Regular expression of interrupts to show, matched against TYPE;INFO;DEVICES.",
        ),
    ],
    build,
};

const FILE: &str = "interrupts";

struct Interrupts {
    file: KeptFile,
    filter: DeviceFilter,
    include_zeros: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    cpu: String,
    devices: Vec<u8>,
    info: Vec<u8>,
    kind: Vec<u8>,
    count: u64,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Interrupts {
        file: KeptFile::new(context.procfs(FILE)),
        filter: DeviceFilter::from_both(context, EXCLUDE, INCLUDE)?,
        include_zeros: context.switch(INCLUDE_ZEROS)?,
    }))
}

impl Collector for Interrupts {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let mut rows = parse(self.file.read()?, &self.filter, &mut skipped);
        rows.retain(|row| self.include_zeros || row.count > 0);
        rows.sort_unstable();
        let help = "Interrupts handled, by line and CPU.";
        let mut family = out.family(&["node_interrupts_total"], &[help], MetricKind::Counter);
        for row in &rows {
            family.sample(
                &[
                    ("cpu", row.cpu.as_bytes()),
                    ("devices", &row.devices),
                    ("info", &row.info),
                    ("type", &row.kind),
                ],
                row.count,
            );
        }
        skipped.result()
    }
}

/// After a line with the CPUs, each interrupt has a line: its name, a number for each CPU, and a description. Lines without
/// a description, which count errors of the whole host, have no metric.
fn parse(bytes: &[u8], filter: &DeviceFilter, skipped: &mut Skipped) -> Vec<Row> {
    let mut lines = lines(bytes);
    let cpus = fields(lines.next().unwrap_or_default()).count();
    let mut rows = Vec::new();
    for line in lines {
        let read = parse_line(line, cpus, filter);
        rows.extend(skipped.line(FILE, line, read).into_iter().flatten());
    }
    rows
}

/// The rows of a line; `None` if it contains a word where a number is expected.
fn parse_line(line: &[u8], cpus: usize, filter: &DeviceFilter) -> Option<Vec<Row>> {
    // On some machines there is no blank after the colon.
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Some(Vec::new());
    };
    let (kind, rest) = line.split_at_checked(colon)?;
    let kind = kind.trim_ascii_start();
    let columns: Vec<&[u8]> = fields(rest.get(1..)?).collect();
    let Some((counts, [first, more @ ..])) = columns.split_at_checked(cpus) else {
        return Some(Vec::new());
    };
    let (info, devices) = match parse_u64(kind) {
        Some(_) => (first.to_vec(), more.join(b" ".as_slice())),
        None => ([&[*first], more].concat().join(b" ".as_slice()), Vec::new()),
    };
    if filter.ignores(&[kind, &info, &devices].join(b";".as_slice())) {
        return Some(Vec::new());
    }
    let row = |(cpu, count): (usize, &&[u8])| {
        Some(Row {
            cpu: cpu.to_string(),
            devices: devices.clone(),
            info: info.clone(),
            kind: kind.to_vec(),
            count: parse_u64(count)?,
        })
    };
    counts.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8], filter: &DeviceFilter) -> Result<Vec<Row>, CollectError> {
        whole(|skipped| crate::collectors::interrupts::parse(bytes, filter, skipped))
    }

    #[test]
    fn lines_of_devices_and_of_the_cpu_are_distinguished() {
        let file = b"      CPU0 CPU1\n 24: 3 0 IO-APIC 5-edge ACPI:Ged\nNMI:1 2 Non-maskable interrupts\nERR: 0\nMIS: 0\n";
        let rows = parse(file, &DeviceFilter::default()).unwrap();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let words = [text(&row.kind), text(&row.info), text(&row.devices)];
                (row.cpu.as_str(), words.join("|"), row.count)
            })
            .collect();
        let (device, cpu) = (
            "24|IO-APIC|5-edge ACPI:Ged".to_owned(),
            "NMI|Non-maskable interrupts|".to_owned(),
        );
        assert_eq!(
            seen,
            [
                ("0", device.clone(), 3),
                ("1", device, 0),
                ("0", cpu.clone(), 1),
                ("1", cpu, 2),
            ]
        );
        assert!(parse(b"CPU0\n1: x IO-APIC\n", &DeviceFilter::default()).is_err());
    }
}
