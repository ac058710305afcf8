//! `netclass`: what each network device is and how its link stands, from `/sys/class/net`.

mod link_modes;
mod netlink;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use self::netlink::NetclassNetlink;
use crate::collect::Pattern;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{
    Deadline, Directory, KeptDirectory, ReadError, is_sysfs, list_devices, parse_prefixed,
    parse_signed,
};

const IGNORED: &str = "collector.netclass.ignored-devices";
const IGNORE_INVALID_SPEED: &str = "collector.netclass.ignore-invalid-speed";
const NETLINK: &str = "collector.netclass.netlink";
const WITH_STATISTICS: &str = "collector.netclass_rtnl.with-stats";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "netclass",
    default_enabled: true,
    summary: "Properties of each network device, from /sys/class/net.",
    options: &[
        OptionSpec::pattern(
            IGNORED,
            "^$",
            "Regular expression of network devices to leave out.",
        ),
        OptionSpec::switch(
            IGNORE_INVALID_SPEED,
            "false",
            "Leave the speed out where the driver says -1 for unknown.",
        ),
        OptionSpec::switch(
            NETLINK,
            "false",
            "Ask the kernel over netlink instead of reading sysfs, which is dear with many devices.",
        ),
        OptionSpec::switch(
            WITH_STATISTICS,
            "false",
            "Over netlink, show the traffic as well, in place of the collector netdev.",
        ),
    ],
    build,
};

/// Attributes that are numbers: the file and the rest of the metric's name.
const NUMBERS: [(&str, &str); 17] = [
    ("addr_assign_type", "address_assign_type"),
    ("carrier", "carrier"),
    ("carrier_changes", "carrier_changes_total"),
    ("carrier_down_count", "carrier_down_changes_total"),
    ("carrier_up_count", "carrier_up_changes_total"),
    ("dev_id", "device_id"),
    ("dormant", "dormant"),
    ("flags", "flags"),
    ("ifindex", "iface_id"),
    ("iflink", "iface_link"),
    ("link_mode", "iface_link_mode"),
    ("mtu", "mtu_bytes"),
    ("name_assign_type", "name_assign_type"),
    ("netdev_group", "net_dev_group"),
    ("speed", SPEED),
    ("tx_queue_len", "transmit_queue_length"),
    ("type", "protocol_type"),
];
/// The kernel says megabits per second.
const SPEED: &str = "speed_bytes";
const FLAGS: &str = "flags";
/// `IFF_UP`
const UP: u32 = 1;
/// Devices whose files are kept open, at some twenty descriptors each: most hosts have no more, and one with
/// thousands must not run out of descriptors.
const MOST_KEPT: usize = 8;

struct Netclass {
    class: PathBuf,
    /// Empty where files may be replaced.
    kept: Vec<Kept>,
    most_kept: usize,
    ignored: Option<Pattern>,
    ignore_invalid_speed: bool,
    buffer: Vec<u8>,
    /// In order of name.
    devices: Vec<Device>,
}

/// A device's directory. Another device that took its name has another inode.
struct Kept {
    name: Vec<u8>,
    inode: u64,
    directory: KeptDirectory,
}

#[derive(Debug, Default)]
struct Device {
    name: Vec<u8>,
    /// The values of [`NUMBERS`], of those that the driver gives.
    numbers: [Option<f64>; NUMBERS.len()],
    address: Vec<u8>,
    broadcast: Vec<u8>,
    duplex: Vec<u8>,
    alias: Vec<u8>,
    state: Vec<u8>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let class = context.sysfs("class/net");
    let ignored = context.pattern(IGNORED)?;
    let with_statistics = context.switch(WITH_STATISTICS)?;
    if context.switch(NETLINK)? {
        if with_statistics && context.settings().enabled.contains("netdev") {
            return Err(BuildError::Exclusive(WITH_STATISTICS, "collector.netdev"));
        }
        let collector = NetclassNetlink::new(class, ignored, with_statistics);
        return Ok(Box::new(collector));
    }
    Ok(Box::new(Netclass {
        kept: Vec::new(),
        most_kept: if is_sysfs(&class) { MOST_KEPT } else { 0 },
        class,
        ignored,
        ignore_invalid_speed: context.switch(IGNORE_INVALID_SPEED)?,
        buffer: Vec::new(),
        devices: Vec::new(),
    }))
}

impl Collector for Netclass {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        self.look().map_err(CollectError::within_reach)?;
        write_numbers(&self.devices, self.ignore_invalid_speed, out);
        write_states(&self.devices, out);
        Ok(())
    }
}

