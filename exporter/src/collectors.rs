//! The collectors, one file each, and the table that names them.
//!
//! A collector parses bytes and writes families; what it reads comes through [`crate::sources`]. To add one: a file
//! here, a line in [`TABLE`], captured input under `tests/fixtures`, and its families in the golden text.

mod arp;
mod bcache;
mod bcache_units;
mod bcachefs;
mod bcachefs_format;
mod bonding;
mod btrfs;
mod buddyinfo;
mod cgroups;
mod conntrack;
mod cpu;
mod cpu_info;
mod cpu_vulnerabilities;
mod cpufreq;
mod device;
mod device_filter;
mod diskstats;
mod dmi;
mod dmmultipath;
mod drbd;
mod edac;
mod entropy;
mod ethtool;
mod ethtool_link;
mod ethtool_link_modes;
#[cfg(test)]
mod fake_systemd;
mod fibrechannel;
mod field_selection;
mod filefd;
mod filesystem;
mod host_network;
mod hwmon;
mod hwmon_names;
mod infiniband;
mod infiniband_counters;
mod interrupts;
mod ipvs;
mod kernel_hung;
mod ksmd;
mod lnstat;
mod loadavg;
mod logind;
mod mdadm;
mod mdstat;
mod meminfo;
mod meminfo_numa;
mod mounts;
mod mountstats;
mod mountstats_format;
mod netclass;
mod netclass_netlink;
mod netdev;
mod netdev_addresses;
mod netstat;
mod network_route;
mod nfs;
mod nfsd;
mod nl80211;
mod nvme;
mod os;
mod pattern;
mod pci_names;
mod pcidevice;
mod powersupplyclass;
mod pressure;
mod processes;
mod qdisc;
mod rapl;
mod registry;
mod round;
mod rpc_statistics;
mod samples;
mod schedstat;
mod selection;
mod selinux;
mod settings;
mod slabinfo;
mod sockstat;
mod softirqs;
mod softnet;
mod stat;
mod swap;
mod sysctl;
mod systemd;
mod tapestats;
mod tcpstat;
mod text_format;
mod textfile;
mod thermal_zone;
mod time;
mod timex;
mod udev;
mod udp_queues;
mod uname;
mod vmstat;
mod watchdog;
mod wifi;
mod xfrm;
mod xfs;
mod zfs;
mod zoneinfo;

use std::path::PathBuf;

pub use host_network::{HostNetwork, shares_network_with_init};
pub use pattern::{Pattern, PatternError};
pub use registry::Registry;
pub use selection::{Selection, SelectionError};
pub use settings::{BuildContext, BuildError, CollectorSpec, OptionKind, OptionSpec, Settings};

use crate::exposition::Exposition;
use crate::sources::{BusError, NetlinkError, ReadError};

/// Every collector, in order of name.
pub const TABLE: &[CollectorSpec] = &[
    arp::SPEC,
    bcache::SPEC,
    bcachefs::SPEC,
    bonding::SPEC,
    btrfs::SPEC,
    buddyinfo::SPEC,
    cgroups::SPEC,
    conntrack::SPEC,
    cpu::SPEC,
    cpu_vulnerabilities::SPEC,
    cpufreq::SPEC,
    diskstats::SPEC,
    dmi::SPEC,
    dmmultipath::SPEC,
    drbd::SPEC,
    edac::SPEC,
    entropy::SPEC,
    ethtool::SPEC,
    fibrechannel::SPEC,
    filefd::SPEC,
    filesystem::SPEC,
    hwmon::SPEC,
    infiniband::SPEC,
    interrupts::SPEC,
    ipvs::SPEC,
    kernel_hung::SPEC,
    ksmd::SPEC,
    lnstat::SPEC,
    loadavg::SPEC,
    logind::SPEC,
    mdadm::SPEC,
    meminfo::SPEC,
    meminfo_numa::SPEC,
    mountstats::SPEC,
    netclass::SPEC,
    netdev::SPEC,
    netstat::SPEC,
    network_route::SPEC,
    nfs::SPEC,
    nfsd::SPEC,
    nvme::SPEC,
    os::SPEC,
    pcidevice::SPEC,
    powersupplyclass::SPEC,
    pressure::SPEC,
    processes::SPEC,
    qdisc::SPEC,
    rapl::SPEC,
    schedstat::SPEC,
    selinux::SPEC,
    slabinfo::SPEC,
    sockstat::SPEC,
    softirqs::SPEC,
    softnet::SPEC,
    stat::SPEC,
    swap::SPEC,
    sysctl::SPEC,
    systemd::SPEC,
    tapestats::SPEC,
    tcpstat::SPEC,
    textfile::SPEC,
    thermal_zone::SPEC,
    time::SPEC,
    timex::SPEC,
    udp_queues::SPEC,
    uname::SPEC,
    vmstat::SPEC,
    watchdog::SPEC,
    wifi::SPEC,
    xfrm::SPEC,
    xfs::SPEC,
    zfs::SPEC,
    zoneinfo::SPEC,
];

/// One source of metrics, run once per scrape.
pub trait Collector: Send {
    /// Reads the host and writes whole families.
    ///
    /// # Errors
    ///
    /// What could not be read or understood. Families already written stay, and the collector counts as failed.
    fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError>;

    /// Writes what other programs have left, which must not repeat what the exporter itself says: `own` is all that this
    /// scrape has besides. Called once all collectors have ended; must not read the host, for nothing bounds its time.
    fn add_foreign(&mut self, _own: &[&Exposition], _out: &mut Exposition) {}
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
    /// The kernel refused a system call.
    #[error("{name} failed: {source}")]
    SystemCall {
        /// The system call.
        name: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A device's attribute should be a number and is not.
    #[error("{} holds {text:?} where a number is expected", path.display())]
    Attribute {
        /// The attribute's file.
        path: PathBuf,
        /// What is in it.
        text: String,
    },
    /// A service did not answer over the message bus.
    #[error(transparent)]
    Bus(#[from] BusError),
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

    /// As [`CollectError::optional`], where it may be hidden as well.
    fn within_reach(error: ReadError) -> Self {
        if error.is_out_of_reach() {
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
