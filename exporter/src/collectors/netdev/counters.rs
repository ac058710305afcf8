//! The counters of a network device, and their metrics.

use crate::exposition::{Exposition, Family, MetricKind};
use crate::sources::counter;

/// The columns of a device's line.
pub(super) const COLUMNS: usize = 16;
/// The columns under node_exporter's names.
pub(super) const SUMS: [&str; COLUMNS] = [
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
/// The columns if neither netlink nor the older names are wanted.
pub(super) const SUMS_NAMED_ANEW: [&str; COLUMNS] = [
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
/// The kernel's own counters: the position in the netlink attribute, the file in sysfs and the name.
pub(super) const DETAILS: [(usize, &str, &str); counter::COUNT] = [
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
pub(super) const NO_HANDLER: &str = "receive_nohandler";

/// Which counters are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// The columns of the file, and packets without a handler.
    Default,
    /// Only the columns of the file.
    File(&'static [&'static str; COLUMNS]),
    /// [`DETAILS`]
    Details,
}

pub(super) fn write(name: &[u8], alias: Option<&[u8]>, count: u64, family: &mut Family<'_>) {
    match alias {
        Some(alias) => family.sample(&[("device", name), ("ifalias", alias)], count),
        None => family.sample(&[("device", name)], count),
    }
}

pub(super) fn family<'a>(name: &str, out: &'a mut Exposition) -> Family<'a> {
    out.family(
        &["node_network_", name, "_total"],
        &["Counter of the network device: ", name, "."],
        MetricKind::Counter,
    )
}
