//! Reads one text file as a whole, within limits.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::fs::{Mode, OFlags};

use crate::exposition::reader::{TextError, TextFamily, parse};

/// The flag that limits the size.
pub(super) const MAX_FILE_BYTES: &str = "collector.textfile.max-file-bytes";

/// The content of a file.
pub(super) struct TextFile {
    /// When it was last modified, in whole seconds since the epoch.
    pub(super) written: u64,
    pub(super) families: Vec<TextFamily>,
}

/// Why a file is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("is not a regular file; only regular files are read")]
    Kind,
    #[error("is larger than {0} bytes: make it smaller or raise --{MAX_FILE_BYTES}")]
    Size(u64),
    #[error(transparent)]
    Format(#[from] TextError),
}

/// Reads a file that may have been created by any program. Never blocks: a pipe without a writer is refused, like a device.
pub(super) fn read(path: &Path, max_bytes: u64) -> Result<TextFile, FileError> {
    // Opening some devices has side effects.
    check_kind(&std::fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?);
    let metadata = file.metadata()?;
    check_kind(&metadata)?;
    if metadata.len() > max_bytes {
        return Err(FileError::Size(max_bytes));
    }
    let mut text = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // It may grow in the meantime, and the kernel's own files have no size.
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(FileError::Size(max_bytes));
    }
    let families = parse(&text)?;
    let since = metadata.modified()?.duration_since(UNIX_EPOCH);
    Ok(TextFile {
        written: since.unwrap_or_default().as_secs(),
        families,
    })
}

fn check_kind(metadata: &Metadata) -> Result<(), FileError> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(FileError::Kind),
    }
}
