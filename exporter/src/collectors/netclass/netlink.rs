//! `netclass` over netlink: one answer of the kernel instead of twenty files for each network device.
//!
//! The names are those of the files, with differences of node_exporter's own: alternative names are added, the
//! administrative state is not known, `dormant` repeats the link mode, and the speed comes from ethtool's netlink.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::link_modes::{LinkMode, LinkModes};
use crate::collect::Pattern;
use crate::collect::{CollectError, Collector};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{
    Deadline, Directory, Netlink, ReadError, attributes, hardware_address, parse_prefixed, u16_at,
    u32_at, u64_at,
};

/// `RTM_GETLINK`
const GET_LINKS: u16 = 18;
/// `struct ifinfomsg`; a request without an index asks for all.
const HEADER: usize = 16;
/// The operational states of RFC 2863 by their numbers in the kernel.
const STATES: [&str; 7] = [
    "unknown",
    "notpresent",
    "down",
    "lowerlayerdown",
    "testing",
    "dormant",
    "up",
];
const UP: u8 = 6;
/// `struct rtnl_link_stats64` in its order.
const STATISTICS: [&str; 24] = [
    "receive_packets_total",
    "transmit_packets_total",
    "receive_bytes_total",
    "transmit_bytes_total",
    "receive_errors_total",
    "transmit_errors_total",
    "receive_dropped_total",
    "transmit_dropped_total",
    "multicast_total",
    "collisions_total",
    "receive_length_errors_total",
    "receive_over_errors_total",
    "receive_crc_errors_total",
    "receive_frame_errors_total",
    "receive_fifo_errors_total",
    "receive_missed_errors_total",
    "transmit_aborted_errors_total",
    "transmit_carrier_errors_total",
    "transmit_fifo_errors_total",
    "transmit_heartbeat_errors_total",
    "transmit_window_errors_total",
    "receive_compressed_total",
    "transmit_compressed_total",
    "receive_nohandler_total",
];
/// The attributes of a link under the kernel's names.
mod attribute {
    pub const IFLA_ADDRESS: u16 = 1;
    pub const IFLA_BROADCAST: u16 = 2;
    pub const IFLA_IFNAME: u16 = 3;
    pub const IFLA_MTU: u16 = 4;
    pub const IFLA_LINK: u16 = 5;
    pub const IFLA_TXQLEN: u16 = 13;
    pub const IFLA_OPERSTATE: u16 = 16;
    pub const IFLA_LINKMODE: u16 = 17;
    pub const IFLA_IFALIAS: u16 = 20;
    pub const IFLA_STATS64: u16 = 23;
    pub const IFLA_GROUP: u16 = 27;
    pub const IFLA_CARRIER: u16 = 33;
    pub const IFLA_CARRIER_CHANGES: u16 = 35;
    pub const IFLA_CARRIER_UP_COUNT: u16 = 47;
    pub const IFLA_CARRIER_DOWN_COUNT: u16 = 48;
    pub const IFLA_PROP_LIST: u16 = 52;
    pub const IFLA_ALT_IFNAME: u16 = 53;
}
/// What netlink does not tell: files that cost no more than a lock of their device.
const FILES: [&str; 3] = ["addr_assign_type", "dev_id", "name_assign_type"];

/// The collector.
pub(super) struct NetclassNetlink {
    class: PathBuf,
    ignored: Option<Pattern>,
    with_statistics: bool,
    netlink: Netlink,
    link_modes: LinkModes,
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Device {
    name: Vec<u8>,
    index: u32,
    kind: u16,
    flags: u32,
    address: Vec<u8>,
    broadcast: Vec<u8>,
    alias: Vec<u8>,
    other_names: Vec<Vec<u8>>,
    state: u8,
    mtu: u32,
    lower: u32,
    carrier: Option<u8>,
    carrier_changes: Option<u32>,
    carrier_ups: Option<u32>,
    carrier_downs: Option<u32>,
    group: Option<u32>,
    mode: Option<u8>,
    queue: Option<u32>,
    statistics: Option<[u64; STATISTICS.len()]>,
    files: [Option<u64>; FILES.len()],
    link_mode: Option<LinkMode>,
}

type Number = fn(&Device) -> Option<u64>;
/// The numbers: the rest of the metric's name, and the value.
const NUMBERS: [(&str, Number); 17] = [
    ("address_assign_type", |device| device.files[0]),
    ("carrier", |device| device.carrier.map(u64::from)),
    ("carrier_changes_total", |device| {
        device.carrier_changes.map(u64::from)
    }),
    ("carrier_down_changes_total", |device| {
        device.carrier_downs.map(u64::from)
    }),
    ("carrier_up_changes_total", |device| {
        device.carrier_ups.map(u64::from)
    }),
    ("device_id", |device| device.files[1]),
    ("dormant", |device| device.mode.map(u64::from)),
    ("flags", |device| Some(device.flags.into())),
    ("iface_id", |device| Some(device.index.into())),
    ("iface_link", |device| Some(device.lower_or_own().into())),
    ("iface_link_mode", |device| device.mode.map(u64::from)),
    ("mtu_bytes", |device| Some(device.mtu.into())),
    ("name_assign_type", |device| device.files[2]),
    ("net_dev_group", |device| device.group.map(u64::from)),
    ("protocol_type", |device| Some(device.kind.into())),
    ("speed_bytes", |device| {
        device.link_mode.map(LinkMode::bytes_per_second)
    }),
    ("transmit_queue_length", |device| {
        device.queue.map(u64::from)
    }),
];

impl NetclassNetlink {
    /// Reads devices below `class`, which is `class/net` of sysfs, besides netlink.
    pub(super) fn new(class: PathBuf, ignored: Option<Pattern>, with_statistics: bool) -> Self {
        Self {
            class,
            ignored,
            with_statistics,
            netlink: Netlink::routing(),
            link_modes: LinkModes::default(),
            buffer: Vec::new(),
        }
    }

