//! `netdev`: traffic of each network device.
//!
//! In the host's network namespace the kernel's own counters come over netlink. Elsewhere `/proc/net/dev` has sums of
//! them, the same sums by which node_exporter keeps its names, and sysfs the rest.

mod from_files;
mod from_links;

use self::from_files::Files;
use self::from_links::FromLinks;
use super::device_filter::{DeviceFilter, FilterFlags};
use super::netdev_addresses::Addresses;
use super::{BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec};
use crate::exposition::{Exposition, Family, MetricKind};
use crate::sources::{SharedLinks, counter};

const FLAGS: FilterFlags = FilterFlags {
    exclude: "collector.netdev.device-exclude",
    include: "collector.netdev.device-include",
    former_exclude: Some("collector.netdev.device-blacklist"),
    former_include: Some("collector.netdev.device-whitelist"),
};

const ADDRESS_INFO: &str = "collector.netdev.address-info";
const DETAILED: &str = "collector.netdev.enable-detailed-metrics";
const LABEL_ALIAS: &str = "collector.netdev.label-ifalias";
const NETLINK: &str = "collector.netdev.netlink";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "netdev",
    default_enabled: true,
    summary: "Traffic of each network device.",
    options: &[
        OptionSpec::pattern(
            FLAGS.exclude,
            "",
            "Regular expression of network devices to leave out.",
        ),
        OptionSpec::pattern(
            FLAGS.include,
            "",
            "Regular expression of the only network devices to show.",
        ),
        OptionSpec::switch(
            ADDRESS_INFO,
            "false",
            "Show the IP addresses of each device.",
        ),
        OptionSpec::switch(
            DETAILED,
            "false",
            "Show the kernel's own counters, under other names, instead of the sums in /proc/net/dev.",
        ),
        OptionSpec::switch(
            LABEL_ALIAS,
            "false",
            "Add the device's alias as the label ifalias.",
        ),
        OptionSpec::switch(
            NETLINK,
            "true",
            "Show all that netlink would; off, only what is in /proc/net/dev.",
        ),
        OptionSpec::former("collector.netdev.device-blacklist", FLAGS.exclude),
        OptionSpec::former("collector.netdev.device-whitelist", FLAGS.include),
    ],
    build,
};

/// The columns of a device's line.
const COLUMNS: usize = 16;
/// The columns as node_exporter names them.
const SUMS: [&str; COLUMNS] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];
/// The columns where neither netlink nor the older names are wanted.
const SUMS_NAMED_ANEW: [&str; COLUMNS] = [
    "receive_bytes",
    "receive_packets",
    "receive_errors",
    "receive_dropped",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errors",
    "transmit_dropped",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];
