//! Speed and duplex of network devices, from ethtool's generic netlink.

use std::collections::BTreeMap;

use crate::sources::{Deadline, Netlink, NetlinkError, attributes, u32_at};

/// `struct genlmsghdr` with `ETHTOOL_MSG_LINKMODES_GET`, version 1.
const REQUEST: [u8; 4] = [4, 1, 0, 0];
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;
/// `struct genlmsghdr`
const HEADER: usize = 4;
/// `ETHTOOL_A_LINKMODES_HEADER`, which holds the index of the device.
const DEVICE: u16 = 1;
/// `ETHTOOL_A_HEADER_DEV_INDEX`
const INDEX: u16 = 1;
/// `ETHTOOL_A_LINKMODES_SPEED`
const SPEED: u16 = 5;
/// `ETHTOOL_A_LINKMODES_DUPLEX`
const DUPLEX: u16 = 6;

/// Asks the kernel for link modes.
#[derive(Debug)]
pub(super) struct LinkModes {
    netlink: Netlink,
    /// The number that this kernel gave to ethtool.
    family: Option<u16>,
}

/// How a device's link runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkMode {
    /// Megabits per second; the greatest number where it is unknown.
    speed: u32,
    duplex: u8,
}

impl Default for LinkModes {
    fn default() -> Self {
        Self {
            netlink: Netlink::generic(),
            family: None,
        }
    }
}

impl LinkModes {
    /// The link modes of the devices whose drivers have any, by the devices' indices. A kernel before Linux 5.6 has
    /// none to tell.
    pub(super) fn read(
        &mut self,
        deadline: Deadline,
    ) -> Result<BTreeMap<u32, LinkMode>, NetlinkError> {
        self.netlink.until(deadline);
        let mut modes = BTreeMap::new();
        if self.family.is_none() {
            self.family = self.netlink.family("ethtool")?;
        }
        if let Some(family) = self.family {
            // An empty header: all devices.
            let (length, kind) = (4_u16.to_ne_bytes(), (NESTED | DEVICE).to_ne_bytes());
            let request = [&REQUEST[..], &length, &kind].concat();
            self.netlink.dump("link modes", family, &request, |entry| {
                modes.extend(parse(entry));
            })?;
        }
        Ok(modes)
    }
}

impl LinkMode {
    pub(super) fn bytes_per_second(self) -> u64 {
        u64::from(self.speed) * 1_000_000 / 8
    }

    pub(super) fn duplex(self) -> &'static str {
        match self.duplex {
            0 => "Half",
            1 => "Full",
            _ => "Unknown",
        }
    }
}

fn parse(entry: &[u8]) -> Option<(u32, LinkMode)> {
    let mut index = None;
    let mut mode = LinkMode::default();
    for (kind, value) in attributes(entry.get(HEADER..)?) {
        match kind {
            DEVICE => {
                let found = attributes(value).find(|(kind, _)| *kind == INDEX);
                index = found.and_then(|(_, value)| u32_at(value, 0));
            }
            SPEED => mode.speed = u32_at(value, 0)?,
            DUPLEX => mode.duplex = *value.first()?,
            _ => {}
        }
    }
    Some((index?, mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::attribute;

    #[test]
    fn speed_and_duplex_belong_to_a_device() {
        let device = attribute(INDEX, &7_u32.to_ne_bytes());
        let entry = [
            vec![4, 1, 0, 0],
            attribute(NESTED | DEVICE, &device),
            attribute(SPEED, &2500_u32.to_ne_bytes()),
            attribute(DUPLEX, &[1]),
        ]
        .concat();
        let (index, mode) = parse(&entry).unwrap();
        assert_eq!(
            (index, mode.bytes_per_second(), mode.duplex()),
            (7, 312_500_000, "Full")
        );
        assert_eq!(parse(&entry[..4]), None);
    }

    #[test]
    fn the_kernel_answers() {
        let deadline = Deadline::after(std::time::Duration::from_secs(5));
        LinkModes::default().read(deadline).unwrap();
    }
}
