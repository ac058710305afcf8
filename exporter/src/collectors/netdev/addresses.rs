//! The IP addresses of network devices, for `netdev`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::collect::CollectError;
use crate::collect::device_filter::DeviceFilter;
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, Netlink, attributes, u32_at};

/// `RTM_GETADDR`
const GET_ADDRESSES: u16 = 22;
/// `struct ifaddrmsg`; a request without a family asks for all.
const HEADER: usize = 8;
/// `IFA_ADDRESS`: the address, or the peer's on a point-to-point link.
const ADDRESS: u16 = 1;
/// `IFA_LOCAL`: the host's own address, if the two differ.
const LOCAL: u16 = 2;

/// Queries the kernel for the addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    netlink: Netlink,
}

#[derive(Debug, PartialEq, Eq)]
struct Address {
    device: u32,
    ip: IpAddr,
    prefix: u8,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            netlink: Netlink::routing(),
        }
    }
}

impl Addresses {
    /// Writes one sample for each address of each device that is not left out.
    pub(super) fn collect(
        &mut self,
        filter: &DeviceFilter,
        out: &mut Exposition,
        deadline: Deadline,
    ) -> Result<(), CollectError> {
        let mut addresses = Vec::new();
        self.netlink
            .until(deadline)
            .dump("addresses", GET_ADDRESSES, &[0; HEADER], |entry| {
                addresses.extend(parse(entry));
            })?;
        let mut rows = Vec::new();
        for address in addresses {
            let Some(device) = self.netlink.device_name(address.device) else {
                continue;
            };
            if !filter.ignores(device.as_bytes()) {
                let (ip, prefix) = (address.ip.to_string(), address.prefix.to_string());
                rows.push((ip, device.as_str().to_owned(), prefix, scope(address.ip)));
            }
        }
        rows.sort_unstable();
        let help = "IP address of the network device; the value is always 1.";
        let mut family = out.family(&["node_network_address_info"], &[help], MetricKind::Gauge);
        for (ip, device, prefix, scope) in &rows {
            family.sample(
                &[
                    ("address", ip.as_bytes()),
                    ("device", device.as_bytes()),
                    ("netmask", prefix.as_bytes()),
                    ("scope", scope.as_bytes()),
                ],
                1,
            );
        }
        Ok(())
    }
}

fn parse(entry: &[u8]) -> Option<Address> {
    let prefix = *entry.get(1)?;
    let device = u32_at(entry, 4)?;
    let find = |wanted| {
        let mut all = attributes(entry.get(HEADER..)?);
        all.find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let bytes = find(LOCAL).or_else(|| find(ADDRESS))?;
    let ip = match *bytes {
        [a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from_octets(bytes.try_into().ok()?)).to_canonical(),
    };
    Some(Address { device, ip, prefix })
}

/// The scope, derived from the address alone, in node_exporter's terms.
fn scope(ip: IpAddr) -> &'static str {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.segments()[0] & 0xff0f == 0xff02,
    };
    let interface_local = matches!(ip, IpAddr::V6(ip) if ip.segments()[0] & 0xff0f == 0xff01);
    if ip.is_loopback() || link_local {
        "link-local"
    } else if interface_local {
        "interface-local"
    } else if ip.is_unspecified() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST {
        ""
    } else {
        "global"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::attribute;

    fn entry(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut entry = vec![2, 24, 0, 0];
        entry.extend_from_slice(&7_u32.to_ne_bytes());
        for (kind, value) in attributes {
            entry.extend(attribute(*kind, value));
        }
        entry
    }

    #[test]
    fn of_a_point_to_point_link_the_near_end_is_shown() {
        let near = Address {
            device: 7,
            ip: "10.0.0.1".parse().unwrap(),
            prefix: 24,
        };
        assert_eq!(
            parse(&entry(&[
                (ADDRESS, &[10, 0, 0, 2]),
                (LOCAL, &[10, 0, 0, 1])
            ])),
            Some(near)
        );
        let far = parse(&entry(&[(ADDRESS, &[0xfe; 16])])).unwrap();
        assert_eq!(
            far.ip.to_string(),
            "fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe"
        );
        assert_eq!(parse(&entry(&[])), None);
        assert_eq!(parse(&entry(&[(ADDRESS, &[1, 2, 3])])), None);
    }

    #[test]
    fn scopes_follow_from_the_address() {
        for (ip, expected) in [
            ("127.0.0.1", "link-local"),
            ("169.254.3.4", "link-local"),
            ("224.0.0.9", "link-local"),
            ("10.0.0.1", "global"),
            ("239.1.1.1", ""),
            ("255.255.255.255", ""),
            ("0.0.0.0", ""),
            ("::1", "link-local"),
            ("fe80::1", "link-local"),
            ("ff02::1", "link-local"),
            ("ff01::1", "interface-local"),
            ("ff05::1", ""),
            ("2001:db8::1", "global"),
        ] {
            assert_eq!(scope(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}
