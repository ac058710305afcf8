//! The collectors, one file each, and the table that names them.
//!
//! A collector parses bytes and writes families; what it reads comes through [`crate::sources`]. To add one: a file
//! here, a line in [`TABLE`], captured input under `tests/fixtures`, and its families in the golden text.

mod arp;
mod bonding;
mod conntrack;
mod cpu;
mod device_filter;
mod diskstats;
mod ethtool_link_modes;
mod fibrechannel;
mod field_selection;
mod filesystem;
mod infiniband;
mod infiniband_counters;
mod interrupts;
mod ipvs;
mod lnstat;
mod loadavg;
mod meminfo;
mod mounts;
mod netclass;
mod netclass_netlink;
mod netdev;
mod netdev_addresses;
mod netstat;
mod network_route;
mod nfs;
mod nfsd;
mod nl80211;
mod processes;
mod qdisc;
mod registry;
mod rpc_statistics;
mod settings;
mod sockstat;
mod softirqs;
mod softnet;
mod stat;
mod tcpstat;
mod time;
mod udev;
mod udp_queues;
mod uname;
mod vmstat;
mod wifi;
mod xfrm;

pub use registry::Registry;
pub use settings::{BuildContext, BuildError, CollectorSpec, OptionKind, OptionSpec, Settings};

use crate::exposition::Exposition;
use crate::sources::{NetlinkError, ReadError};

/// Every collector, in order of name.
pub const TABLE: &[CollectorSpec] = &[
    arp::SPEC,
    bonding::SPEC,
    conntrack::SPEC,
    cpu::SPEC,
    diskstats::SPEC,
    fibrechannel::SPEC,
    filesystem::SPEC,
    infiniband::SPEC,
    interrupts::SPEC,
    ipvs::SPEC,
    lnstat::SPEC,
    loadavg::SPEC,
    meminfo::SPEC,
    netclass::SPEC,
    netdev::SPEC,
    netstat::SPEC,
    network_route::SPEC,
    nfs::SPEC,
    nfsd::SPEC,
    processes::SPEC,
    qdisc::SPEC,
    sockstat::SPEC,
    softirqs::SPEC,
    softnet::SPEC,
    stat::SPEC,
    tcpstat::SPEC,
    time::SPEC,
    udp_queues::SPEC,
    uname::SPEC,
    vmstat::SPEC,
    wifi::SPEC,
    xfrm::SPEC,
];

/// One source of metrics, run once per scrape.
pub trait Collector: Send {
    /// Reads the host and writes whole families.
    ///
    /// # Errors
    ///
    /// What could not be read or understood. Families already written stay, and the collector counts as failed.
    fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError>;
}

/// Why a collector gave less than it should.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The host has nothing of the kind that this collector shows. Counts as failed, as in node_exporter, and is no
    /// news.
    #[error("nothing to show: {0}")]
    NoData(String),
    /// The kernel did not answer over netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A file was read and does not look as the kernel writes it.
    #[error("{file} is not as expected: {what}")]
    Malformed {
        /// The file below procfs or sysfs.
        file: &'static str,
        /// What was expected or found.
        what: String,
    },
}

impl CollectError {
    /// The failure to read what only some hosts have: absence is [`CollectError::NoData`].
    fn optional(error: ReadError) -> Self {
        if error.is_absent() {
            Self::NoData(error.to_string())
        } else {
            Self::Read(error)
        }
    }

    /// A [`CollectError::Malformed`] that quotes the offending line.
    fn malformed(file: &'static str, line: &[u8]) -> Self {
        Self::Malformed {
            file,
            what: format!("cannot read the line {:?}", String::from_utf8_lossy(line)),
        }
    }
}