impl Netclass {
    fn look(&mut self) -> Result<(), ReadError> {
        let ignored = self.ignored.as_ref();
        let mut listed = list_devices(&self.class)?;
        listed.retain(|(name, _)| !ignored.is_some_and(|pattern| pattern.is_match(name)));
        let is_there = |kept: &Kept| {
            let entry = |listed: &(Vec<u8>, u64)| listed.0.cmp(&kept.name);
            let found = listed.binary_search_by(entry).ok();
            found
                .and_then(|place| listed.get(place))
                .map(|found| found.1)
                == Some(kept.inode)
        };
        self.kept.retain(is_there);
        self.devices.clear();
        for (name, inode) in listed {
            self.look_at(name, inode)?;
        }
        Ok(())
    }

    fn look_at(&mut self, name: Vec<u8>, inode: u64) -> Result<(), ReadError> {
        let kept = self.kept.iter_mut().find(|kept| kept.name == name);
        let device = match kept {
            Some(kept) => {
                kept.directory.start_again();
                let device = Device::read(name, &mut self.buffer, |file, buffer| {
                    kept.directory.read(file, buffer)
                })?;
                if device.has_vanished(kept.directory.directory()) {
                    return Ok(());
                }
                device
            }
            None => {
                let path = self.class.join(OsStr::from_bytes(&name));
                let Some(directory) = Directory::open_if_present(path)? else {
                    return Ok(());
                };
                let device = Device::read(name.clone(), &mut self.buffer, |file, buffer| {
                    directory.read(file, buffer)
                })?;
                if device.has_vanished(&directory) {
                    return Ok(());
                }
                if self.kept.len() < self.most_kept {
                    self.kept.push(Kept {
                        name,
                        inode,
                        directory: KeptDirectory::new(directory),
                    });
                }
                device
            }
        };
        self.devices.push(device);
        Ok(())
    }
}

impl Device {
    fn read(
        name: Vec<u8>,
        buffer: &mut Vec<u8>,
        mut read: impl for<'a> FnMut(
            &'static str,
            &'a mut Vec<u8>,
        ) -> Result<Option<&'a [u8]>, ReadError>,
    ) -> Result<Self, ReadError> {
        let mut device = Self {
            name,
            ..Self::default()
        };
        for (slot, (file, _)) in device.numbers.iter_mut().zip(NUMBERS) {
            *slot = read(file, buffer)?.and_then(parse);
        }
        for (slot, file) in [
            (&mut device.address, "address"),
            (&mut device.broadcast, "broadcast"),
            (&mut device.duplex, "duplex"),
            (&mut device.alias, "ifalias"),
            (&mut device.state, "operstate"),
        ] {
            slot.extend_from_slice(read(file, buffer)?.unwrap_or_default());
        }
        Ok(device)
    }

    /// Whether the device has gone while it was read: the kernel tells the state of every device that is there.
    fn has_vanished(&self, directory: &Directory) -> bool {
        self.state.is_empty() && (directory.has_failed() || directory.has_vanished())
    }

    fn number(&self, name: &str) -> Option<f64> {
        let place = NUMBERS.iter().position(|(_, metric)| *metric == name)?;
        self.numbers.get(place).copied().flatten()
    }

    fn administrative_state(&self) -> &'static [u8] {
        match self.number(FLAGS) {
            None => b"unknown",
            Some(flags) if flags as u32 & UP != 0 => b"up",
            Some(_) => b"down",
        }
    }
}

fn parse(text: &[u8]) -> Option<f64> {
    match parse_prefixed(text) {
        Some(number) => Some(number as f64),
        None => parse_signed(text),
    }
}

fn write_numbers(devices: &[Device], ignore_invalid_speed: bool, out: &mut Exposition) {
    for (place, (_, name)) in NUMBERS.into_iter().enumerate() {
        let kind = if name.ends_with("_total") {
            MetricKind::Counter
        } else {
            MetricKind::Gauge
        };
        let help = ["Property of network devices: ", name, "."];
        let mut family = out.family(&["node_network_", name], &help, kind);
        for device in devices {
            let value = match device.numbers.get(place).copied().flatten() {
                Some(speed) if name == SPEED => bytes_per_second(speed, ignore_invalid_speed),
                number => number,
            };
            if let Some(value) = value {
                family.sample(&[("device", &device.name)], value);
            }
        }
    }
}

