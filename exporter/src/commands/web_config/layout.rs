//! The files that `web-config` makes and renews.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::commands::error::CommandError;
use crate::commands::staged::cannot;

/// The files of a directory that `init` creates.
pub(super) struct Layout {
    pub(super) directory: PathBuf,
}

impl Layout {
    pub(super) fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    pub(super) fn config(&self) -> PathBuf {
        self.directory.join("config.yml")
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.directory.join("tls.crt")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.directory.join("tls.key")
    }

    pub(super) fn authority_certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    pub(super) fn authority_key(&self) -> PathBuf {
        self.directory.join("ca.key")
    }

    /// The directory to copy to Prometheus.
    pub(super) fn for_prometheus(&self) -> PathBuf {
        self.directory.join("prometheus")
    }
}

/// Reads the text of a file, which may be a secret.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    Ok(std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(cannot("read", path))?)
}
