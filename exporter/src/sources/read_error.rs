//! Why a file could not be read.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

impl ReadError {
    /// Creates the error of reading `path`.
    pub fn new(path: &Path, source: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the file is absent.
    pub fn is_absent(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the file is absent, or its object disappeared while it was open.
    pub fn is_gone(&self) -> bool {
        self.is_absent() || is_stale(&self.source)
    }

    /// Whether the file exists but has no value.
    pub fn is_unsupported(&self) -> bool {
        self.source.kind() == io::ErrorKind::Unsupported
    }

    /// Whether the file is absent or unreadable for this process, rather than broken.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        )
    }
}

/// Whether the object of an open file has disappeared.
pub(super) fn is_stale(error: &io::Error) -> bool {
    [Errno::NODEV, Errno::STALE, Errno::NXIO, Errno::SRCH]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