/// The speed in bytes, cut to a whole number. Of a device without a known speed some drivers say -1, which is shown
/// unless it is to be ignored.
fn bytes_per_second(megabits: f64, ignore_invalid: bool) -> Option<f64> {
    let bytes = (megabits * 1e6 / 8.0).trunc();
    Some(bytes).filter(|_| megabits >= 0.0 || !ignore_invalid)
}

fn write_states(devices: &[Device], out: &mut Exposition) {
    let mut rows: Vec<_> = devices
        .iter()
        .map(|device| {
            [
                ("address", device.address.as_slice()),
                ("adminstate", device.administrative_state()),
                ("broadcast", &device.broadcast),
                ("device", &device.name),
                ("duplex", &device.duplex),
                ("ifalias", &device.alias),
                ("operstate", &device.state),
            ]
        })
        .collect();
    rows.sort_unstable();
    let help = "What a network device says in words; the value is always 1.";
    let mut family = out.family(&["node_network_info"], &[help], MetricKind::Gauge);
    for labels in &rows {
        family.sample(labels, 1);
    }
    drop(family);
    let help = "Whether the operational state of the network device is up.";
    let mut family = out.family(&["node_network_up"], &[help], MetricKind::Gauge);
    for device in devices {
        family.sample(
            &[("device", &device.name)],
            u64::from(device.state == b"up"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_speed_is_shown_unless_ignored() {
        assert_eq!(bytes_per_second(1000.0, false), Some(125_000_000.0));
        assert_eq!(bytes_per_second(-1.0, false), Some(-125_000.0));
        assert_eq!(bytes_per_second(-1.0, true), None);
        assert_eq!(bytes_per_second(0.0, true), Some(0.0));
    }

    /// As sysfs does it: what is in the class are links, and a device that is renamed takes its link's inode along.
    #[test]
    fn files_kept_open_follow_their_device() {
        let folder = tempfile::tempdir().unwrap();
        let class = folder.path().join("class");
        std::fs::create_dir(&class).unwrap();
        let add = |name: &str, device: &str, mtu: &str| {
            let directory = folder.path().join(device);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("mtu"), mtu).unwrap();
            std::os::unix::fs::symlink(directory, class.join(name)).unwrap();
        };
        let mut collector = Netclass {
            kept: Vec::new(),
            most_kept: 2,
            class: class.clone(),
            ignored: None,
            ignore_invalid_speed: false,
            buffer: Vec::new(),
            devices: Vec::new(),
        };
        let mut look = |kept: usize| {
            collector.look().unwrap();
            assert_eq!(collector.kept.len(), kept);
            let mtu = |device: &Device| (device.name.clone(), device.number("mtu_bytes"));
            collector.devices.iter().map(mtu).collect::<Vec<_>>()
        };
        let seen = |name: &str, mtu: f64| (name.as_bytes().to_vec(), Some(mtu));

        add("a", "1", "1500");
        add("b", "2", "9000");
        add("c", "3", "68");
        assert_eq!(
            look(2),
            [seen("a", 1500.0), seen("b", 9000.0), seen("c", 68.0)]
        );
        std::fs::write(folder.path().join("1/mtu"), "1400").unwrap();
        std::fs::write(folder.path().join("3/mtu"), "69").unwrap();
        assert_eq!(
            look(2),
            [seen("a", 1400.0), seen("b", 9000.0), seen("c", 69.0)]
        );
        for (from, to) in [("a", "x"), ("b", "a"), ("x", "b")] {
            std::fs::rename(class.join(from), class.join(to)).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(
                look(2),
                [seen("a", 9000.0), seen("b", 1400.0), seen("c", 69.0)]
            );
        }
        std::fs::remove_file(class.join("b")).unwrap();
        assert_eq!(look(2), [seen("a", 9000.0), seen("c", 69.0)]);
        add("b", "4", "1280");
        assert_eq!(
            look(2),
            [seen("a", 9000.0), seen("b", 1280.0), seen("c", 69.0)]
        );
    }

    #[test]
    fn the_administrative_state_is_a_flag() {
        let place = NUMBERS
            .iter()
            .position(|(file, _)| *file == "flags")
            .unwrap();
        let mut device = Device::default();
        assert_eq!(device.administrative_state(), b"unknown");
        device.numbers[place] = parse(b"0x1003");
        assert_eq!(device.administrative_state(), b"up");
        device.numbers[place] = parse(b"0x1002");
        assert_eq!(device.administrative_state(), b"down");
    }
}
