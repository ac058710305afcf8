//! Speed and duplex of network devices, over ethtool's generic netlink.

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
/// `ETHTOOL_A_HEADER_FLAGS`
const FLAGS: u16 = 3;
/// `ETHTOOL_FLAG_COMPACT_BITSETS`: a fast card has a hundred modes, whose names are not needed here.
const COMPACT: u32 = 1;
/// `ETHTOOL_A_LINKMODES_SPEED`
const SPEED: u16 = 5;
/// `ETHTOOL_A_LINKMODES_DUPLEX`
const DUPLEX: u16 = 6;

/// Queries the kernel for the link modes of all devices at once.
#[derive(Debug)]
pub(super) struct LinkModes {
    netlink: Netlink,
    family: Family,
    /// The replies, ordered by index.
    modes: Vec<(u32, LinkMode)>,
}

/// The number that this kernel assigned to ethtool when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Unknown,
    /// A kernel before Linux 5.6, or one that was built without it.
    Absent,
    Number(u16),
}

/// The state of a device's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkMode {
    /// Megabits per second; the maximum number if it is unknown.
    speed: u32,
    duplex: u8,
}

impl Default for LinkModes {
    fn default() -> Self {
        Self {
            netlink: Netlink::generic(),
            family: Family::Unknown,
            modes: Vec::new(),
        }
    }
}

impl LinkModes {
    /// Reads the link modes of all devices that have any; returns whether this kernel reports them over netlink.
    ///
    /// # Errors
    ///
    /// The kernel did not answer, or a driver failed; the modes of the devices before that one are then available.
    pub(super) fn read(&mut self, deadline: Deadline) -> Result<bool, NetlinkError> {
        self.netlink.until(deadline);
        self.modes.clear();
        if self.family == Family::Unknown {
            let number = self.netlink.family("ethtool")?;
            self.family = number.map_or(Family::Absent, Family::Number);
        }
        let Family::Number(family) = self.family else {
            return Ok(false);
        };
        let modes = &mut self.modes;
        let dumped = self
            .netlink
            .dump("link modes", family, &request(), |entry| {
                modes.extend(parse(entry))
            });
        modes.sort_unstable_by_key(|(index, _)| *index);
        dumped.map(|()| true)
    }

    /// Returns the link mode of the device with this index, if its driver reported one.
    pub(super) fn of(&self, index: u32) -> Option<LinkMode> {
        let found = self.modes.binary_search_by_key(&index, |(index, _)| *index);
        let found = found.ok().and_then(|place| self.modes.get(place));
        found.map(|(_, mode)| *mode)
    }
}

#[cfg(test)]
impl LinkModes {
    /// For a kernel that does not report them over netlink.
    pub(super) fn of_an_old_kernel() -> Self {
        Self {
            family: Family::Absent,
            ..Self::default()
        }
    }
}

impl LinkMode {
    pub(super) fn megabits(self) -> u32 {
        self.speed
    }

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

/// For all devices: a header that names none.
fn request() -> [u8; 16] {
    let mut request = [0; 16];
    let parts: [&[u8]; 6] = [
        &REQUEST,
        &12_u16.to_ne_bytes(),
        &(NESTED | DEVICE).to_ne_bytes(),
        &8_u16.to_ne_bytes(),
        &FLAGS.to_ne_bytes(),
        &COMPACT.to_ne_bytes(),
    ];
    let bytes = parts.into_iter().flatten();
    for (slot, byte) in request.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    request
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
    fn the_kernel_answers_again_and_again() {
        let mut modes = LinkModes::default();
        let deadline = Deadline::after(std::time::Duration::from_secs(5));
        let told = modes.read(deadline).unwrap();
        assert_eq!(modes.read(deadline).unwrap(), told);
        assert!(modes.modes.is_sorted_by_key(|(index, _)| *index));
        assert_eq!(modes.of(u32::MAX), None);
    }
}
