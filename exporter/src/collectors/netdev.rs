//! `netdev`: traffic of each network device, from `/proc/net/dev`.
//!
//! The kernel prints this file for the network namespace of whoever opens it; its columns are sums of the finer
//! counters of netlink, the same sums by which node_exporter keeps its names. The finer counters themselves, and packets
//! without a handler, come from sysfs, which has the same numbers as netlink.

mod addresses;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::addresses::Addresses;
use crate::collect::device_filter::{DeviceFilter, FilterFlags};
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, Family, MetricKind};
use crate::sources::{
    Deadline, Directory, KeptFile, ReadError, fields, lines, list_devices, parse_u64, trim,
};

const FLAGS: FilterFlags = FilterFlags {
    exclude: "collector.netdev.device-exclude",
    include: "collector.netdev.device-include",
    former_exclude: Some("collector.netdev.device-blacklist"),
    former_include: Some("collector.netdev.device-whitelist"),
};

const ADDRESS_INFO: &str = "collector.netdev.address-info";
const DETAILED: &str = "collector.netdev.enable-detailed-metrics";
const LABEL_ALIAS: &str = "collector.netdev.label-ifalias";
const NETLINK: &str = "collector.netdev.netlink";

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
        OptionSpec::switch(
            ADDRESS_INFO,
            "false",
            "Show the IP addresses of each device.",
        ),
        OptionSpec::switch(
            DETAILED,
            "false",
            "Show the kernel's own counters, under other names, instead of the sums in /proc/net/dev.",
        ),
        OptionSpec::switch(
            LABEL_ALIAS,
            "false",
            "Add the device's alias as the label ifalias.",
        ),
        OptionSpec::switch(
            NETLINK,
            "true",
            "Show all that netlink would; off, only what is in /proc/net/dev.",
        ),
        OptionSpec::former("collector.netdev.device-blacklist", FLAGS.exclude),
        OptionSpec::former("collector.netdev.device-whitelist", FLAGS.include),
    ],
    build,
};

const FILE: &str = "net/dev";
/// The lines of headings above the devices.
const HEADINGS: usize = 2;
/// The columns of a device's line.
const COLUMNS: usize = 16;
/// The columns as node_exporter names them.
const SUMS: [&str; COLUMNS] = [
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
/// The columns where neither netlink nor the older names are wanted.
const SUMS_NAMED_ANEW: [&str; COLUMNS] = [
    "receive_bytes",
    "receive_packets",
    "receive_errors",
    "receive_dropped",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errors",
    "transmit_dropped",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];
/// The kernel's own counters: the file in sysfs and the name.
const DETAILS: [(&str, &str); 24] = [
    ("collisions", "collisions"),
    ("multicast", "multicast"),
    ("rx_bytes", "receive_bytes"),
    ("rx_compressed", "receive_compressed"),
    ("rx_crc_errors", "receive_crc_errors"),
    ("rx_dropped", "receive_dropped"),
    ("rx_errors", "receive_errors"),
    ("rx_fifo_errors", "receive_fifo_errors"),
    ("rx_frame_errors", "receive_frame_errors"),
    ("rx_length_errors", "receive_length_errors"),
    ("rx_missed_errors", "receive_missed_errors"),
    ("rx_nohandler", NO_HANDLER),
    ("rx_over_errors", "receive_over_errors"),
    ("rx_packets", "receive_packets"),
    ("tx_aborted_errors", "transmit_aborted_errors"),
    ("tx_bytes", "transmit_bytes"),
    ("tx_carrier_errors", "transmit_carrier_errors"),
    ("tx_compressed", "transmit_compressed"),
    ("tx_dropped", "transmit_dropped"),
    ("tx_errors", "transmit_errors"),
    ("tx_fifo_errors", "transmit_fifo_errors"),
    ("tx_heartbeat_errors", "transmit_heartbeat_errors"),
    ("tx_packets", "transmit_packets"),
    ("tx_window_errors", "transmit_window_errors"),
];
const NO_HANDLER: &str = "receive_nohandler";

struct Netdev {
    file: KeptFile,
    devices: Devices,
    view: View,
    label_alias: bool,
    addresses: Option<Addresses>,
}

/// Which counters are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// The columns of the file, and packets without a handler.
    Default,
    /// The columns of the file alone.
    File(&'static [&'static str; COLUMNS]),
    /// [`DETAILS`]
    Details,
}

