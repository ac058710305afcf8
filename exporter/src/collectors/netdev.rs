//! `netdev`: traffic of each network device, from `/proc/net/dev`.
//!
//! The kernel prints this file for the network namespace of whoever opens it; its columns are sums of the finer
//! counters of netlink, the same sums by which node_exporter keeps its names. Packets without a handler are not among
//! them and come from sysfs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::device_filter::{DeviceFilter, FilterFlags};
use super::{BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{KeptFile, fields, lines, parse_u64, trim};

const FLAGS: FilterFlags = FilterFlags {
    exclude: "collector.netdev.device-exclude",
    include: "collector.netdev.device-include",
    former_exclude: Some("collector.netdev.device-blacklist"),
    former_include: Some("collector.netdev.device-whitelist"),
};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "netdev",
    default_enabled: true,
    summary: "Traffic of each network device, from /proc/net/dev.",
    options: &[
        OptionSpec::pattern(
            FLAGS.exclude,
            "",
            "Regular expression of network devices to leave out.",
        ),
        OptionSpec::pattern(
            FLAGS.include,
            "",
            "Regular expression of the only network devices to show.",
        ),
        OptionSpec::former("collector.netdev.device-blacklist", FLAGS.exclude),
        OptionSpec::former("collector.netdev.device-whitelist", FLAGS.include),
    ],
    build,
};

const FILE: &str = "net/dev";
/// The lines of headings above the devices.
const HEADINGS: usize = 2;
/// The columns of a device's line as node_exporter names them.
const COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

struct Netdev {
    file: KeptFile,
    devices: Devices,
}

/// The devices of the last scrape, in order of name.
struct Devices {
    filter: DeviceFilter,
    class: PathBuf,
    known: Vec<Device>,
}

struct Device {
    name: Vec<u8>,
    ignored: bool,
    present: bool,
    counters: [u64; COLUMNS.len()],
    no_handler: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let filter = DeviceFilter::from_flags(context, FLAGS)?;
    let devices = Devices {
        filter,
        class: context.sysfs("class/net"),
        known: Vec::new(),
    };
    Ok(Box::new(Netdev {
        file: KeptFile::new(context.procfs(FILE)),
        devices,
    }))
}

impl Collector for Netdev {
    fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
        self.devices.update(self.file.read()?)?;
        self.devices.write(out);
        Ok(())
    }
}

impl Devices {
    fn update(&mut self, bytes: &[u8]) -> Result<(), CollectError> {
        for device in &mut self.known {
            device.present = false;
        }
        for line in lines(bytes).skip(HEADINGS) {
            let (name, counters) =
                parse(line).ok_or_else(|| CollectError::malformed(FILE, line))?;
            let device = match self
                .known
                .binary_search_by(|device| device.name.as_slice().cmp(name))
            {
                Ok(place) => self.known.get_mut(place),
                Err(place) => {
                    let device = self.meet(name);
                    self.known.insert(place, device);
                    self.known.get_mut(place)
                }
            };
            if let Some(device) = device {
                device.present = true;
                device.counters = counters;
            }
        }
        self.known.retain(|device| device.present);
        Ok(())
    }

    fn meet(&self, name: &[u8]) -> Device {
        let no_handler = self
            .class
            .join(OsStr::from_bytes(name))
            .join("statistics/rx_nohandler");
        Device {
            name: name.to_vec(),
            ignored: self.filter.ignores(name),
            present: true,
            counters: Default::default(),
            no_handler: KeptFile::new(no_handler),
        }
    }

    fn write(&mut self, out: &mut Exposition) {
        for (column, name) in COLUMNS.iter().enumerate() {
            let mut family = out.family(
                &["node_network_", name, "_total"],
                &["Network devices: ", name, "."],
                MetricKind::Counter,
            );
            for device in self.known.iter().filter(|device| !device.ignored) {
                let count = device.counters.get(column).copied().unwrap_or_default();
                family.sample(&[("device", &device.name)], count);
            }
        }
        let help = "Network devices: receive_nohandler.";
        let mut family = out.family(
            &["node_network_receive_nohandler_total"],
            &[help],
            MetricKind::Counter,
        );
        for device in self.known.iter_mut().filter(|device| !device.ignored) {
            // A device may have gone since the file was read, and in a container it may be hidden.
            if let Some(count) = device.no_handler.read().ok().map(trim).and_then(parse_u64) {
                family.sample(&[("device", &device.name)], count);
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<(&[u8], [u64; COLUMNS.len()])> {
    // An alias may have a colon in its name; the counters have none.
    let colon = line.iter().rposition(|&byte| byte == b':')?;
    let (name, rest) = line.split_at_checked(colon)?;
    let mut counters = [0; COLUMNS.len()];
    let mut columns = fields(rest.get(1..)?);
    for slot in &mut counters {
        *slot = columns.next().and_then(parse_u64)?;
    }
    Some((trim(name), counters)).filter(|(name, _)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_sixteen_counters() {
        let (name, counters) = parse(b"  eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").unwrap();
        assert_eq!(name, b"eth0:1");
        assert_eq!(counters.to_vec(), (1..=16).collect::<Vec<u64>>());
        assert_eq!(
            parse(b"lo:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16")
                .unwrap()
                .0,
            b"lo"
        );
        assert!(parse(b"eth0: 1 2 3").is_none());
        assert!(parse(b"eth0 1 2 3").is_none());
        assert!(parse(b" : 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").is_none());
    }

    #[test]
    fn devices_come_and_go() {
        let mut devices = Devices {
            filter: DeviceFilter::default(),
            class: "/nonexistent".into(),
            known: Vec::new(),
        };
        let line = |name: &str| format!("{name}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        let file = |names: &[&str]| {
            format!(
                "heading\nheading\n{}",
                names.iter().map(|name| line(name)).collect::<String>()
            )
        };
        let mut names_after = |names: &[&str]| {
            devices.update(file(names).as_bytes()).unwrap();
            devices
                .known
                .iter()
                .map(|device| String::from_utf8(device.name.clone()).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(names_after(&["lo", "eth1", "eth0"]), ["eth0", "eth1", "lo"]);
        assert_eq!(
            names_after(&["veth9", "lo", "eth0"]),
            ["eth0", "lo", "veth9"]
        );
    }
}
