//! The trait that every collector implements, and its errors.

use std::path::PathBuf;

use crate::exposition::Exposition;
use crate::sources::{BusError, Deadline, NetlinkError, ReadError};

/// One source of metrics, run once per scrape.
pub trait Collector: Send {
    /// Reads the host and writes whole families. Anything that may block waits until the deadline at most.
    ///
    /// # Errors
    ///
    /// Something could not be read or parsed. Families that are already written stay, and the collector counts as failed.
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError>;

    /// Writes metrics of other programs, which must not repeat the exporter's own series: `own` is everything else in this
    /// scrape. It is called after all collectors have ended, and must not read the host, because its duration is not
    /// limited.
    fn add_foreign(&mut self, _own: &[&Exposition], _out: &mut Exposition) {}
}

/// Why a collector returned less than it should.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The host has nothing that this collector could show. Counts as failed, as in node_exporter, but is not logged as a
    /// failure.
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
    /// A device attribute that should be a number is not one.
    #[error("{} contains {text:?} where a number is expected", path.display())]
    Attribute {
        /// The attribute's file.
        path: PathBuf,
        /// The content of the file.
        text: String,
    },
    /// A service did not answer over the message bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The kernel did not answer over netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A file does not have the format that the kernel writes.
    #[error("{file} has an unexpected format: {what}")]
    Malformed {
        /// The file below procfs or sysfs.
        file: &'static str,
        /// What was expected or found.
        what: String,
    },
    /// Several lines or devices could not be read; all others were read.
    #[error("{first} ({} failures in total)", more + 1)]
    Several {
        /// The first failure.
        first: Box<CollectError>,
        /// How many more failures there were.
        more: usize,
    },
}

impl CollectError {
    /// The error of reading something that only some hosts have: absence is [`CollectError::NoData`].
    pub(crate) fn optional(error: ReadError) -> Self {
        if error.is_absent() {
            Self::NoData(error.to_string())
        } else {
            Self::Read(error)
        }
    }

    /// Like [`CollectError::optional`], for files that may also be unreadable.
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
