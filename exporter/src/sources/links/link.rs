//! One network device, as described by the kernel over netlink.

use crate::sources::netlink::{attributes, u16_at, u32_at, u64_at};

/// `struct ifinfomsg`, which precedes the attributes.
pub(super) const HEADER: usize = 16;

/// `struct rtnl_link_stats64` in its order.
pub mod counter {
    #![allow(missing_docs, reason = "the names are the kernel's")]
    pub const RX_PACKETS: usize = 0;
    pub const TX_PACKETS: usize = 1;
    pub const RX_BYTES: usize = 2;
    pub const TX_BYTES: usize = 3;
    pub const RX_ERRORS: usize = 4;
    pub const TX_ERRORS: usize = 5;
    pub const RX_DROPPED: usize = 6;
    pub const TX_DROPPED: usize = 7;
    pub const MULTICAST: usize = 8;
    pub const COLLISIONS: usize = 9;
    pub const RX_LENGTH_ERRORS: usize = 10;
    pub const RX_OVER_ERRORS: usize = 11;
    pub const RX_CRC_ERRORS: usize = 12;
    pub const RX_FRAME_ERRORS: usize = 13;
    pub const RX_FIFO_ERRORS: usize = 14;
    pub const RX_MISSED_ERRORS: usize = 15;
    pub const TX_ABORTED_ERRORS: usize = 16;
    pub const TX_CARRIER_ERRORS: usize = 17;
    pub const TX_FIFO_ERRORS: usize = 18;
    pub const TX_HEARTBEAT_ERRORS: usize = 19;
    pub const TX_WINDOW_ERRORS: usize = 20;
    pub const RX_COMPRESSED: usize = 21;
    pub const TX_COMPRESSED: usize = 22;
    pub const RX_NOHANDLER: usize = 23;
    /// The number of counters.
    pub const COUNT: usize = 24;
}

/// The attributes of a link under the kernel's names.
pub(crate) mod attribute {
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
    pub const IFLA_PROMISCUITY: u16 = 30;
    pub const IFLA_CARRIER: u16 = 33;
    pub const IFLA_CARRIER_CHANGES: u16 = 35;
    pub const IFLA_CARRIER_UP_COUNT: u16 = 47;
    pub const IFLA_CARRIER_DOWN_COUNT: u16 = 48;
    pub const IFLA_PROP_LIST: u16 = 52;
    pub const IFLA_ALT_IFNAME: u16 = 53;
    pub const IFLA_ALLMULTI: u16 = 61;
}

/// The flags of a device, from `linux/if.h`.
mod flag {
    pub const UP: u32 = 1;
    pub const RUNNING: u32 = 1 << 6;
    pub const PROMISC: u32 = 1 << 8;
    pub const ALLMULTI: u32 = 1 << 9;
    pub const LOWER_UP: u32 = 1 << 16;
    pub const DORMANT: u32 = 1 << 17;
    /// Flags that netlink derives from other fields of the device.
    pub const MADE_UP: u32 = RUNNING | PROMISC | ALLMULTI | LOWER_UP | DORMANT;
}

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

/// A network device. Values that the kernel did not send are `None`.
#[derive(Debug, Default)]
pub struct Link {
    /// Its name.
    pub name: Vec<u8>,
    /// Its index, which is unique in the namespace while the device exists.
    pub index: u32,
    /// Changes whenever netlink reports that the device, its name or its address may have changed.
    pub revision: u64,
    /// The type of its hardware, `ARPHRD_…`.
    pub kind: u16,
    /// Its flags as sent by netlink: see [`Link::raw_flags`].
    pub flags: u32,
    /// Its hardware address; empty if it has none.
    pub address: Vec<u8>,
    /// Its broadcast hardware address; empty if it has none.
    pub broadcast: Vec<u8>,
    /// Its alias.
    pub alias: Vec<u8>,
    /// Its alternative names, each preceded by its length in one byte.
    alternative_names: Vec<u8>,
    /// The number of its operational state.
    state: u8,
    /// Its MTU.
    pub mtu: u32,
    /// The index of the lower or peer device, if it is a different one.
    lower: Option<u32>,
    /// Whether it has a carrier.
    pub carrier: Option<u8>,
    /// How often the carrier changed.
    pub carrier_changes: Option<u32>,
    /// How often the carrier came up.
    pub carrier_ups: Option<u32>,
    /// How often the carrier went down.
    pub carrier_downs: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
    /// Whether user space controls its operational state.
    pub mode: Option<u8>,
    /// The length of its transmit queue.
    pub queue: Option<u32>,
    promiscuity: Option<u32>,
    all_multicast: Option<u32>,
    counters: [u64; counter::COUNT],
    /// The number of counters that the kernel sent.
    counters_told: usize,
}

