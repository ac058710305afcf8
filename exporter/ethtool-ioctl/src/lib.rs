//! Information and statistics of network drivers, through `ioctl(2)` with `SIOCETHTOOL`.
//!
//! The names and layouts are those of `linux/ethtool.h`. Netlink has most of it as well, except driver-specific counters
//! and the versions of the firmware. The kernel answers for the network namespace of this process.
//!
//! The module `kernel` contains all unsafe code; this file only interprets the bytes.

#[allow(unsafe_code)]
mod kernel;

use std::io;
use std::os::fd::OwnedFd;

use kernel::{DeviceName, Memory};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

/// `ETHTOOL_GSET`
const GET_SETTINGS: u32 = 0x01;
/// `ETHTOOL_GDRVINFO`
const GET_DRIVER: u32 = 0x03;
/// `ETHTOOL_GSTRINGS`
const GET_STRINGS: u32 = 0x1b;
/// `ETHTOOL_GSTATS`
const GET_STATISTICS: u32 = 0x1d;
/// `ETH_SS_STATS`: the names of the counters.
const NAMES_OF_STATISTICS: u32 = 1;

/// `ETH_GSTRING_LEN`
const NAME: usize = 32;
/// More than any driver has; also the limit of the library that node_exporter uses.
const MOST: u32 = 32_768;
/// The header of `struct ethtool_gstrings`, before the names.
const BEFORE_NAMES: usize = 12;
/// The header of `struct ethtool_stats`, before the values.
const BEFORE_VALUES: usize = 8;
/// Slightly more than the largest request of fixed length, `struct ethtool_drvinfo`.
const FIXED: usize = 256;
/// Queues and their counters may come and go. This is how often names and values are requested until they match.
const TRIES: u32 = 3;

/// The socket for the requests, and the memory for the answers.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
    memory: Memory,
}

/// `struct ethtool_drvinfo`, whose texts come from the driver and need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// The driver's name.
    pub name: Vec<u8>,
    /// The driver's version, which is usually that of the kernel.
    pub version: Vec<u8>,
    /// Version of the firmware.
    pub firmware_version: Vec<u8>,
    /// Version of the expansion ROM.
    pub expansion_rom_version: Vec<u8>,
    /// The location of the device on its bus.
    pub bus: Vec<u8>,
    /// The number of its counters.
    statistics: u32,
}

/// `struct ethtool_cmd`: bits of `enum ethtool_link_mode_bit_indices`, of which it holds the first 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The capabilities of the device.
    pub supported: u32,
    /// What it advertises to the link partner.
    pub advertised: u32,
    /// 1 if autonegotiation is enabled, otherwise 0.
    pub autonegotiation: u8,
}

/// A counter's name, as given by the driver, and its value.
pub type Statistic = (Vec<u8>, u64);

impl Ethtool {
    /// Opens a socket for the requests.
    ///
    /// # Errors
    ///
    /// The kernel has neither IPv4 nor netlink, or no memory is available.
    pub fn open() -> io::Result<Self> {
        let datagrams = |family, protocol| {
            socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)
        };
        // Any socket works, because the request is about a device.
        let socket = datagrams(AddressFamily::INET, None)
            .or_else(|_| datagrams(AddressFamily::NETLINK, Some(netlink::GENERIC)))?;
        Ok(Self {
            socket,
            memory: Memory::new(BEFORE_NAMES + MOST as usize * NAME)?,
        })
    }

    /// Returns information about the device's driver.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] if the driver has no such information; the device has disappeared, or the name is
    /// invalid.
    pub fn driver(&mut self, device: &[u8]) -> io::Result<Driver> {
        self.ask(device, &[GET_DRIVER])?;
        Driver::read(self.memory.bytes()).ok_or_else(cut_off)
    }

    /// Returns the settings of the device's link.
    ///
    /// # Errors
    ///
    /// See [`Ethtool::driver`].
    pub fn link(&mut self, device: &[u8]) -> io::Result<Link> {
        self.ask(device, &[GET_SETTINGS])?;
        Link::read(self.memory.bytes()).ok_or_else(cut_off)
    }

    /// Returns all counters of the driver, in its order. Names may be empty or duplicate.
    ///
    /// # Errors
    ///
    /// See [`Ethtool::driver`]; or there are too many counters, or they keep changing.
    pub fn statistics(&mut self, device: &[u8]) -> io::Result<Vec<Statistic>> {
        for _ in 0..TRIES {
            let count = self.driver(device)?.statistics;
            if count > MOST {
                let text = format!("it reports {count} counters, more than the maximum of {MOST}");
                return Err(io::Error::other(text));
            }
            self.ask(device, &[GET_STRINGS, NAMES_OF_STATISTICS, count])?;
            let names = names(self.memory.bytes()).ok_or_else(cut_off)?;
            self.ask(device, &[GET_STATISTICS, count])?;
            let values = values(self.memory.bytes()).ok_or_else(cut_off)?;
            if names.len() == values.len() {
                return Ok(names.into_iter().zip(values).collect());
            }
        }
        Err(io::Error::other(
            "the number of its counters changed while they were read",
        ))
    }

    /// Writes a request into the memory, which the answer replaces.
    fn ask(&mut self, device: &[u8], request: &[u32]) -> io::Result<()> {
        let name = DeviceName::new(device).ok_or_else(|| {
            let text = "the name of a network device must have 1 to 15 bytes";
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let bytes = self.memory.bytes_mut();
        bytes.iter_mut().take(FIXED).for_each(|byte| *byte = 0);
        for (place, word) in bytes.chunks_exact_mut(4).zip(request) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        kernel::ask(&self.socket, name, &mut self.memory)
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is truncated")
}

impl Driver {
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = |start| Some(until_nul(bytes.get(start..start + 32)?));
        Some(Self {
            name: text(4)?,
            version: text(36)?,
            firmware_version: text(68)?,
            bus: text(100)?,
            expansion_rom_version: text(132)?,
            statistics: u32_at(bytes, 180)?,
        })
    }
}

impl Link {
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            supported: u32_at(bytes, 4)?,
            advertised: u32_at(bytes, 8)?,
            autonegotiation: *bytes.get(18)?,
        })
    }
}

