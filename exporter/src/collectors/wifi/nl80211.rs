//! Wireless interfaces, their networks and stations, from the generic netlink family nl80211.

use crate::sources::{Deadline, Netlink, NetlinkError, attributes, u16_at, u32_at, u64_at};

/// `NL80211_CMD_GET_INTERFACE`
const GET_INTERFACES: u8 = 5;
/// `NL80211_CMD_GET_STATION`
const GET_STATIONS: u8 = 17;
/// `NL80211_CMD_GET_SCAN`: the networks that an interface has received, including its own.
const GET_NETWORKS: u8 = 32;
/// `struct genlmsghdr`
const HEADER: usize = 4;

/// The attributes under the kernel's names.
mod attribute {
    pub const IFINDEX: u16 = 3;
    pub const IFNAME: u16 = 4;
    pub const MAC: u16 = 6;
    pub const STA_INFO: u16 = 21;
    pub const WIPHY_FREQ: u16 = 38;
    pub const BSS: u16 = 47;

    pub const BSS_BSSID: u16 = 1;
    pub const BSS_INFORMATION_ELEMENTS: u16 = 6;
    pub const BSS_STATUS: u16 = 9;

    pub const STA_INFO_INACTIVE_TIME: u16 = 1;
    pub const STA_INFO_RX_BYTES: u16 = 2;
    pub const STA_INFO_TX_BYTES: u16 = 3;
    pub const STA_INFO_SIGNAL: u16 = 7;
    pub const STA_INFO_TX_BITRATE: u16 = 8;
    pub const STA_INFO_RX_PACKETS: u16 = 9;
    pub const STA_INFO_TX_PACKETS: u16 = 10;
    pub const STA_INFO_TX_RETRIES: u16 = 11;
    pub const STA_INFO_TX_FAILED: u16 = 12;
    pub const STA_INFO_RX_BITRATE: u16 = 14;
    pub const STA_INFO_CONNECTED_TIME: u16 = 16;
    pub const STA_INFO_BEACON_LOSS: u16 = 18;
    pub const STA_INFO_RX_BYTES64: u16 = 23;
    pub const STA_INFO_TX_BYTES64: u16 = 24;

    pub const RATE_INFO_BITRATE: u16 = 1;
    pub const RATE_INFO_BITRATE32: u16 = 5;
}

/// The information element of IEEE 802.11 that holds a network's name.
const SSID: u8 = 0;

/// Queries the kernel about wireless devices.
#[derive(Debug)]
pub(super) struct Wireless {
    netlink: Netlink,
    /// The number that this kernel assigned to nl80211.
    family: Option<u16>,
}

/// A wireless network device.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub index: u32,
    pub name: Vec<u8>,
    pub megahertz: u32,
}

/// The network that an interface takes part in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    pub id: Vec<u8>,
    pub name: Vec<u8>,
    pub status: u32,
}

/// Another device with which an interface exchanges packets. Values that the driver does not count are 0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Station {
    pub address: Vec<u8>,
    pub connected_seconds: u32,
    pub inactive_milliseconds: u32,
    pub received_bytes: u64,
    pub transmitted_bytes: u64,
    pub received_packets: u32,
    pub transmitted_packets: u32,
    pub transmit_retries: u32,
    pub transmit_failures: u32,
    pub beacon_losses: u32,
    pub signal_dbm: i8,
    pub receive_bits_per_second: u64,
    pub transmit_bits_per_second: u64,
}

impl Default for Wireless {
    fn default() -> Self {
        Self {
            netlink: Netlink::generic(),
            family: None,
        }
    }
}

impl Wireless {
    /// The interfaces in order of name; `None` when the kernel has no wireless devices at all.
    pub(super) fn interfaces(
        &mut self,
        deadline: Deadline,
    ) -> Result<Option<Vec<Interface>>, NetlinkError> {
        self.netlink.until(deadline);
        if self.family.is_none() {
            self.family = self.netlink.family("nl80211")?;
        }
        let Some(family) = self.family else {
            return Ok(None);
        };
        let mut interfaces = Vec::new();
        let request = request(GET_INTERFACES, None);
        self.netlink
            .dump("wireless interfaces", family, &request, |entry| {
                interfaces.extend(parse_interface(entry));
            })?;
        interfaces.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(interfaces))
    }

    /// The network that the interface is joined to.
    pub(super) fn network(&mut self, interface: u32) -> Result<Option<Network>, NetlinkError> {
        let mut joined = None;
        self.ask("wireless networks", GET_NETWORKS, interface, |entry| {
            joined = joined.take().or_else(|| parse_network(entry));
        })?;
        Ok(joined)
    }

    /// The stations of the interface, in order of address.
    pub(super) fn stations(&mut self, interface: u32) -> Result<Vec<Station>, NetlinkError> {
        let mut stations = Vec::new();
        self.ask("wireless stations", GET_STATIONS, interface, |entry| {
            stations.extend(parse_station(entry));
        })?;
        stations.sort_unstable_by(|a, b| a.address.cmp(&b.address));
        Ok(stations)
    }

    fn ask(
        &mut self,
        table: &'static str,
        command: u8,
        interface: u32,
        each: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        let Some(family) = self.family else {
            return Ok(());
        };
        let request = request(command, Some(interface));
        match self.netlink.dump(table, family, &request, each) {
            // Not every driver and not every kind of interface has such a table.
            Err(error) if error.is_unsupported() => Ok(()),
            result => result,
        }
    }
}

