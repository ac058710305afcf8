//! The unit by which clients are counted when they share resources.

use std::net::{IpAddr, Ipv6Addr};

/// The network of one client: an IPv4 address, or an IPv6 /64, of which a client can usually use all addresses (RFC 7421).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix(IpAddr);

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self(Ipv6Addr::from_bits(network).into())
            }
            address => Self(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str) -> Prefix {
        Prefix::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn an_ipv4_address_and_64_bits_of_ipv6_are_one_client() {
        assert_ne!(prefix("10.0.0.1"), prefix("10.0.0.2"));
        assert_eq!(prefix("10.0.0.1"), prefix("::ffff:10.0.0.1"));
        assert_ne!(prefix("::ffff:10.0.0.1"), prefix("::ffff:10.0.0.2"));
        assert_eq!(prefix("2001:db8:0:1::1"), prefix("2001:db8:0:1:ffff::2"));
        assert_ne!(prefix("2001:db8:0:1::1"), prefix("2001:db8:0:2::1"));
    }
}
