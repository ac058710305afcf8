//! `arp`: the number of IPv4 neighbors of each network device.
//!
//! Netlink and `/proc/net/arp` list nearly the same entries. Only the file includes those for which this host answers as a
//! proxy, and only netlink those that are being created.

use std::collections::BTreeMap;

use crate::collect::device_filter::DeviceFilter;
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, HostNetwork, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, Netlink, NetlinkError, fields, lines, u16_at, u32_at};

const EXCLUDE: &str = "collector.arp.device-exclude";
const INCLUDE: &str = "collector.arp.device-include";
const NETLINK: &str = "collector.arp.netlink";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "arp",
    default_enabled: true,
    summary: "Number of IPv4 neighbors of each network device.",
    options: &[
        OptionSpec::pattern(
            EXCLUDE,
            "",
            "Regular expression of network devices to leave out.",
        ),
        OptionSpec::pattern(
            INCLUDE,
            "",
            "Regular expression of network devices to show.",
        ),
        OptionSpec::switch(
            NETLINK,
            "true",
            "Query the kernel over netlink instead of reading /proc/net/arp.",
        ),
    ],
    build,
};

const FILE: &str = "net/arp";
/// `RTM_GETNEIGH`
const GET_NEIGHBOURS: u16 = 30;
/// `struct ndmsg` with only `AF_INET` set.
const IPV4: [u8; 12] = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// `NUD_NOARP`: needs no resolution, as on a loopback or a tunnel.
const NO_ARP: u16 = 0x40;

struct Arp {
    source: Source,
    filter: DeviceFilter,
}

enum Source {
    Netlink(Netlink),
    File(KeptFile),
}

/// Entries by device, ordered by its name.
type Counts = BTreeMap<Vec<u8>, u64>;

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let shared = context.settings().host_network == HostNetwork::Shared;
    let source = if context.switch(NETLINK)? && shared {
        Source::Netlink(Netlink::routing())
    } else {
        Source::File(KeptFile::new(context.procfs(FILE)))
    };
    let filter = DeviceFilter::from_both(context, EXCLUDE, INCLUDE)?;
    Ok(Box::new(Arp { source, filter }))
}

impl Collector for Arp {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let counts = match &mut self.source {
            Source::Netlink(netlink) => ask(netlink.until(deadline))?,
            Source::File(file) => parse(file.read()?, &mut skipped),
        };
        let help = "Number of IPv4 neighbors in the ARP table, by network device.";
        let mut family = out.family(&["node_arp_entries"], &[help], MetricKind::Gauge);
        for (device, count) in counts {
            if !self.filter.ignores(&device) {
                family.sample(&[("device", &device)], count);
            }
        }
        skipped.result()
    }
}

fn ask(netlink: &mut Netlink) -> Result<Counts, NetlinkError> {
    let mut by_index = BTreeMap::new();
    netlink.dump("neighbours", GET_NEIGHBOURS, &IPV4, |entry| {
        if let Some(index) = resolved_on(entry) {
            *by_index.entry(index).or_insert(0) += 1;
        }
    })?;
    let named = |(index, count)| Some((netlink.device_name(index)?.as_bytes().to_vec(), count));
    Ok(by_index.into_iter().filter_map(named).collect())
}

/// The index of the device that a `struct ndmsg` belongs to, unless the entry needs no resolution.
fn resolved_on(entry: &[u8]) -> Option<u32> {
    let state = u16_at(entry, 8)?;
    u32_at(entry, 4).filter(|_| state & NO_ARP == 0)
}

fn parse(bytes: &[u8], skipped: &mut Skipped) -> Counts {
    let mut counts = Counts::new();
    for line in lines(bytes).skip(1) {
        if let Some(device) = skipped.line(FILE, line, fields(line).nth(5)) {
            *counts.entry(device.to_vec()).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8]) -> Result<Counts, CollectError> {
        whole(|skipped| crate::collectors::arp::parse(bytes, skipped))
    }

    #[test]
    fn entries_are_counted_by_device() {
        let file = b"IP address HW type Flags HW address Mask Device\n\
            10.0.0.1 0x1 0x2 02:00:00:00:00:01 * eth0\n\
            10.0.0.2 0x1 0x0 00:00:00:00:00:00 * eth0\n\
            10.1.0.9 0x1 0x2 02:00:00:00:00:09 * br1\n";
        let counts = parse(file).unwrap();
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [(b"br1".to_vec(), 1), (b"eth0".to_vec(), 2)]
        );
        assert!(parse(b"heading\n10.0.0.1 0x1\n").is_err());
    }

    #[test]
    fn an_entry_without_resolution_does_not_count() {
        let mut entry = IPV4;
        entry[4..8].copy_from_slice(&9_u32.to_ne_bytes());
        entry[8..10].copy_from_slice(&2_u16.to_ne_bytes());
        assert_eq!(resolved_on(&entry), Some(9));
        entry[8..10].copy_from_slice(&NO_ARP.to_ne_bytes());
        assert_eq!(resolved_on(&entry), None);
        assert_eq!(resolved_on(&entry[..9]), None);
    }

    #[test]
    fn the_kernel_answers() {
        ask(&mut Netlink::routing()).unwrap();
    }
}
