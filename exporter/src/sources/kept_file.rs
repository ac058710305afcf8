//! A file that is opened once and read again from offset 0.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::attribute::SYSFS_MAGIC;
use super::read_error::{ReadError, is_stale};

/// The size of most files of procfs and sysfs.
const FIRST_BUFFER: usize = 4096;

/// `PROC_SUPER_MAGIC`
const PROCFS_MAGIC: u64 = 0x9fa0;

/// A file of procfs or sysfs that is kept open between scrapes. Reading it takes one or two `pread`s into its own buffer;
/// opening and closing it each time would be three times as expensive. A captured file, which may be replaced, is opened
/// each time.
#[derive(Debug)]
pub struct KeptFile {
    path: PathBuf,
    file: Option<File>,
    /// Whether the open file shows every change.
    stays: bool,
    buffer: Vec<u8>,
}

impl KeptFile {
    /// Stores the path; the file is opened at the first read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
            stays: false,
            buffer: Vec::new(),
        }
    }

    /// Returns the present content.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or read. The next call opens it again.
    pub fn read(&mut self) -> Result<&[u8], ReadError> {
        let length = match self.read_once() {
            // The object behind the descriptor is gone; another may have replaced it.
            Err(error) if is_stale(&error) => {
                self.file = None;
                self.read_once()
            }
            first => first,
        };
        if length.is_err() || !self.stays {
            self.file = None;
        }
        match length {
            Ok(length) => Ok(self.buffer.get(..length).unwrap_or_default()),
            Err(source) => Err(ReadError::new(&self.path, source)),
        }
    }

    fn read_once(&mut self) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = File::open(&self.path)?;
                self.stays = is_of_kernel(&file);
                none.insert(file)
            }
        };
        if self.buffer.is_empty() {
            self.buffer.resize(FIRST_BUFFER, 0);
        }
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                self.buffer.resize(length * 2, 0);
            }
            let room = self.buffer.get_mut(length..).unwrap_or_default();
            match rustix::io::pread(&*file, room, length as u64) {
                Ok(0) => return Ok(length),
                Ok(count) => length += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Whether a directory belongs to procfs itself, rather than to captured files.
#[allow(clippy::unnecessary_cast)] // The type differs between architectures.
pub fn is_procfs(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|found| found.f_type as u64 == PROCFS_MAGIC)
}

#[allow(clippy::unnecessary_cast)] // The type differs between architectures.
fn is_of_kernel(file: &File) -> bool {
    rustix::fs::fstatfs(file)
        .is_ok_and(|found| [PROCFS_MAGIC, SYSFS_MAGIC].contains(&(found.f_type as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_sees_the_content_of_the_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stat");
        let mut file = KeptFile::new(&path);
        assert!(file.read().unwrap_err().is_out_of_reach());
        for content in ["first", "", "a longer second one"] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(file.read().unwrap(), content.as_bytes());
        }
        let other = directory.path().join("other");
        std::fs::write(&other, "put in its place").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(file.read().unwrap(), b"put in its place");
        std::fs::remove_file(&path).unwrap();
        assert!(file.read().unwrap_err().is_absent());
        let long = "x".repeat(3 * FIRST_BUFFER + 1);
        std::fs::write(&path, &long).unwrap();
        assert_eq!(file.read().unwrap(), long.as_bytes());
    }

    #[test]
    fn a_file_of_procfs_is_opened_once() {
        let mut file = KeptFile::new("/proc/uptime");
        let first = file.read().unwrap().to_vec();
        assert!(file.file.is_some() && !first.is_empty());
    }

    #[test]
    fn a_directory_is_an_error_that_names_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let error = KeptFile::new(directory.path()).read().unwrap_err();
        assert!(!error.is_out_of_reach());
        assert!(
            error
                .to_string()
                .contains(&directory.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn procfs_can_be_read_again_and_again() {
        let mut file = KeptFile::new("/proc/self/stat");
        let first = file.read().unwrap().to_vec();
        assert!(!first.is_empty());
        assert_eq!(
            first.split(|&byte| byte == b' ').next(),
            file.read().unwrap().split(|&byte| byte == b' ').next()
        );
    }
}
