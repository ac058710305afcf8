//! `netclass` over netlink: one reply of the kernel instead of twenty files per network device.
//!
//! The names are those of the files, with node_exporter's own differences: alternative names are added, the administrative
//! state is unknown, `dormant` repeats the link mode, and the speed comes from ethtool's netlink.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::link_modes::{LinkMode, LinkModes};
use crate::collect::{CollectError, Collector, Pattern};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{
    Deadline, Directory, Link, ReadError, SharedLinks, counter, hardware_address, parse_prefixed,
};

/// `struct rtnl_link_stats64` in its order.
const STATISTICS: [&str; counter::COUNT] = [
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
/// Values that netlink does not have; reading their files only takes a lock of their device.
const FILES: [&str; 3] = ["addr_assign_type", "dev_id", "name_assign_type"];

/// The collector.
pub(super) struct NetclassNetlink {
    links: SharedLinks,
    class: PathBuf,
    ignored: Option<Pattern>,
    with_statistics: bool,
    link_modes: LinkModes,
    buffer: Vec<u8>,
}

/// The properties of a device that are shown.
#[derive(Debug)]
struct Device<'a> {
    link: &'a Link,
    files: [Option<u64>; FILES.len()],
    link_mode: Option<LinkMode>,
}

type Number = fn(&Device<'_>) -> Option<u64>;
/// The numbers: the end of the metric name, and the value.
const NUMBERS: [(&str, Number); 17] = [
    ("address_assign_type", |device| device.files[0]),
    ("carrier", |device| device.link.carrier.map(u64::from)),
    ("carrier_changes_total", |device| {
        device.link.carrier_changes.map(u64::from)
    }),
    ("carrier_down_changes_total", |device| {
        device.link.carrier_downs.map(u64::from)
    }),
    ("carrier_up_changes_total", |device| {
        device.link.carrier_ups.map(u64::from)
    }),
    ("device_id", |device| device.files[1]),
    ("dormant", |device| device.link.mode.map(u64::from)),
    ("flags", |device| Some(device.link.flags.into())),
    ("iface_id", |device| Some(device.link.index.into())),
    ("iface_link", |device| {
        let lower = Some(device.link.lower_or_own()).filter(|lower| *lower > 0);
        Some(lower.unwrap_or(device.link.index).into())
    }),
    ("iface_link_mode", |device| device.link.mode.map(u64::from)),
    ("mtu_bytes", |device| Some(device.link.mtu.into())),
    ("name_assign_type", |device| device.files[2]),
    ("net_dev_group", |device| device.link.group.map(u64::from)),
    ("protocol_type", |device| Some(device.link.kind.into())),
    ("speed_bytes", |device| {
        device.link_mode.map(LinkMode::bytes_per_second)
    }),
    ("transmit_queue_length", |device| {
        device.link.queue.map(u64::from)
    }),
];

impl NetclassNetlink {
    /// Reads devices below `class`, which is `class/net` of sysfs, besides netlink.
    pub(super) fn new(
        links: SharedLinks,
        class: PathBuf,
        ignored: Option<Pattern>,
        with_statistics: bool,
    ) -> Self {
        Self {
            links,
            class,
            ignored,
            with_statistics,
            link_modes: LinkModes::default(),
            buffer: Vec::new(),
        }
    }
}

/// Reads [`FILES`] of a device.
fn read_files(
    class: &Path,
    link: &Link,
    buffer: &mut Vec<u8>,
) -> Result<[Option<u64>; FILES.len()], ReadError> {
    let mut values = [None; FILES.len()];
    let path = class.join(OsStr::from_bytes(&link.name));
    if let Some(directory) = Directory::open_if_present(path)? {
        for (slot, file) in values.iter_mut().zip(FILES) {
            *slot = directory.read(file, buffer)?.and_then(parse_prefixed);
        }
    }
    Ok(values)
}

impl Collector for NetclassNetlink {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let links = self.links.read(deadline)?;
        self.link_modes.read(deadline)?;
        let ignored = self.ignored.as_ref();
        let is_ignored = |link: &Link| ignored.is_some_and(|it| it.is_match(&link.name));
        let mut devices = Vec::new();
        for link in links.by_name().filter(|link| !is_ignored(link)) {
            devices.push(Device {
                link,
                files: read_files(&self.class, link, &mut self.buffer)?,
                link_mode: self.link_modes.of(link.index),
            });
        }
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
                let count = |device: &Device<'_>| device.link.count(place);
                write_number(name, MetricKind::Gauge, &devices, count, out);
            }
        }
        write_number(
            "up",
            MetricKind::Gauge,
            &devices,
            |device| Some(u64::from(device.link.state() == Some("up"))),
            out,
        );
        write_words(&devices, out);
        write_other_names(&devices, out);
        Ok(())
    }
}

fn write_number(
    name: &str,
    kind: MetricKind,
    devices: &[Device<'_>],
    number: impl Fn(&Device<'_>) -> Option<u64>,
    out: &mut Exposition,
) {
    let help = ["Property of the network device: ", name, "."];
    let mut family = out.family(&["node_network_", name], &help, kind);
    for device in devices {
        if let Some(value) = number(device) {
            family.sample(&[("device", &device.link.name)], value);
        }
    }
}

fn write_words(devices: &[Device<'_>], out: &mut Exposition) {
    let mut rows: Vec<_> = devices
        .iter()
        .map(|device| {
            (
                hardware_address(&device.link.address),
                hardware_address(&device.link.broadcast),
                &device.link.name,
                device.link_mode.map_or("", LinkMode::duplex),
                &device.link.alias,
                device.link.state().unwrap_or_default(),
            )
        })
        .collect();
    rows.sort_unstable();
    let help = "Information about the network device, in labels; the value is always 1.";
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

fn write_other_names(devices: &[Device<'_>], out: &mut Exposition) {
    let mut rows = Vec::new();
    for Device { link, .. } in devices {
        let names = link.alternative_names();
        rows.extend(names.map(|name| (name, link.name.as_slice())));
    }
    rows.sort_unstable();
    let help = "Alternative names of the network device; the value is always 1.";
    let mut family = out.family(&["node_network_altnames_info"], &[help], MetricKind::Gauge);
    for (name, device) in &rows {
        family.sample(&[("altname", name), ("device", device)], 1);
    }
}