fn request(command: u8, interface: Option<u32>) -> Vec<u8> {
    let mut request = vec![command, 0, 0, 0];
    if let Some(index) = interface {
        request.extend_from_slice(&8_u16.to_ne_bytes());
        request.extend_from_slice(&attribute::IFINDEX.to_ne_bytes());
        request.extend_from_slice(&index.to_ne_bytes());
    }
    request
}

/// An interface, unless it is a virtual one without a network device.
fn parse_interface(entry: &[u8]) -> Option<Interface> {
    let mut interface = Interface::default();
    for (kind, value) in attributes(entry.get(HEADER..)?) {
        match kind {
            attribute::IFINDEX => interface.index = u32_at(value, 0)?,
            attribute::IFNAME => {
                interface.name = value.strip_suffix(b"\0").unwrap_or(value).to_vec();
            }
            attribute::WIPHY_FREQ => interface.megahertz = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(interface).filter(|interface| !interface.name.is_empty())
}

/// A network, if the interface is joined to it: only then it has a status.
fn parse_network(entry: &[u8]) -> Option<Network> {
    let mut network = Network::default();
    let mut joined = false;
    let mut all = attributes(entry.get(HEADER..)?);
    let (_, properties) = all.find(|(kind, _)| *kind == attribute::BSS)?;
    for (kind, value) in attributes(properties) {
        match kind {
            attribute::BSS_BSSID => network.id = value.to_vec(),
            attribute::BSS_INFORMATION_ELEMENTS => {
                network.name = element(value, SSID).unwrap_or_default().to_vec();
            }
            attribute::BSS_STATUS => {
                network.status = u32_at(value, 0)?;
                joined = true;
            }
            _ => {}
        }
    }
    joined.then_some(network)
}

/// An information element: each has a number, a length and so many bytes.
fn element(mut elements: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [number, length, rest @ ..] = elements {
        let (value, more) = rest.split_at_checked(usize::from(*length))?;
        if *number == wanted {
            return Some(value);
        }
        elements = more;
    }
    None
}

fn parse_station(entry: &[u8]) -> Option<Station> {
    let mut station = Station::default();
    let mut counted = false;
    for (kind, value) in attributes(entry.get(HEADER..)?) {
        match kind {
            attribute::MAC => station.address = value.to_vec(),
            attribute::STA_INFO => {
                for (kind, value) in attributes(value) {
                    station.take(kind, value)?;
                }
                counted = true;
            }
            _ => {}
        }
    }
    counted.then_some(station)
}

impl Station {
    fn take(&mut self, kind: u16, value: &[u8]) -> Option<()> {
        let number = || u32_at(value, 0);
        match kind {
            attribute::STA_INFO_INACTIVE_TIME => self.inactive_milliseconds = number()?,
            attribute::STA_INFO_CONNECTED_TIME => self.connected_seconds = number()?,
            attribute::STA_INFO_RX_PACKETS => self.received_packets = number()?,
            attribute::STA_INFO_TX_PACKETS => self.transmitted_packets = number()?,
            attribute::STA_INFO_TX_RETRIES => self.transmit_retries = number()?,
            attribute::STA_INFO_TX_FAILED => self.transmit_failures = number()?,
            attribute::STA_INFO_BEACON_LOSS => self.beacon_losses = number()?,
            attribute::STA_INFO_SIGNAL => self.signal_dbm = value.first()?.cast_signed(),
            attribute::STA_INFO_RX_BITRATE => self.receive_bits_per_second = parse_rate(value)?,
            attribute::STA_INFO_TX_BITRATE => self.transmit_bits_per_second = parse_rate(value)?,
            attribute::STA_INFO_RX_BYTES64 => self.received_bytes = u64_at(value, 0)?,
            attribute::STA_INFO_TX_BYTES64 => self.transmitted_bytes = u64_at(value, 0)?,
            // The short counters count where the driver has no long ones, whichever come first.
            attribute::STA_INFO_RX_BYTES if self.received_bytes == 0 => {
                self.received_bytes = number()?.into();
            }
            attribute::STA_INFO_TX_BYTES if self.transmitted_bytes == 0 => {
                self.transmitted_bytes = number()?.into();
            }
            _ => {}
        }
        Some(())
    }
}

/// A rate; the kernel counts 100 kilobits per second, in four bytes and, as far as it goes, in two.
fn parse_rate(value: &[u8]) -> Option<u64> {
    let find = |wanted| attributes(value).find(|(kind, _)| *kind == wanted);
    let rate = match (
        find(attribute::RATE_INFO_BITRATE32),
        find(attribute::RATE_INFO_BITRATE),
    ) {
        (Some((_, value)), _) => u64::from(u32_at(value, 0)?),
        (None, Some((_, value))) => u64::from(u16_at(value, 0)?),
        (None, None) => 0,
    };
    Some(rate * 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::attribute as encoded;

    fn entry(attributes: &[Vec<u8>]) -> Vec<u8> {
        [vec![0; HEADER], attributes.concat()].concat()
    }

    fn number(kind: u16, value: u32) -> Vec<u8> {
        encoded(kind, &value.to_ne_bytes())
    }

    #[test]
    fn an_interface_has_a_name() {
        let named = entry(&[
            number(attribute::IFINDEX, 4),
            encoded(attribute::IFNAME, b"wlan0\0"),
            number(attribute::WIPHY_FREQ, 2412),
        ]);
        let expected = Interface {
            index: 4,
            name: b"wlan0".to_vec(),
            megahertz: 2412,
        };
        assert_eq!(parse_interface(&named), Some(expected));
        assert_eq!(
            parse_interface(&entry(&[number(attribute::IFINDEX, 4)])),
            None
        );
    }

    #[test]
    fn only_a_network_with_a_status_is_joined() {
        let elements = [1, 2, 0x82, 0x84, SSID, 4, b'h', b'o', b'm', b'e'];
        let heard = [
            encoded(attribute::BSS_BSSID, &[0, 1, 2, 3, 4, 5]),
            encoded(attribute::BSS_INFORMATION_ELEMENTS, &elements),
        ];
        let bss = |parts: &[Vec<u8>]| entry(&[encoded(attribute::BSS, &parts.concat())]);
        assert_eq!(parse_network(&bss(&heard)), None);
        let joined = [heard.concat(), number(attribute::BSS_STATUS, 1)];
        let expected = Network {
            id: vec![0, 1, 2, 3, 4, 5],
            name: b"home".to_vec(),
            status: 1,
        };
        assert_eq!(parse_network(&bss(&joined)), Some(expected));
        assert_eq!(element(&elements[..7], SSID), None, "cut short");
    }

    #[test]
    fn a_station_is_what_its_driver_counts() {
        let rate = [
            encoded(attribute::RATE_INFO_BITRATE, &130_u16.to_ne_bytes()),
            number(attribute::RATE_INFO_BITRATE32, 70_000),
        ];
        let short = encoded(attribute::RATE_INFO_BITRATE, &130_u16.to_ne_bytes());
        let counts = [
            number(attribute::STA_INFO_RX_BYTES, 7),
            encoded(attribute::STA_INFO_RX_BYTES64, &(1_u64 << 40).to_ne_bytes()),
            number(attribute::STA_INFO_TX_BYTES, 8),
            number(attribute::STA_INFO_INACTIVE_TIME, 400),
            encoded(attribute::STA_INFO_SIGNAL, &[0xcc]),
            encoded(attribute::STA_INFO_RX_BITRATE, &rate.concat()),
            encoded(attribute::STA_INFO_TX_BITRATE, &short),
        ];
        let station = parse_station(&entry(&[
            encoded(attribute::MAC, &[1; 6]),
            encoded(attribute::STA_INFO, &counts.concat()),
        ]));
        let expected = Station {
            address: vec![1; 6],
            received_bytes: 1 << 40,
            transmitted_bytes: 8,
            inactive_milliseconds: 400,
            signal_dbm: -52,
            receive_bits_per_second: 7_000_000_000,
            transmit_bits_per_second: 13_000_000,
            ..Station::default()
        };
        assert_eq!(station, Some(expected));
        assert_eq!(
            parse_station(&entry(&[encoded(attribute::MAC, &[1; 6])])),
            None
        );
    }

    #[test]
    fn a_request_may_name_its_interface() {
        assert_eq!(request(GET_INTERFACES, None), [5, 0, 0, 0]);
        let mut named = vec![17, 0, 0, 0];
        named.extend(number(attribute::IFINDEX, 9));
        assert_eq!(request(GET_STATIONS, Some(9)), named);
    }
}
