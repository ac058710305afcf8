//! `qdisc`: the root queueing discipline of each network device, over netlink.

use crate::collect::device_filter::{DeviceFilter, FilterFlags};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::Exposition;
use crate::exposition::MetricKind::{self, Counter, Gauge};
use crate::sources::{Deadline, Netlink, attributes, u32_at, u64_at};

const FLAGS: FilterFlags = FilterFlags {
    exclude: "collector.qdisc.device-exclude",
    include: "collector.qdisc.device-include",
    former_exclude: Some("collector.qdisk.device-exclude"),
    former_include: Some("collector.qdisk.device-include"),
};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "qdisc",
    default_enabled: false,
    summary: "Queueing discipline of each network device.",
    options: &[
        OptionSpec::pattern(
            FLAGS.exclude,
            "",
            "Regular expression of network devices to leave out.",
        ),
        OptionSpec::pattern(
            FLAGS.include,
            "",
            "Regular expression of network devices to show.",
        ),
        OptionSpec::former("collector.qdisk.device-exclude", FLAGS.exclude),
        OptionSpec::former("collector.qdisk.device-include", FLAGS.include),
    ],
    build,
};

/// `RTM_GETQDISC`
const GET_DISCIPLINES: u16 = 38;
/// `struct tcmsg`; a request without a device asks for all.
const HEADER: usize = 20;
/// `TC_H_ROOT`
const ROOT: u32 = u32::MAX;
/// `TCA_KIND`
const KIND: u16 = 1;
/// `TCA_STATS2`, which holds the two below.
const STATISTICS: u16 = 7;
/// `TCA_STATS_BASIC`
const BASIC: u16 = 1;
/// `TCA_STATS_QUEUE`
const QUEUE: u16 = 3;

struct Qdisc {
    netlink: Netlink,
    filter: DeviceFilter,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Discipline {
    device: u32,
    kind: Vec<u8>,
    bytes: u64,
    packets: u32,
    length: u32,
    backlog: u32,
    drops: u32,
    requeues: u32,
    overlimits: u32,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Qdisc {
        netlink: Netlink::routing(),
        filter: DeviceFilter::from_flags(context, FLAGS)?,
    }))
}

impl Collector for Qdisc {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let mut disciplines = Vec::new();
        self.netlink.until(deadline).dump(
            "queueing disciplines",
            GET_DISCIPLINES,
            &[0; HEADER],
            |entry| disciplines.extend(parse(entry)),
        )?;
        let mut rows = Vec::new();
        for discipline in disciplines {
            if let Some(device) = self.netlink.device_name(discipline.device)
                && !self.filter.ignores(device.as_bytes())
            {
                rows.push((device.as_bytes().to_vec(), discipline));
            }
        }
        rows.sort_unstable_by(|(a, of_a), (b, of_b)| (a, &of_a.kind).cmp(&(b, &of_b.kind)));
        write(&rows, out);
        Ok(())
    }
}

/// A discipline, unless it serves as a part of another one.
fn parse(entry: &[u8]) -> Option<Discipline> {
    let mut discipline = Discipline {
        device: u32_at(entry, 4)?,
        ..Discipline::default()
    };
    if !matches!(u32_at(entry, 12)?, 0 | ROOT) {
        return None;
    }
    for (kind, value) in attributes(entry.get(HEADER..)?) {
        match kind {
            KIND => discipline.kind = value.strip_suffix(b"\0").unwrap_or(value).to_vec(),
            STATISTICS => discipline.take(value)?,
            _ => {}
        }
    }
    Some(discipline)
}

impl Discipline {
    fn take(&mut self, statistics: &[u8]) -> Option<()> {
        for (kind, value) in attributes(statistics) {
            match kind {
                BASIC => {
                    self.bytes = u64_at(value, 0)?;
                    self.packets = u32_at(value, 8)?;
                }
                QUEUE => {
                    self.length = u32_at(value, 0)?;
                    self.backlog = u32_at(value, 4)?;
                    self.drops = u32_at(value, 8)?;
                    self.requeues = u32_at(value, 12)?;
                    self.overlimits = u32_at(value, 16)?;
                }
                _ => {}
            }
        }
        Some(())
    }
}

type Column = fn(&Discipline) -> u64;

fn write(rows: &[(Vec<u8>, Discipline)], out: &mut Exposition) {
    let columns: [(&str, &str, MetricKind, Column); 7] = [
        ("backlog", "Bytes waiting to be sent.", Gauge, |row| {
            row.backlog.into()
        }),
        ("bytes_total", "Bytes sent.", Counter, |row| row.bytes),
        (
            "current_queue_length",
            "Packets waiting to be sent.",
            Gauge,
            |row| row.length.into(),
        ),
        ("drops_total", "Packets dropped.", Counter, |row| {
            row.drops.into()
        }),
        (
            "overlimits_total",
            "Packets that exceeded a limit.",
            Counter,
            |row| row.overlimits.into(),
        ),
        ("packets_total", "Packets sent.", Counter, |row| {
            row.packets.into()
        }),
        (
            "requeues_total",
            "Packets requeued because the device did not accept them.",
            Counter,
            |row| row.requeues.into(),
        ),
    ];
    for (name, help, kind, value) in columns {
        let mut family = out.family(&["node_qdisc_", name], &[help], kind);
        for (device, discipline) in rows {
            family.sample(
                &[("device", device), ("kind", &discipline.kind)],
                value(discipline),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::attribute;

    fn entry(parent: u32) -> Vec<u8> {
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_ne_bytes()).collect()
        };
        let basic = [&u64::MAX.to_ne_bytes()[..], &words(&[7, 0])].concat();
        let queue = words(&[1, 2, 3, 4, 5]);
        let statistics = [attribute(BASIC, &basic), attribute(QUEUE, &queue)].concat();
        [
            words(&[0, 9, 0x8001_0000, parent, 0]),
            attribute(KIND, b"fq_codel\0"),
            attribute(STATISTICS, &statistics),
        ]
        .concat()
    }

    #[test]
    fn a_root_discipline_is_read_and_a_part_of_one_is_not() {
        let expected = Discipline {
            device: 9,
            kind: b"fq_codel".to_vec(),
            bytes: u64::MAX,
            packets: 7,
            length: 1,
            backlog: 2,
            drops: 3,
            requeues: 4,
            overlimits: 5,
        };
        assert_eq!(parse(&entry(ROOT)), Some(expected));
        assert!(parse(&entry(0)).is_some());
        assert_eq!(parse(&entry(0x8001_0001)), None);
        assert_eq!(parse(&entry(ROOT)[..16]), None);
    }
}