/// The kernel's own counters: the place in netlink's answer, the file in sysfs and the name.
const DETAILS: [(usize, &str, &str); counter::COUNT] = [
    (counter::COLLISIONS, "statistics/collisions", "collisions"),
    (counter::MULTICAST, "statistics/multicast", "multicast"),
    (counter::RX_BYTES, "statistics/rx_bytes", "receive_bytes"),
    (
        counter::RX_COMPRESSED,
        "statistics/rx_compressed",
        "receive_compressed",
    ),
    (
        counter::RX_CRC_ERRORS,
        "statistics/rx_crc_errors",
        "receive_crc_errors",
    ),
    (
        counter::RX_DROPPED,
        "statistics/rx_dropped",
        "receive_dropped",
    ),
    (counter::RX_ERRORS, "statistics/rx_errors", "receive_errors"),
    (
        counter::RX_FIFO_ERRORS,
        "statistics/rx_fifo_errors",
        "receive_fifo_errors",
    ),
    (
        counter::RX_FRAME_ERRORS,
        "statistics/rx_frame_errors",
        "receive_frame_errors",
    ),
    (
        counter::RX_LENGTH_ERRORS,
        "statistics/rx_length_errors",
        "receive_length_errors",
    ),
    (
        counter::RX_MISSED_ERRORS,
        "statistics/rx_missed_errors",
        "receive_missed_errors",
    ),
    (counter::RX_NOHANDLER, "statistics/rx_nohandler", NO_HANDLER),
    (
        counter::RX_OVER_ERRORS,
        "statistics/rx_over_errors",
        "receive_over_errors",
    ),
    (
        counter::RX_PACKETS,
        "statistics/rx_packets",
        "receive_packets",
    ),
    (
        counter::TX_ABORTED_ERRORS,
        "statistics/tx_aborted_errors",
        "transmit_aborted_errors",
    ),
    (counter::TX_BYTES, "statistics/tx_bytes", "transmit_bytes"),
    (
        counter::TX_CARRIER_ERRORS,
        "statistics/tx_carrier_errors",
        "transmit_carrier_errors",
    ),
    (
        counter::TX_COMPRESSED,
        "statistics/tx_compressed",
        "transmit_compressed",
    ),
    (
        counter::TX_DROPPED,
        "statistics/tx_dropped",
        "transmit_dropped",
    ),
    (
        counter::TX_ERRORS,
        "statistics/tx_errors",
        "transmit_errors",
    ),
    (
        counter::TX_FIFO_ERRORS,
        "statistics/tx_fifo_errors",
        "transmit_fifo_errors",
    ),
    (
        counter::TX_HEARTBEAT_ERRORS,
        "statistics/tx_heartbeat_errors",
        "transmit_heartbeat_errors",
    ),
    (
        counter::TX_PACKETS,
        "statistics/tx_packets",
        "transmit_packets",
    ),
    (
        counter::TX_WINDOW_ERRORS,
        "statistics/tx_window_errors",
        "transmit_window_errors",
    ),
];
const NO_HANDLER: &str = "receive_nohandler";

struct Netdev {
    links: SharedLinks,
    from_links: FromLinks,
    files: Files,
    filter: DeviceFilter,
    view: View,
    label_alias: bool,
    addresses: Option<Addresses>,
}

/// Which counters are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// The columns of the file, and packets without a handler.
    Default,
    /// The columns of the file alone.
    File(&'static [&'static str; COLUMNS]),
    /// [`DETAILS`]
    Details,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let view = match (context.switch(NETLINK)?, context.switch(DETAILED)?) {
        (true, false) => View::Default,
        (true, true) => View::Details,
        (false, false) => View::File(&SUMS),
        (false, true) => View::File(&SUMS_NAMED_ANEW),
    };
    Ok(Box::new(Netdev {
        links: context.links(),
        from_links: FromLinks::default(),
        files: Files::new(context.procfs(from_files::FILE), context.sysfs("class/net")),
        filter: DeviceFilter::from_flags(context, FLAGS)?,
        view,
        label_alias: context.switch(LABEL_ALIAS)?,
        addresses: context.switch(ADDRESS_INFO)?.then(Addresses::default),
    }))
}

impl Collector for Netdev {
    fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
        let links = match self.view {
            View::File(_) => None,
            View::Default | View::Details => self.links.read_instead_of_files()?,
        };
        let (filter, alias) = (&self.filter, self.label_alias);
        match links {
            Some(links) => self.from_links.write(&links, filter, self.view, alias, out),
            None => self.files.collect(filter, self.view, alias, out)?,
        }
        match &mut self.addresses {
            Some(addresses) => addresses.collect(&self.filter, out),
            None => Ok(()),
        }
    }
}

fn write(name: &[u8], alias: Option<&[u8]>, count: u64, family: &mut Family<'_>) {
    match alias {
        Some(alias) => family.sample(&[("device", name), ("ifalias", alias)], count),
        None => family.sample(&[("device", name)], count),
    }
}

fn family<'a>(name: &str, out: &'a mut Exposition) -> Family<'a> {
    out.family(
        &["node_network_", name, "_total"],
        &["Network devices: ", name, "."],
        MetricKind::Counter,
    )
}
