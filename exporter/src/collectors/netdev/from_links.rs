//! Traffic of network devices over netlink.

use super::counters::{COLUMNS, DETAILS, NO_HANDLER, SUMS, View, family, write};
use crate::collect::device_filter::DeviceFilter;
use crate::exposition::Exposition;
use crate::sources::{Link, Links, counter, trim};

/// The counters of which each column of `/proc/net/dev` is the sum, in the order of [`SUMS`]: see `dev_seq_printf_stats` in
/// `net/core/net-procfs.c` of Linux.
const PARTS: [&[usize]; COLUMNS] = [
    &[counter::RX_BYTES],
    &[counter::RX_PACKETS],
    &[counter::RX_ERRORS],
    &[counter::RX_DROPPED, counter::RX_MISSED_ERRORS],
    &[counter::RX_FIFO_ERRORS],
    &[
        counter::RX_LENGTH_ERRORS,
        counter::RX_OVER_ERRORS,
        counter::RX_CRC_ERRORS,
        counter::RX_FRAME_ERRORS,
    ],
    &[counter::RX_COMPRESSED],
    &[counter::MULTICAST],
    &[counter::TX_BYTES],
    &[counter::TX_PACKETS],
    &[counter::TX_ERRORS],
    &[counter::TX_DROPPED],
    &[counter::TX_FIFO_ERRORS],
    &[counter::COLLISIONS],
    &[
        counter::TX_CARRIER_ERRORS,
        counter::TX_ABORTED_ERRORS,
        counter::TX_WINDOW_ERRORS,
        counter::TX_HEARTBEAT_ERRORS,
    ],
    &[counter::TX_COMPRESSED],
];

/// Writes the counters of a dump.
#[derive(Debug, Default)]
pub(super) struct FromLinks {
    /// The devices to show, ordered by name.
    shown: Vec<bool>,
}

impl FromLinks {
    /// Writes the counters of the devices that are not left out.
    pub(super) fn write(
        &mut self,
        links: &Links,
        filter: &DeviceFilter,
        view: View,
        label_alias: bool,
        out: &mut Exposition,
    ) {
        self.shown.clear();
        let shown = links.by_name().map(|link| !filter.ignores(&link.name));
        self.shown.extend(shown);
        let mut write_family = |name: &str, count: &dyn Fn(&Link) -> Option<u64>| {
            let mut family = family(name, out);
            let links = links.by_name().zip(&self.shown);
            for link in links.filter(|(_, shown)| **shown).map(|(link, _)| link) {
                if let Some(count) = count(link) {
                    let alias = label_alias.then(|| trim(&link.alias));
                    write(&link.name, alias, count, &mut family);
                }
            }
        };
        match view {
            View::Details => {
                for (place, _, name) in DETAILS {
                    write_family(name, &|link| link.count(place));
                }
            }
            View::Default | View::File(_) => {
                for (name, parts) in SUMS.into_iter().zip(PARTS) {
                    write_family(name, &|link| sum(link, parts));
                }
                write_family(NO_HANDLER, &|link| link.count(counter::RX_NOHANDLER));
            }
        }
    }
}

/// The sum of some counters; `None` for a device that has none.
fn sum(link: &Link, parts: &[usize]) -> Option<u64> {
    let mut counts = parts.iter().map(|place| link.count(*place));
    counts.try_fold(0_u64, |sum, count| Some(sum.wrapping_add(count?)))
}