impl Link {
    /// Parses an entry of a dump, replacing the previous content; returns whether the entry describes a device.
    pub(super) fn fill(&mut self, entry: &[u8]) -> bool {
        self.reset();
        let (Some(kind), Some(index), Some(flags), Some(rest)) = (
            u16_at(entry, 2),
            u32_at(entry, 4),
            u32_at(entry, 8),
            entry.get(HEADER..),
        ) else {
            return false;
        };
        (self.kind, self.index, self.flags) = (kind, index, flags);
        for (kind, value) in attributes(rest) {
            self.take(kind, value);
        }
        !self.name.is_empty()
    }

    fn reset(&mut self) {
        let mut kept = std::mem::take(self);
        let texts = [
            &mut kept.name,
            &mut kept.address,
            &mut kept.broadcast,
            &mut kept.alias,
            &mut kept.alternative_names,
        ];
        for text in texts {
            text.clear();
        }
        self.name = kept.name;
        self.address = kept.address;
        self.broadcast = kept.broadcast;
        self.alias = kept.alias;
        self.alternative_names = kept.alternative_names;
    }

    /// Stores an attribute if it is one that is shown.
    fn take(&mut self, kind: u16, value: &[u8]) {
        let number = || u32_at(value, 0);
        let byte = || value.first().copied();
        match kind {
            attribute::IFLA_ADDRESS => replace(&mut self.address, value),
            attribute::IFLA_BROADCAST => replace(&mut self.broadcast, value),
            attribute::IFLA_IFNAME => replace(&mut self.name, text(value)),
            attribute::IFLA_MTU => self.mtu = number().unwrap_or_default(),
            attribute::IFLA_LINK => self.lower = number(),
            attribute::IFLA_TXQLEN => self.queue = number(),
            attribute::IFLA_OPERSTATE => self.state = byte().unwrap_or_default(),
            attribute::IFLA_LINKMODE => self.mode = byte(),
            attribute::IFLA_IFALIAS => replace(&mut self.alias, text(value)),
            attribute::IFLA_STATS64 => self.take_counters(value),
            attribute::IFLA_GROUP => self.group = number(),
            attribute::IFLA_PROMISCUITY => self.promiscuity = number(),
            attribute::IFLA_CARRIER => self.carrier = byte(),
            attribute::IFLA_CARRIER_CHANGES => self.carrier_changes = number(),
            attribute::IFLA_CARRIER_UP_COUNT => self.carrier_ups = number(),
            attribute::IFLA_CARRIER_DOWN_COUNT => self.carrier_downs = number(),
            attribute::IFLA_PROP_LIST => self.take_alternative_names(value),
            attribute::IFLA_ALLMULTI => self.all_multicast = number(),
            _ => {}
        }
    }

    fn take_counters(&mut self, value: &[u8]) {
        self.counters_told = 0;
        for (place, slot) in self.counters.iter_mut().enumerate() {
            let Some(count) = u64_at(value, place * 8) else {
                return;
            };
            *slot = count;
            self.counters_told += 1;
        }
    }

    fn take_alternative_names(&mut self, list: &[u8]) {
        self.alternative_names.clear();
        let names = attributes(list).filter(|(kind, _)| *kind == attribute::IFLA_ALT_IFNAME);
        for name in names.map(|(_, name)| text(name)) {
            // The kernel allows half as many.
            if let Ok(length @ 1..) = u8::try_from(name.len()) {
                self.alternative_names.push(length);
                self.alternative_names.extend_from_slice(name);
            }
        }
    }

    /// Returns a counter of [`counter`]; `None` if the kernel does not provide it. Packets without a handler are counted
    /// since Linux 4.6.
    pub fn count(&self, place: usize) -> Option<u64> {
        let told = self.counters.get(..self.counters_told)?;
        told.get(place).copied()
    }

    /// Its operational state as in sysfs; `None` for an unknown number.
    pub fn state(&self) -> Option<&'static str> {
        STATES.get(usize::from(self.state)).copied()
    }

    /// Whether it is administratively up. For a device that is down, sysfs has no carrier, speed and duplex.
    pub fn is_up(&self) -> bool {
        self.flags & flag::UP != 0
    }

    /// Whether it waits for an external event.
    pub fn is_dormant(&self) -> bool {
        self.flags & flag::DORMANT != 0
    }

    /// The flags as shown by sysfs, which are those of the device itself. Netlink hides the promiscuous and all-multicast
    /// flags unless a user requested them, and adds the state of the link. `None` before Linux 6.0, whose netlink does not
    /// report all-multicast mode.
    pub fn raw_flags(&self) -> Option<u32> {
        let promiscuous = self.promiscuity? > 0;
        let all_multicast = self.all_multicast? > 0;
        let mut flags = self.flags & !flag::MADE_UP;
        if promiscuous {
            flags |= flag::PROMISC;
        }
        if all_multicast {
            flags |= flag::ALLMULTI;
        }
        Some(flags)
    }

    /// The index of the lower or peer device. The kernel leaves it out if it is the device itself, and sends 0 for a device
    /// that it cannot identify.
    pub fn lower_or_own(&self) -> u32 {
        self.lower.unwrap_or(self.index)
    }

    /// Its alternative names.
    pub fn alternative_names(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.alternative_names.as_slice();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (name, next) = after.split_at_checked(usize::from(*length))?;
            rest = next;
            Some(name)
        })
    }
}