    fn look(&mut self, deadline: Deadline) -> Result<Vec<Device>, CollectError> {
        let mut devices = Vec::new();
        self.netlink
            .until(deadline)
            .dump("network devices", GET_LINKS, &[0; HEADER], |entry| {
                devices.extend(parse(entry));
            })?;
        let ignored = self.ignored.as_ref();
        devices.retain(|device| !ignored.is_some_and(|pattern| pattern.is_match(&device.name)));
        devices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let modes = self.link_modes.read(deadline)?;
        for device in &mut devices {
            device.link_mode = modes.get(&device.index).copied();
            self.read_files(device)?;
        }
        Ok(devices)
    }

    fn read_files(&mut self, device: &mut Device) -> Result<(), ReadError> {
        let path = self.class.join(OsStr::from_bytes(&device.name));
        let Some(directory) = Directory::open_if_present(path)? else {
            return Ok(());
        };
        for (slot, file) in device.files.iter_mut().zip(FILES) {
            *slot = directory
                .read(file, &mut self.buffer)?
                .and_then(parse_prefixed);
        }
        Ok(())
    }
}

impl Collector for NetclassNetlink {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let devices = self.look(deadline)?;
        for (name, number) in NUMBERS {
            let kind = if name.ends_with("_total") {
                MetricKind::Counter
            } else {
                MetricKind::Gauge
            };
            write_number(name, kind, &devices, number, out);
        }
        if self.with_statistics {
            for (place, name) in STATISTICS.into_iter().enumerate() {
                let count = |device: &Device| device.statistics?.get(place).copied();
                write_number(name, MetricKind::Gauge, &devices, count, out);
            }
        }
        write_number(
            "up",
            MetricKind::Gauge,
            &devices,
            |device| Some(u64::from(device.state == UP)),
            out,
        );
        write_words(&devices, out);
        write_other_names(&devices, out);
        Ok(())
    }
}

/// A `struct ifinfomsg` and its attributes.
fn parse(entry: &[u8]) -> Option<Device> {
    let mut device = Device {
        kind: u16_at(entry, 2)?,
        index: u32_at(entry, 4)?,
        flags: u32_at(entry, 8)?,
        ..Device::default()
    };
    for (kind, value) in attributes(entry.get(HEADER..)?) {
        device.take(kind, value);
    }
    Some(device).filter(|device| !device.name.is_empty())
}

impl Device {
    /// Takes an attribute, if it is one that is shown.
    fn take(&mut self, kind: u16, value: &[u8]) {
        let number = || u32_at(value, 0);
        let byte = || value.first().copied();
        match kind {
            attribute::IFLA_ADDRESS => self.address = value.to_vec(),
            attribute::IFLA_BROADCAST => self.broadcast = value.to_vec(),
            attribute::IFLA_IFNAME => self.name = text(value).to_vec(),
            attribute::IFLA_MTU => self.mtu = number().unwrap_or_default(),
            attribute::IFLA_LINK => self.lower = number().unwrap_or_default(),
            attribute::IFLA_TXQLEN => self.queue = number(),
            attribute::IFLA_OPERSTATE => self.state = byte().unwrap_or_default(),
            attribute::IFLA_LINKMODE => self.mode = byte(),
            attribute::IFLA_IFALIAS => self.alias = text(value).to_vec(),
            attribute::IFLA_STATS64 => self.statistics = statistics(value),
            attribute::IFLA_GROUP => self.group = number(),
            attribute::IFLA_CARRIER => self.carrier = byte(),
            attribute::IFLA_CARRIER_CHANGES => self.carrier_changes = number(),
            attribute::IFLA_CARRIER_UP_COUNT => self.carrier_ups = number(),
            attribute::IFLA_CARRIER_DOWN_COUNT => self.carrier_downs = number(),
            attribute::IFLA_PROP_LIST => {
                let names = attributes(value)
                    .filter(|(kind, name)| *kind == attribute::IFLA_ALT_IFNAME && !name.is_empty());
                self.other_names = names.map(|(_, name)| text(name).to_vec()).collect();
            }
            _ => {}
        }
    }

