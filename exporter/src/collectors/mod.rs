//! The collectors, one file each, and the table that names them.
//!
//! A collector parses bytes and writes families; what it reads comes through [`crate::sources`]. To add one: a file
//! here, a line in [`TABLE`], captured input under `tests/fixtures`, and its families in the golden text.

mod cpu;
mod device_filter;
mod diskstats;
mod filesystem;
mod loadavg;
mod meminfo;
mod mounts;
mod netdev;
mod registry;
mod settings;
mod stat;
mod time;
mod udev;
mod uname;
mod vmstat;

pub use registry::Registry;
pub use settings::{BuildContext, BuildError, CollectorSpec, OptionKind, OptionSpec, Settings};

use crate::exposition::Exposition;
use crate::sources::ReadError;

/// Every collector, in order of name.
pub const TABLE: &[CollectorSpec] = &[
    cpu::SPEC,
    diskstats::SPEC,
    filesystem::SPEC,
    loadavg::SPEC,
    meminfo::SPEC,
    netdev::SPEC,
    stat::SPEC,
    time::SPEC,
    uname::SPEC,
    vmstat::SPEC,
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
    /// A [`CollectError::Malformed`] that quotes the offending line.
    fn malformed(file: &'static str, line: &[u8]) -> Self {
        Self::Malformed {
            file,
            what: format!("cannot read the line {:?}", String::from_utf8_lossy(line)),
        }
    }
}
