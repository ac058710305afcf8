//! `network_route`: the routes to single destinations in all tables, over netlink.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, Netlink, attributes, u16_at, u32_at};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "network_route",
    default_enabled: false,
    summary: "Routes of the host, one metric each.",
    options: &[],
    build,
};

/// `RTM_GETROUTE`
const GET_ROUTES: u16 = 26;
/// `struct rtmsg`; a request without a family asks for all.
const HEADER: usize = 12;
/// `RTN_UNICAST`
const UNICAST: u8 = 1;
/// `RTA_DST`
const DESTINATION: u16 = 1;
/// `RTA_OIF`
const DEVICE: u16 = 4;
/// `RTA_GATEWAY`
const GATEWAY: u16 = 5;
/// `RTA_PRIORITY`
const PRIORITY: u16 = 6;
/// `RTA_PREFSRC`
const SOURCE: u16 = 7;
/// `RTA_MULTIPATH`: a list of `struct rtnexthop`, each with its own attributes.
const MULTIPATH: u16 = 9;
/// `struct rtnexthop`
const HOP: usize = 8;

struct NetworkRoute {
    netlink: Netlink,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Route {
    source: String,
    destination: String,
    priority: u32,
    protocol: u8,
    hops: Vec<Hop>,
}

/// One way that a route may take.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hop {
    device: u32,
    gateway: String,
    /// Of a route with several.
    weight: Option<u16>,
}

/// The label values of a route, in order of the labels' names.
type Row = [String; LABELS.len()];
const LABELS: [&str; 7] = ["dest", "device", "gw", "priority", "proto", "src", "weight"];

fn build(_: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let netlink = Netlink::routing();
    Ok(Box::new(NetworkRoute { netlink }))
}

impl Collector for NetworkRoute {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let mut routes = Vec::new();
        self.netlink
            .until(deadline)
            .dump("routes", GET_ROUTES, &[0; HEADER], |entry| {
                routes.extend(parse(entry));
            })?;
        let mut rows = Vec::new();
        let mut by_device = BTreeMap::<String, u64>::new();
        for route in routes {
            for hop in &route.hops {
                let name = self.netlink.device_name(hop.device);
                let device = name
                    .map(|name| name.as_str().to_owned())
                    .unwrap_or_default();
                *by_device.entry(device.clone()).or_default() += 1;
                rows.push(row(&route, hop, device));
            }
        }
        rows.sort_unstable();
        // Routes in different tables may differ in no label.
        rows.dedup();
        write(&rows, &by_device, out);
        Ok(())
    }
}

fn row(route: &Route, hop: &Hop, device: String) -> Row {
    [
        route.destination.clone(),
        device,
        hop.gateway.clone(),
        route.priority.to_string(),
        protocol_name(route.protocol).to_owned(),
        route.source.clone(),
        hop.weight
            .map(|weight| weight.to_string())
            .unwrap_or_default(),
    ]
}

fn write(rows: &[Row], by_device: &BTreeMap<String, u64>, out: &mut Exposition) {
    let help = "Routes of the host; the value is always 1.";
    let mut family = out.family(&["node_network_route_info"], &[help], MetricKind::Gauge);
    for row in rows {
        let values = row.iter().map(String::as_bytes);
        let labels: Vec<_> = LABELS.into_iter().zip(values).collect();
        family.sample(&labels, 1);
    }
    drop(family);
    let help = "Number of routes through the network device.";
    let mut family = out.family(&["node_network_routes"], &[help], MetricKind::Gauge);
    for (device, count) in by_device {
        family.sample(&[("device", device.as_bytes())], *count);
    }
}

/// A `struct rtmsg`, if it is a route to single hosts.
fn parse(entry: &[u8]) -> Option<Route> {
    let prefix = *entry.get(1)?;
    if *entry.get(7)? != UNICAST {
        return None;
    }
    let mut route = Route {
        destination: "default".to_owned(),
        protocol: *entry.get(5)?,
        ..Route::default()
    };
    let mut only = Hop::default();
    for (kind, value) in attributes(entry.get(HEADER..)?) {
        match kind {
            DESTINATION if prefix > 0 => {
                route.destination = format!("{}/{prefix}", address(value)?)
            }
            SOURCE => route.source = address(value)?,
            PRIORITY => route.priority = u32_at(value, 0)?,
            DEVICE => only.device = u32_at(value, 0)?,
            GATEWAY => only.gateway = address(value)?,
            MULTIPATH => route.hops = parse_hops(value)?,
            _ => {}
        }
    }
    if route.hops.is_empty() {
        route.hops.push(only);
    }
    Some(route)
}

fn parse_hops(mut bytes: &[u8]) -> Option<Vec<Hop>> {
    let mut hops = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(u16_at(bytes, 0)?);
        let mut own = attributes(bytes.get(HOP..length)?);
        let gateway = own.find(|(kind, _)| *kind == GATEWAY);
        hops.push(Hop {
            device: u32_at(bytes, 4)?,
            gateway: gateway.map_or(Some(String::new()), |(_, value)| address(value))?,
            weight: Some(u16::from(*bytes.get(3)?) + 1),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(hops)
}

fn address(bytes: &[u8]) -> Option<String> {
    let ip = match *bytes {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::V6(Ipv6Addr::from_octets(bytes.try_into().ok()?)).to_canonical(),
    };
    Some(ip.to_string())
}

/// `RTPROT_…`: who made the route.
fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        17 => "mrouted",
        42 => "babel",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::attribute;

    fn entry(prefix: u8, kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let header = [2, prefix, 0, 0, 254, 16, 0, kind, 0, 0, 0, 0];
        [&header[..], &attributes.concat()].concat()
    }

    #[test]
    fn a_route_has_one_hop_or_several() {
        let one = parse(&entry(
            24,
            UNICAST,
            &[
                attribute(DESTINATION, &[10, 1, 2, 0]),
                attribute(DEVICE, &3_u32.to_ne_bytes()),
                attribute(SOURCE, &[10, 1, 2, 9]),
                attribute(PRIORITY, &100_u32.to_ne_bytes()),
            ],
        ))
        .unwrap();
        assert_eq!(
            row(&one, &one.hops[0], "eth0".into()),
            ["10.1.2.0/24", "eth0", "", "100", "dhcp", "10.1.2.9", ""]
        );

        let gateway = attribute(GATEWAY, &[10, 0, 0, 1]);
        let hop = |device: u32, hops: u8, own: &[u8]| {
            let mut bytes = (8 + own.len() as u16).to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[0, hops]);
            bytes.extend_from_slice(&device.to_ne_bytes());
            bytes.extend_from_slice(own);
            bytes
        };
        let paths = [hop(3, 9, &gateway), hop(4, 255, &[])].concat();
        let several = parse(&entry(0, UNICAST, &[attribute(MULTIPATH, &paths)])).unwrap();
        assert_eq!(several.destination, "default");
        let ways: Vec<_> = several
            .hops
            .iter()
            .map(|hop| (hop.device, hop.gateway.as_str(), hop.weight))
            .collect();
        assert_eq!(ways, [(3, "10.0.0.1", Some(10)), (4, "", Some(256))]);
    }

    #[test]
    fn what_is_no_route_to_single_hosts_is_passed_over() {
        assert_eq!(parse(&entry(32, 2, &[])), None);
        assert_eq!(
            parse(&entry(32, UNICAST, &[attribute(DESTINATION, &[1])])),
            None
        );
        assert_eq!(parse(&[2, 0, 0]), None);
        // A hop of no length must not be read for ever.
        assert_eq!(parse_hops(&[0; 16]), None);
    }
}