    /// The device below this one. The kernel leaves out that a device stands on itself.
    fn lower_or_own(&self) -> u32 {
        if self.lower > 0 {
            self.lower
        } else {
            self.index
        }
    }
}

fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(b"\0").unwrap_or(value)
}

fn statistics(value: &[u8]) -> Option<[u64; STATISTICS.len()]> {
    let mut statistics = [0; STATISTICS.len()];
    for (place, slot) in statistics.iter_mut().enumerate() {
        *slot = u64_at(value, place * 8)?;
    }
    Some(statistics)
}

fn write_number(
    name: &str,
    kind: MetricKind,
    devices: &[Device],
    number: impl Fn(&Device) -> Option<u64>,
    out: &mut Exposition,
) {
    let help = ["Property of network devices: ", name, "."];
    let mut family = out.family(&["node_network_", name], &help, kind);
    for device in devices {
        if let Some(value) = number(device) {
            family.sample(&[("device", &device.name)], value);
        }
    }
}

fn write_words(devices: &[Device], out: &mut Exposition) {
    let mut rows: Vec<_> = devices
        .iter()
        .map(|device| {
            let state = STATES.get(usize::from(device.state)).copied();
            (
                hardware_address(&device.address),
                hardware_address(&device.broadcast),
                &device.name,
                device.link_mode.map_or("", LinkMode::duplex),
                &device.alias,
                state.unwrap_or_default(),
            )
        })
        .collect();
    rows.sort_unstable();
    let help = "What a network device says in words; the value is always 1.";
    let mut family = out.family(&["node_network_info"], &[help], MetricKind::Gauge);
    for (address, broadcast, name, duplex, alias, state) in &rows {
        family.sample(
            &[
                ("address", address.as_bytes()),
                ("broadcast", broadcast.as_bytes()),
                ("device", name),
                ("duplex", duplex.as_bytes()),
                ("ifalias", alias),
                ("operstate", state.as_bytes()),
            ],
            1,
        );
    }
}

fn write_other_names(devices: &[Device], out: &mut Exposition) {
    let names = |device: &'_ Device| -> Vec<(Vec<u8>, Vec<u8>)> {
        let pair = |name: &Vec<u8>| (name.clone(), device.name.clone());
        device.other_names.iter().map(pair).collect()
    };
    let mut rows: Vec<_> = devices.iter().flat_map(names).collect();
    rows.sort_unstable();
    let help = "Alternative names of network devices; the value is always 1.";
    let mut family = out.family(&["node_network_altnames_info"], &[help], MetricKind::Gauge);
    for (name, device) in &rows {
        family.sample(&[("altname", name), ("device", device)], 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::attribute as encoded;

    #[test]
    fn attributes_become_a_device() {
        let counters: Vec<u8> = (0..25_u64).flat_map(u64::to_ne_bytes).collect();
        let names = [
            encoded(attribute::IFLA_ALT_IFNAME, b"enp1s0\0"),
            encoded(attribute::IFLA_ALT_IFNAME, b"enx02\0"),
        ]
        .concat();
        let mut entry = vec![0, 0, 1, 0];
        for word in [7_u32, 0x1003, 0] {
            entry.extend_from_slice(&word.to_ne_bytes());
        }
        for part in [
            encoded(attribute::IFLA_IFNAME, b"eth0\0"),
            encoded(attribute::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 0xab]),
            encoded(attribute::IFLA_OPERSTATE, &[UP]),
            encoded(attribute::IFLA_STATS64, &counters),
            encoded(attribute::IFLA_PROP_LIST, &names),
        ] {
            entry.extend(part);
        }
        let device = parse(&entry).unwrap();
        assert_eq!(
            (device.name.as_slice(), device.kind, device.flags),
            (b"eth0".as_slice(), u16::from_ne_bytes([1, 0]), 0x1003)
        );
        assert_eq!(hardware_address(&device.address), "02:00:00:00:00:ab");
        assert_eq!(device.statistics.unwrap()[23], 23);
        assert_eq!(device.other_names, [b"enp1s0".to_vec(), b"enx02".to_vec()]);
        assert_eq!(
            (device.state, device.lower_or_own(), device.carrier),
            (UP, 7, None)
        );
        assert!(parse(&entry[..16]).is_none(), "a device without a name");
        assert!(statistics(&counters[..100]).is_none());
    }
}
