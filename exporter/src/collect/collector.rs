//! What every collector is.

use std::path::PathBuf;

use crate::exposition::Exposition;
use crate::sources::{BusError, Deadline, NetlinkError, ReadError};

/// One source of metrics, run once per scrape.
pub trait Collector: Send {
    /// Reads the host and writes whole families. Whatever has to wait for others waits until the deadline at most.
    ///
    /// # Errors
    ///
    /// What could not be read or understood. Families already written stay, and the collector counts as failed.
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError>;

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
    #[error("{} contains {text:?} where a number is expected", path.display())]
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
    #[error("{file} has an unexpected format: {what}")]
    Malformed {
        /// The file below procfs or sysfs.
        file: &'static str,
        /// What was expected or found.
        what: String,
    },
    /// Several lines or devices could not be read; all others were.
    #[error("{first} ({} failures in total)", more + 1)]
    Several {
        /// The first failure.
        first: Box<CollectError>,
        /// How many followed.
        more: usize,
    },
}

impl CollectError {
    /// The failure to read what only some hosts have: absence is [`CollectError::NoData`].
    pub(crate) fn optional(error: ReadError) -> Self {
        if error.is_absent() {
            Self::NoData(error.to_string())
        } else {
            Self::Read(error)
        }
    }

    /// As [`CollectError::optional`], where it may be hidden as well.
    pub(crate) fn within_reach(error: ReadError) -> Self {
        if error.is_out_of_reach() {
            Self::NoData(error.to_string())
        } else {
            Self::Read(error)
        }
    }

    /// A [`CollectError::Malformed`] that quotes the offending line.
    pub(crate) fn malformed(file: &'static str, line: &[u8]) -> Self {
        Self::Malformed {
            file,
            what: format!("cannot read the line {:?}", String::from_utf8_lossy(line)),
        }
    }
}