/// The devices of the last scrape, in order of name.
struct Devices {
    filter: DeviceFilter,
    class: PathBuf,
    known: Vec<Device>,
    buffer: Vec<u8>,
}

struct Device {
    name: Vec<u8>,
    ignored: bool,
    present: bool,
    counters: [u64; COLUMNS],
    details: [Option<u64>; DETAILS.len()],
    alias: Option<Vec<u8>>,
    /// Of its directory, where that was seen. Another device that took its name has another.
    inode: Option<u64>,
    no_handler: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let filter = DeviceFilter::from_flags(context, FLAGS)?;
    let devices = Devices {
        filter,
        class: context.sysfs("class/net"),
        known: Vec::new(),
        buffer: Vec::new(),
    };
    let view = match (context.switch(NETLINK)?, context.switch(DETAILED)?) {
        (true, false) => View::Default,
        (true, true) => View::Details,
        (false, false) => View::File(&SUMS),
        (false, true) => View::File(&SUMS_NAMED_ANEW),
    };
    Ok(Box::new(Netdev {
        file: KeptFile::new(context.procfs(FILE)),
        devices,
        view,
        label_alias: context.switch(LABEL_ALIAS)?,
        addresses: context.switch(ADDRESS_INFO)?.then(Addresses::default),
    }))
}

impl Collector for Netdev {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        self.devices.update(self.file.read()?, &mut skipped);
        if self.label_alias {
            self.devices.read_aliases()?;
        }
        match self.view {
            View::Default => {
                self.devices.write_columns(&SUMS, out);
                self.devices.follow_renames();
                self.devices.write_no_handler(out);
            }
            View::File(names) => self.devices.write_columns(names, out),
            View::Details => {
                self.devices.read_details()?;
                self.devices.write_details(out);
            }
        }
        match &mut self.addresses {
            Some(addresses) => skipped.part(addresses.collect(&self.devices.filter, out, deadline)),
            None => None,
        };
        skipped.result()
    }
}

impl Devices {
    fn update(&mut self, bytes: &[u8], skipped: &mut Skipped) {
        for device in &mut self.known {
            device.present = false;
        }
        for line in lines(bytes).skip(HEADINGS) {
            let Some((name, counters)) = skipped.line(FILE, line, parse(line)) else {
                continue;
            };
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
    }

    fn meet(&self, name: &[u8]) -> Device {
        Device {
            name: name.to_vec(),
            ignored: self.filter.ignores(name),
            present: true,
            counters: Default::default(),
            details: Default::default(),
            alias: None,
            inode: None,
            no_handler: KeptFile::new(no_handler(&self.class, name)),
        }
    }

    /// Lets go of the files of devices whose names others have now.
    fn follow_renames(&mut self) {
        // In a container the class may be hidden; then there is nothing to read either.
        let listed = list_devices(&self.class).unwrap_or_default();
        for device in shown(&mut self.known) {
            let found = listed.binary_search_by(|(name, _)| name.cmp(&device.name));
            let inode = found.ok().and_then(|place| listed.get(place));
            let inode = inode.map(|(_, inode)| *inode);
            if device.inode != inode {
                device.inode = inode;
                device.no_handler = KeptFile::new(no_handler(&self.class, &device.name));
            }
        }
    }

    fn read_aliases(&mut self) -> Result<(), ReadError> {
        for device in shown(&mut self.known) {
            let path = self.class.join(OsStr::from_bytes(&device.name));
            device.alias = match Directory::open_if_present(path)? {
                Some(directory) => {
                    let alias = directory.read("ifalias", &mut self.buffer)?;
                    Some(alias.unwrap_or_default().to_vec())
                }
                None => None,
            };
        }
        Ok(())
    }

    fn read_details(&mut self) -> Result<(), ReadError> {
        for device in shown(&mut self.known) {
            let path = self.class.join(OsStr::from_bytes(&device.name));
            device.details = Default::default();
            let Some(statistics) = Directory::open_if_present(path.join("statistics"))? else {
                continue;
            };
            for (slot, (file, _)) in device.details.iter_mut().zip(DETAILS) {
                *slot = statistics.read(file, &mut self.buffer)?.and_then(parse_u64);
            }
        }
        Ok(())
    }

    fn write_columns(&mut self, names: &[&str; COLUMNS], out: &mut Exposition) {
        for (column, name) in names.iter().enumerate() {
            let mut family = family(name, out);
            for device in shown(&mut self.known) {
                let count = device.counters.get(column).copied().unwrap_or_default();
                device.write(count, &mut family);
            }
        }
    }

    fn write_no_handler(&mut self, out: &mut Exposition) {
        let mut family = family(NO_HANDLER, out);
        for device in shown(&mut self.known) {
            // A device may have gone since the file was read, and in a container it may be hidden.
            if let Some(count) = device.no_handler.read().ok().map(trim).and_then(parse_u64) {
                device.write(count, &mut family);
            }
        }
    }

    fn write_details(&mut self, out: &mut Exposition) {
        for (place, (_, name)) in DETAILS.into_iter().enumerate() {
            let mut family = family(name, out);
            for device in shown(&mut self.known) {
                if let Some(count) = device.details.get(place).copied().flatten() {
                    device.write(count, &mut family);
                }
            }
        }
    }
}

impl Device {
    fn write(&self, count: u64, family: &mut Family<'_>) {
        match &self.alias {
            Some(alias) => family.sample(&[("device", &self.name), ("ifalias", alias)], count),
            None => family.sample(&[("device", &self.name)], count),
        }
    }
}

fn no_handler(class: &Path, name: &[u8]) -> PathBuf {
    let device = class.join(OsStr::from_bytes(name));
    device.join("statistics/rx_nohandler")
}

fn shown(devices: &mut [Device]) -> impl Iterator<Item = &mut Device> {
    devices.iter_mut().filter(|device| !device.ignored)
}

fn family<'a>(name: &str, out: &'a mut Exposition) -> Family<'a> {
    out.family(
        &["node_network_", name, "_total"],
        &["Network devices: ", name, "."],
        MetricKind::Counter,
    )
}

