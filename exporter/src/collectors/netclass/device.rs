//! The properties of a network device, independent of their source.

use crate::exposition::Value;
use crate::sources::{parse_prefixed, parse_signed};

/// Attributes that are numbers: the file and the end of the metric name.
pub(super) const NUMBERS: [(&str, &str); 17] = [
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
/// The positions in [`NUMBERS`].
pub(super) mod place {
    pub const ADDR_ASSIGN_TYPE: usize = 0;
    pub const CARRIER: usize = 1;
    pub const CARRIER_CHANGES: usize = 2;
    pub const CARRIER_DOWN_COUNT: usize = 3;
    pub const CARRIER_UP_COUNT: usize = 4;
    pub const DEV_ID: usize = 5;
    pub const DORMANT: usize = 6;
    pub const FLAGS: usize = 7;
    pub const IFINDEX: usize = 8;
    pub const IFLINK: usize = 9;
    pub const LINK_MODE: usize = 10;
    pub const MTU: usize = 11;
    pub const NAME_ASSIGN_TYPE: usize = 12;
    pub const NETDEV_GROUP: usize = 13;
    pub const SPEED: usize = 14;
    pub const TX_QUEUE_LEN: usize = 15;
    pub const KIND: usize = 16;
}
/// The kernel says megabits per second.
pub(super) const SPEED: &str = "speed_bytes";
/// `IFF_UP`
const UP: u64 = 1;

/// The properties of a device that are shown.
#[derive(Debug, Default)]
pub(super) struct Device {
    pub name: Vec<u8>,
    /// The values of [`NUMBERS`] that the driver provides.
    pub numbers: [Option<Value>; NUMBERS.len()],
    pub address: Vec<u8>,
    pub broadcast: Vec<u8>,
    pub duplex: Vec<u8>,
    pub alias: Vec<u8>,
    pub state: Vec<u8>,
}

impl Device {
    /// Resets it to a device of which only the name is known.
    pub(super) fn begin(&mut self, name: &[u8]) {
        self.numbers = Default::default();
        for text in [
            &mut self.name,
            &mut self.address,
            &mut self.broadcast,
            &mut self.duplex,
            &mut self.alias,
            &mut self.state,
        ] {
            text.clear();
        }
        self.name.extend_from_slice(name);
    }

    pub(super) fn number(&self, place: usize) -> Option<Value> {
        self.numbers.get(place).copied().flatten()
    }

    pub(super) fn set(&mut self, place: usize, value: Option<Value>) {
        if let Some(slot) = self.numbers.get_mut(place) {
            *slot = value;
        }
    }

    pub(super) fn administrative_state(&self) -> &'static [u8] {
        match self.number(place::FLAGS) {
            Some(Value::Integer(flags)) if flags & UP != 0 => b"up",
            Some(_) => b"down",
            None => b"unknown",
        }
    }

    /// The labels of the info metric, ordered by name.
    pub(super) fn words(&self) -> [(&'static str, &[u8]); 7] {
        [
            ("address", &self.address),
            ("adminstate", self.administrative_state()),
            ("broadcast", &self.broadcast),
            ("device", &self.name),
            ("duplex", &self.duplex),
            ("ifalias", &self.alias),
            ("operstate", &self.state),
        ]
    }
}

pub(super) fn parse(text: &[u8]) -> Option<Value> {
    match parse_prefixed(text) {
        Some(number) => Some(number.into()),
        None => parse_signed(text).map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrative_state_is_a_flag() {
        let mut device = Device::default();
        assert_eq!(device.administrative_state(), b"unknown");
        device.set(place::FLAGS, parse(b"0x1003"));
        assert_eq!(device.administrative_state(), b"up");
        device.set(place::FLAGS, parse(b"0x1002"));
        assert_eq!(device.administrative_state(), b"down");
    }

    #[test]
    fn places_are_those_of_the_numbers() {
        for (place, file) in [
            (place::ADDR_ASSIGN_TYPE, "addr_assign_type"),
            (place::DORMANT, "dormant"),
            (place::LINK_MODE, "link_mode"),
            (place::KIND, "type"),
        ] {
            assert_eq!(NUMBERS[place].0, file);
        }
        assert_eq!(place::KIND + 1, NUMBERS.len());
    }
}
