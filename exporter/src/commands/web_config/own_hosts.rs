//! By which names and addresses this host is most likely reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::commands::pki::Host;

/// Returns all hosts, starting with the one that is verified; and the hosts that a scraper connects to.
pub(super) fn all() -> (Vec<Host>, Vec<Host>) {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_str().ok();
    let name = name.and_then(|name| name.parse().ok());
    // Addresses of documentation (RFC 5737, RFC 3849): nobody has them, and a datagram socket that connects sends nothing.
    let routed = [
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), [192, 0, 2, 1].into()),
        (
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
        ),
    ]
    .into_iter()
    .filter_map(|(own, other)| source_address(own, other))
    .map(Host::Address);
    let known: Vec<Host> = name.into_iter().chain(routed).collect();
    let target = known
        .iter()
        .find(|host| matches!(host, Host::Address(_)))
        .or(known.first());
    let targets = target.cloned().into_iter().collect();
    let local = [
        Host::Name("localhost".into()),
        Host::Address(Ipv4Addr::LOCALHOST.into()),
        Host::Address(Ipv6Addr::LOCALHOST.into()),
    ];
    let mut hosts = known;
    for host in local {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    (hosts, targets)
}

/// The address from which this host connects to others.
fn source_address(own: IpAddr, other: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(own, 0)).ok()?;
    socket.connect(SocketAddr::new(other, 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