fn replace(slot: &mut Vec<u8>, value: &[u8]) {
    slot.clear();
    slot.extend_from_slice(value);
}

fn text(value: &[u8]) -> &[u8] {
    let end = value.iter().position(|byte| *byte == 0);
    end.map_or(value, |end| value.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::netlink::attribute as encoded;

    fn entry(index: u32, flags: u32, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut entry = vec![0, 0, 1, 0];
        for word in [index, flags, 0] {
            entry.extend_from_slice(&word.to_ne_bytes());
        }
        entry.extend(parts.concat());
        entry
    }

    #[test]
    fn attributes_become_a_device() {
        let counters: Vec<u8> = (0..25_u64).flat_map(u64::to_ne_bytes).collect();
        let names = [
            encoded(attribute::IFLA_ALT_IFNAME, b"enp1s0\0"),
            encoded(attribute::IFLA_ALT_IFNAME, b"\0"),
            encoded(attribute::IFLA_ALT_IFNAME, b"enx02\0"),
        ]
        .concat();
        let whole = entry(
            7,
            0x1003,
            &[
                encoded(attribute::IFLA_IFNAME, b"eth0\0"),
                encoded(attribute::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 0xab]),
                encoded(attribute::IFLA_OPERSTATE, &[6]),
                encoded(attribute::IFLA_STATS64, &counters),
                encoded(attribute::IFLA_PROP_LIST, &names),
            ],
        );
        let mut link = Link::default();
        assert!(link.fill(&whole));
        assert_eq!(
            (link.name.as_slice(), link.kind, link.flags),
            (b"eth0".as_slice(), u16::from_ne_bytes([1, 0]), 0x1003)
        );
        assert_eq!(link.address, [2, 0, 0, 0, 0, 0xab]);
        assert_eq!(link.count(counter::RX_NOHANDLER), Some(23));
        assert_eq!(link.count(counter::COUNT), None);
        let names: Vec<_> = link.alternative_names().collect();
        assert_eq!(names, [b"enp1s0".as_slice(), b"enx02"]);
        assert_eq!(
            (link.state(), link.lower_or_own(), link.carrier),
            (Some("up"), 7, None)
        );
        // The next device contains nothing of this one.
        assert!(link.fill(&entry(8, 0, &[encoded(attribute::IFLA_IFNAME, b"b\0")])));
        assert_eq!((link.name.as_slice(), link.index), (b"b".as_slice(), 8));
        assert!(link.address.is_empty() && link.alternative_names().next().is_none());
        assert_eq!(
            (link.state(), link.count(counter::RX_PACKETS)),
            (Some("unknown"), None)
        );
        assert!(!link.fill(&whole[..HEADER]), "a device without a name");
        assert!(!link.fill(&whole[..HEADER - 1]));
    }

    #[test]
    fn flags_are_those_of_the_device_itself() {
        let number = |kind, number: u32| encoded(kind, &number.to_ne_bytes());
        let name = || encoded(attribute::IFLA_IFNAME, b"a\0");
        let raw = |flags, promiscuity, all_multicast| {
            let parts = [
                name(),
                number(attribute::IFLA_PROMISCUITY, promiscuity),
                number(attribute::IFLA_ALLMULTI, all_multicast),
            ];
            let mut link = Link::default();
            link.fill(&entry(1, flags, &parts));
            link.raw_flags()
        };
        // Up, running and lower up; the last two are only known to netlink.
        assert_eq!(raw(0x1_1043, 0, 0), Some(0x1003));
        assert_eq!(raw(0x1003, 1, 0), Some(0x1103));
        assert_eq!(raw(0x1003, 0, 2), Some(0x1203));
        let mut old = Link::default();
        old.fill(&entry(1, 0x1003, &[name()]));
        assert_eq!(old.raw_flags(), None);
    }

    #[test]
    fn a_device_that_the_kernel_cannot_name_is_device_0() {
        let mut link = Link::default();
        let name = || encoded(attribute::IFLA_IFNAME, b"a\0");
        link.fill(&entry(5, 0, &[name()]));
        assert_eq!(link.lower_or_own(), 5);
        link.fill(&entry(
            5,
            0,
            &[name(), encoded(attribute::IFLA_LINK, &[0; 4])],
        ));
        assert_eq!(link.lower_or_own(), 0);
    }
}
