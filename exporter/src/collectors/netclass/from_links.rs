//! Network devices over netlink, with the same values as in sysfs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::assigned::Remembered;
use super::device::{Device, parse, place};
use super::link_modes::LinkModes;
use crate::exposition::Value;
use crate::sources::{
    Deadline, Directory, Link, Links, Pool, ReadError, trim, write_hardware_address,
};

/// Adds the kernel's link table first, then the values from drivers and sysfs.
#[derive(Debug)]
pub(super) struct FromLinks {
    class: PathBuf,
    link_modes: LinkModes,
    remembered: Remembered,
    /// Of each device, in the same order.
    pending: Vec<Pending>,
    buffer: Vec<u8>,
}

/// What must be known about a device to complete it.
#[derive(Clone, Copy, Debug)]
struct Pending {
    index: u32,
    revision: u64,
    is_up: bool,
    has_flags: bool,
}

impl FromLinks {
    /// Reads the values that netlink does not have below `class`, which is `class/net` of sysfs.
    pub(super) fn new(class: PathBuf) -> Self {
        Self {
            remembered: Remembered::new(class.clone()),
            class,
            link_modes: LinkModes::default(),
            pending: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Adds the wanted devices, ordered by name, with the values of the dump.
    pub(super) fn fill(
        &mut self,
        links: &Links,
        wanted: impl Fn(&[u8]) -> bool,
        devices: &mut Pool<Device>,
    ) {
        self.pending.clear();
        for link in links.by_name().filter(|link| wanted(&link.name)) {
            let flags = link.raw_flags();
            self.pending.push(Pending {
                index: link.index,
                revision: link.revision,
                is_up: link.is_up(),
                has_flags: flags.is_some(),
            });
            devices.push_with(|device| {
                device.begin(&link.name);
                device.describe(link, flags);
                true
            });
        }
    }

    /// Completes the devices, until `deadline`.
    ///
    /// # Errors
    ///
    /// A file of sysfs exists and cannot be read.
    pub(super) fn complete(
        &mut self,
        deadline: Deadline,
        devices: &mut Pool<Device>,
    ) -> Result<(), ReadError> {
        // A driver that fails ends the reply before the remaining devices, and an old kernel sends none.
        let all_modes = self.link_modes.read(deadline).unwrap_or_default();
        for (device, pending) in devices.as_mut_slice().iter_mut().zip(&self.pending) {
            let assigned = self
                .remembered
                .of(&device.name, pending.index, pending.revision)?;
            let [address, id, name] = assigned;
            device.set(place::ADDR_ASSIGN_TYPE, address);
            device.set(place::DEV_ID, id);
            device.set(place::NAME_ASSIGN_TYPE, name);

            // sysfs only queries the driver of a device that is up.
            let mode = self.link_modes.of(pending.index);
            let ask_driver = pending.is_up && mode.is_none() && !all_modes;
            if let Some(mode) = mode.filter(|_| pending.is_up) {
                device.set(place::SPEED, Some(integer(mode.megabits())));
                let duplex = mode.duplex().as_bytes();
                device
                    .duplex
                    .extend(duplex.iter().map(u8::to_ascii_lowercase));
            }
            if ask_driver || !pending.has_flags {
                let path = self.class.join(OsStr::from_bytes(&device.name));
                if let Some(directory) = Directory::open_if_present(path)? {
                    let (buffer, files) = (&mut self.buffer, (ask_driver, !pending.has_flags));
                    device.read_rest(&directory, files, buffer)?;
                }
            }
        }
        self.remembered.forget_absent();
        Ok(())
    }
}

impl Device {
    /// Copies the values of netlink. Each of them is what the kernel prints into the file of the same name.
    fn describe(&mut self, link: &Link, flags: Option<u32>) {
        let up = |value: Option<u8>| value.filter(|_| link.is_up()).map(byte);
        for (place, value) in [
            (place::CARRIER, up(link.carrier)),
            (place::CARRIER_CHANGES, link.carrier_changes.map(integer)),
            (place::CARRIER_DOWN_COUNT, link.carrier_downs.map(integer)),
            (place::CARRIER_UP_COUNT, link.carrier_ups.map(integer)),
            (place::DORMANT, up(Some(link.is_dormant().into()))),
            (place::FLAGS, flags.map(|flags| u64::from(flags).into())),
            (place::IFINDEX, Some(integer(link.index))),
            (place::IFLINK, Some(integer(link.lower_or_own()))),
            (place::LINK_MODE, link.mode.map(byte)),
            (place::MTU, Some(integer(link.mtu))),
            (place::NETDEV_GROUP, link.group.map(integer)),
            (place::TX_QUEUE_LEN, link.queue.map(integer)),
            (place::KIND, Some(u64::from(link.kind).into())),
        ] {
            self.set(place, value);
        }
        write_hardware_address(&link.address, &mut self.address);
        write_hardware_address(&link.broadcast, &mut self.broadcast);
        self.alias.extend_from_slice(trim(&link.alias));
        let state = link.state().unwrap_or_default();
        self.state.extend_from_slice(state.as_bytes());
    }

    /// Reads the speed and duplex, or the flags, or both.
    fn read_rest(
        &mut self,
        directory: &Directory,
        (ask_driver, ask_flags): (bool, bool),
        buffer: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        if ask_driver {
            let speed = directory.read("speed", buffer)?.and_then(parse);
            self.set(place::SPEED, speed);
            let duplex = directory.read("duplex", buffer)?;
            self.duplex.extend_from_slice(duplex.unwrap_or_default());
        }
        if ask_flags {
            let flags = directory.read("flags", buffer)?.and_then(parse);
            self.set(place::FLAGS, flags);
        }
        Ok(())
    }
}

/// sysfs prints unsigned numbers as signed ones: an unknown speed is -1.
fn integer(number: u32) -> Value {
    let signed = number.cast_signed();
    match u64::try_from(signed) {
        Ok(number) => number.into(),
        Err(_) => f64::from(signed).into(),
    }
}

fn byte(number: u8) -> Value {
    u64::from(number).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::netclass::device::NUMBERS;
    use crate::sources::parse_answer;

    /// Of a namespace with a device of each kind that one kernel had.
    const CAPTURED: &[u8] = include_bytes!("../../sources/links/captured.bin");

    /// The devices of an answer, completed from a sysfs with these files of `veth0`, which is up, and `vdown`, which is not.
    /// The kernel has no ethtool over netlink.
    fn devices(answer: &[u8], files: &[(&str, &str)]) -> Pool<Device> {
        let class = tempfile::tempdir().unwrap();
        for (name, index) in [("veth0", "2"), ("vdown", "4")] {
            let directory = class.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            for (file, text) in files.iter().chain(&[("ifindex", index)]) {
                std::fs::write(directory.join(file), text).unwrap();
            }
        }
        let mut from_links = FromLinks::new(class.path().to_owned());
        from_links.link_modes = LinkModes::of_an_old_kernel();
        let mut devices = Pool::default();
        let links = parse_answer(answer, 7).unwrap();
        let wanted = |name: &[u8]| name == b"veth0" || name == b"vdown";
        from_links.fill(&links, wanted, &mut devices);
        from_links
            .complete(Deadline::after(std::time::Duration::ZERO), &mut devices)
            .unwrap();
        devices
    }

    fn number(devices: &Pool<Device>, name: &str, file: &str) -> Option<Value> {
        let mut all = devices.as_slice().iter();
        let device = all.find(|device| device.name == name.as_bytes()).unwrap();
        device.number(
            NUMBERS
                .iter()
                .position(|(known, _)| *known == file)
                .unwrap(),
        )
    }

    #[test]
    fn speed_and_duplex_come_from_sysfs_where_netlink_has_none() {
        let files = [
            ("speed", "2500\n"),
            ("duplex", "full\n"),
            ("flags", "0x1\n"),
        ];
        let devices = devices(CAPTURED, &files);
        let number = |name, file| number(&devices, name, file);
        assert_eq!(number("veth0", "speed"), Some(2500.into()));
        assert_eq!(number("vdown", "speed"), None, "it is down");
        // Netlink has them.
        assert_eq!(number("veth0", "flags"), Some(0x1303.into()));
        assert_eq!(number("veth0", "carrier"), Some(1.into()));
        assert_eq!(number("vdown", "carrier"), None);
        assert_eq!(number("vdown", "dormant"), None);
        assert_eq!(number("vdown", "iflink"), Some(3.into()));
        let words: Vec<_> = devices.as_slice().iter().map(Device::words).collect();
        assert_eq!(words[0][5], ("ifalias", b"an alias of it".as_slice()));
        assert_eq!(words[0][6], ("operstate", b"down".as_slice()));
        assert_eq!(words[1][2], ("broadcast", b"ff:ff:ff:ff:ff:ff".as_slice()));
        assert_eq!(words[1][4], ("duplex", b"full".as_slice()));
    }

    #[test]
    fn flags_come_from_sysfs_where_netlink_does_not_tell_all() {
        // IFLA_ALLMULTI becomes an attribute that nobody knows.
        let mut old = CAPTURED.to_vec();
        for start in 0..old.len() - 3 {
            if old[start..].starts_with(&[8, 0, 61, 0]) {
                old[start + 2] = 255;
            }
        }
        let devices = devices(&old, &[("flags", "0x1203\n"), ("speed", "10\n")]);
        assert_eq!(number(&devices, "veth0", "flags"), Some(0x1203.into()));
        assert_eq!(number(&devices, "vdown", "flags"), Some(0x1203.into()));
    }

    #[test]
    fn numbers_are_printed_as_if_they_had_a_sign() {
        assert_eq!(integer(u32::MAX), Value::Float(-1.0));
        assert_eq!(integer(10_000), Value::Integer(10_000));
    }
}