/// Returns the number of names from `struct ethtool_gstrings`.
fn names(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let count = u32_at(bytes, 8)? as usize;
    let names = bytes.get(BEFORE_NAMES..)?.get(..count.checked_mul(NAME)?)?;
    Some(names.chunks_exact(NAME).map(until_nul).collect())
}

/// Returns the number of values from `struct ethtool_stats`.
fn values(bytes: &[u8]) -> Option<Vec<u64>> {
    let count = u32_at(bytes, 4)? as usize;
    let (values, _) = bytes.get(BEFORE_VALUES..)?.as_chunks();
    let values = values.get(..count)?;
    Some(
        values
            .iter()
            .map(|value| u64::from_ne_bytes(*value))
            .collect(),
    )
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect()
}

fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    bytes
        .get(start..)?
        .first_chunk()
        .map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: &mut [u8], start: usize, what: &[u8]) {
        bytes[start..start + what.len()].copy_from_slice(what);
    }

    #[test]
    fn a_driver_and_its_link() {
        let mut bytes = vec![0; FIXED];
        for (start, text) in [
            (4, "e1000e"),
            (36, "5.11.0-22-generic"),
            (68, "0.5-4"),
            (100, "0000:00:1f.6"),
            (132, "a name that is thirty-two bytes.and of the next field"),
        ] {
            put(&mut bytes, start, text.as_bytes());
        }
        put(&mut bytes, 180, &12_u32.to_ne_bytes());
        let driver = Driver::read(&bytes).unwrap();
        assert_eq!(driver.name, b"e1000e");
        assert_eq!(driver.version, b"5.11.0-22-generic");
        assert_eq!(driver.firmware_version, b"0.5-4");
        assert_eq!(driver.bus, b"0000:00:1f.6");
        let rom = b"a name that is thirty-two bytes.";
        assert_eq!(driver.expansion_rom_version, rom);
        assert_eq!(driver.statistics, 12);
        assert_eq!(Driver::read(&bytes[..180]), None);

        let mut bytes = vec![0; 44];
        put(&mut bytes, 4, &0x2ff_u32.to_ne_bytes());
        put(&mut bytes, 8, &0x2f_u32.to_ne_bytes());
        bytes[18] = 1;
        let link = Link {
            supported: 0x2ff,
            advertised: 0x2f,
            autonegotiation: 1,
        };
        assert_eq!(Link::read(&bytes), Some(link));
        assert_eq!(Link::read(&bytes[..18]), None);
    }

    #[test]
    fn names_and_values_are_as_many_as_the_answer_says() {
        let mut bytes = vec![0; BEFORE_NAMES + 3 * NAME];
        put(&mut bytes, 8, &2_u32.to_ne_bytes());
        put(&mut bytes, BEFORE_NAMES, b"rx_packets");
        put(&mut bytes, BEFORE_NAMES + NAME, b"tx");
        put(&mut bytes, BEFORE_NAMES + 2 * NAME, b"of an earlier answer");
        assert_eq!(names(&bytes).unwrap(), [&b"rx_packets"[..], b"tx"]);
        put(&mut bytes, 8, &4_u32.to_ne_bytes());
        assert_eq!(names(&bytes), None);

        let mut bytes = vec![0; BEFORE_VALUES + 16];
        put(&mut bytes, 4, &1_u32.to_ne_bytes());
        put(&mut bytes, 8, &u64::MAX.to_ne_bytes());
        assert_eq!(values(&bytes), Some(vec![u64::MAX]));
        put(&mut bytes, 4, &3_u32.to_ne_bytes());
        assert_eq!(values(&bytes), None);
    }

    #[test]
    fn the_kernel_answers_for_real_devices() {
        let mut ethtool = Ethtool::open().unwrap();
        let gone = ethtool.driver(b"no-such-device").unwrap_err();
        assert_eq!(
            gone.raw_os_error(),
            Some(rustix::io::Errno::NODEV.raw_os_error())
        );
        for name in ["", "a-name-of-16-bytes", "a\0b"] {
            let refused = ethtool.link(name.as_bytes()).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
        // The loopback has no driver, and no counters of one.
        let none = ethtool.statistics(b"lo").unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::Unsupported);
        for entry in std::fs::read_dir("/sys/class/net").unwrap() {
            let device = entry.unwrap().file_name().into_encoded_bytes();
            let Ok(driver) = ethtool.driver(&device) else {
                continue;
            };
            assert!(!driver.name.is_empty());
            if let Ok(statistics) = ethtool.statistics(&device) {
                assert_eq!(statistics.len() as u32, driver.statistics);
            }
        }
    }
}
