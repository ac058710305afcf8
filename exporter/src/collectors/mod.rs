//! The collectors, one file each, and the table that names them.
//!
//! A collector parses bytes and writes families; what it reads comes through [`crate::sources`]. To add one: a file
//! here, a line in [`TABLE`], captured input under `tests/fixtures`, and its families in the golden text.

mod btrfs;
mod cpu;
mod cpufreq;
mod device;
mod device_filter;
mod diskstats;
mod dmi;
mod edac;
mod entropy;
mod filefd;
mod filesystem;
mod hwmon;
mod hwmon_names;
mod kernel_hung;
mod loadavg;
mod mdadm;
mod mdstat;
mod meminfo;
mod mounts;
mod netdev;
mod nvme;
mod os;
mod powersupplyclass;
mod pressure;
mod rapl;
mod registry;
mod samples;
mod schedstat;
mod selinux;
mod settings;
mod stat;
mod tapestats;
mod text_format;
mod textfile;
mod thermal_zone;
mod time;
mod udev;
mod uname;
mod vmstat;
mod watchdog;
mod xfs;
mod zfs;

use std::path::PathBuf;

pub use registry::Registry;
pub use settings::{BuildContext, BuildError, CollectorSpec, OptionKind, OptionSpec, Settings};

use crate::exposition::Exposition;
use crate::sources::ReadError;

/// Every collector, in order of name.
pub const TABLE: &[CollectorSpec] = &[
    btrfs::SPEC,
    cpu::SPEC,
    cpufreq::SPEC,
    diskstats::SPEC,
    dmi::SPEC,
    edac::SPEC,
    entropy::SPEC,
    filefd::SPEC,
    filesystem::SPEC,
    hwmon::SPEC,
    kernel_hung::SPEC,
    loadavg::SPEC,
    mdadm::SPEC,
    meminfo::SPEC,
    netdev::SPEC,
    nvme::SPEC,
    os::SPEC,
    powersupplyclass::SPEC,
    pressure::SPEC,
    rapl::SPEC,
    schedstat::SPEC,
    selinux::SPEC,
    stat::SPEC,
    tapestats::SPEC,
    textfile::SPEC,
    thermal_zone::SPEC,
    time::SPEC,
    uname::SPEC,
    vmstat::SPEC,
    watchdog::SPEC,
    xfs::SPEC,
    zfs::SPEC,
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
    NoData(#[source] ReadError),
    /// A device's attribute should be a number and is not.
    #[error("{} holds {text:?} where a number is expected", path.display())]
    Attribute {
        /// The attribute's file.
        path: PathBuf,
        /// What is in it.
        text: String,
    },
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
            Self::NoData(error)
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