fn parse(line: &[u8]) -> Option<(&[u8], [u64; COLUMNS])> {
    // An alias may have a colon in its name; the counters have none.
    let colon = line.iter().rposition(|&byte| byte == b':')?;
    let (name, rest) = line.split_at_checked(colon)?;
    let mut counters = [0; COLUMNS];
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
            buffer: Vec::new(),
        };
        let line = |name: &str| format!("{name}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        let file = |names: &[&str]| {
            format!(
                "heading\nheading\n{}",
                names.iter().map(|name| line(name)).collect::<String>()
            )
        };
        let mut names_after = |names: &[&str]| {
            devices.update(file(names).as_bytes(), &mut Skipped::default());
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

    #[test]
    fn what_is_kept_open_follows_the_device_that_has_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let class = folder.path().join("class");
        std::fs::create_dir(&class).unwrap();
        for (name, count) in [("a", "1"), ("b", "2")] {
            let device = folder.path().join(count);
            std::fs::create_dir_all(device.join("statistics")).unwrap();
            std::fs::write(device.join("statistics/rx_nohandler"), count).unwrap();
            std::os::unix::fs::symlink(device, class.join(name)).unwrap();
        }
        let mut devices = Devices {
            filter: DeviceFilter::default(),
            class: class.clone(),
            known: Vec::new(),
            buffer: Vec::new(),
        };
        let line = |name: &str| format!("{name}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        let file = format!("heading\nheading\n{}{}", line("a"), line("b"));
        let mut look = || {
            devices.update(file.as_bytes(), &mut Skipped::default());
            devices.follow_renames();
            let inodes: Vec<_> = devices.known.iter().map(|device| device.inode).collect();
            let counts = devices.known.iter_mut();
            let counts: Vec<_> = counts
                .map(|device| parse_u64(device.no_handler.read().unwrap()).unwrap())
                .collect();
            (inodes, counts)
        };
        let (before, counts) = look();
        assert_eq!(counts, [1, 2]);
        for (from, to) in [("a", "x"), ("b", "a"), ("x", "b")] {
            std::fs::rename(class.join(from), class.join(to)).unwrap();
        }
        let (after, counts) = look();
        assert_eq!(counts, [2, 1]);
        assert_eq!(after, [before[1], before[0]]);
    }
}
