//! Small files that are read rarely, and directories with numbered entries.

use std::cell::Cell;
use std::fs::FileType;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::parse::trim;
use super::read_error::ReadError;

/// No attribute of the kernel is longer than a page.
const LONGEST_ATTRIBUTE: usize = 4096;
/// The type of sysfs in `statfs`.
pub(super) const SYSFS_MAGIC: u64 = 0x6265_6572;

/// A directory of sysfs attributes, open while several of them are read. Meant for objects of which a host may have
/// hundreds: keeping all their files open would use one descriptor and one page of kernel memory for each file.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    descriptor: OwnedFd,
    reads: Cell<Reads>,
}

/// What happened while the attributes of a directory were read.
#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    /// Some attribute had a value.
    any: bool,
    /// Some attribute exists and could not be read.
    failed: bool,
}

impl Directory {
    /// Opens the directory.
    ///
    /// # Errors
    ///
    /// It is absent, unreadable or not a directory.
    pub fn open(path: PathBuf) -> Result<Self, ReadError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Self {
                path,
                descriptor,
                reads: Cell::default(),
            }),
            Err(errno) => Err(ReadError::new(&path, errno.into())),
        }
    }

    /// Opens the directory, if it exists and is readable. Devices may appear and disappear after they were listed.
    ///
    /// # Errors
    ///
    /// It exists and cannot be opened.
    pub fn open_if_present(path: PathBuf) -> Result<Option<Self>, ReadError> {
        match Self::open(path) {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.is_out_of_reach() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns an attribute without surrounding blanks, read into `buffer`. `None` if it is absent, unreadable, or has no
    /// value at present, for example because a link is down or the device has disappeared.
    ///
    /// # Errors
    ///
    /// The attribute exists and cannot be read.
    pub fn read<'a>(
        &self,
        name: &str,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, ReadError> {
        let length = match self.open_file(name) {
            Ok(file) => self.note(read_attribute_at(&file, buffer)),
            Err(errno) => Err(errno),
        };
        self.content(name, length, buffer)
    }

    /// Whether some attribute exists and could not be read.
    pub fn has_failed(&self) -> bool {
        self.reads.get().failed
    }

    /// Whether the device has disappeared since the directory was opened: the directory no longer exists, or nothing in it
    /// could be read.
    pub fn has_vanished(&self) -> bool {
        let reads = self.reads.get();
        (reads.failed && !reads.any) || !self.path.exists()
    }

    fn note(&self, length: Result<usize, Errno>) -> Result<usize, Errno> {
        let mut reads = self.reads.get();
        match length {
            Ok(_) => reads.any = true,
            Err(Errno::ACCESS | Errno::PERM) => {}
            Err(_) => reads.failed = true,
        }
        self.reads.set(reads);
        length
    }

    fn open_file(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.descriptor, name, flags, Mode::empty())
    }

    fn content<'a>(
        &self,
        name: &str,
        length: Result<usize, Errno>,
        buffer: &'a [u8],
    ) -> Result<Option<&'a [u8]>, ReadError> {
        match length {
            Ok(length) => Ok(Some(trim(buffer.get(..length).unwrap_or_default()))),
            Err(errno) if has_no_value(errno) => Ok(None),
            Err(errno) => Err(ReadError::new(&self.path.join(name), errno.into())),
        }
    }
}

/// sysfs returns an attribute completely or not at all.
fn read_attribute_at(file: &OwnedFd, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    buffer.resize(LONGEST_ATTRIBUTE, 0);
    rustix::io::retry_on_intr(|| rustix::io::pread(file, buffer.as_mut_slice(), 0))
}

/// Whether a directory belongs to sysfs itself, rather than to captured files.
#[allow(clippy::unnecessary_cast)] // The type differs between architectures.
pub fn is_sysfs(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|found| found.f_type as u64 == SYSFS_MAGIC)
}

fn has_no_value(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::ACCESS
            | Errno::PERM
            | Errno::INVAL
            | Errno::OPNOTSUPP
            | Errno::NODEV
            | Errno::SRCH
            // The error of a sensor that is off, or of a device that sleeps or does not respond.
            | Errno::NODATA
            | Errno::AGAIN
            | Errno::BUSY
            | Errno::IO
            | Errno::NXIO
            | Errno::TIMEDOUT
    )
}

/// Returns the names of a directory's entries that are not plain files, in order. In a class of sysfs these are its
/// devices.
///
/// # Errors
///
/// The directory cannot be listed.
pub fn list_directories(directory: &Path) -> Result<Vec<Vec<u8>>, ReadError> {
    list(directory, |kind| !kind.is_file())
}

/// Returns the names of all entries of a directory, in order.
///
/// # Errors
///
/// The directory cannot be listed.
pub fn list_entries(directory: &Path) -> Result<Vec<Vec<u8>>, ReadError> {
    list(directory, |_| true)
}

/// Returns the names of a directory's plain files, in order.
///
/// # Errors
///
/// The directory cannot be listed.
pub fn list_files(directory: &Path) -> Result<Vec<Vec<u8>>, ReadError> {
    list(directory, |kind| kind.is_file())
}

fn list(directory: &Path, wanted: fn(FileType) -> bool) -> Result<Vec<Vec<u8>>, ReadError> {
    let failure = |source| ReadError::new(directory, source);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failure)? {
        let entry = entry.map_err(failure)?;
        if wanted(entry.file_type().map_err(failure)?) {
            entries.push(entry.file_name().into_vec());
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Reads a whole file into `buffer` and returns it without surrounding blanks. Meant for files that come and go or are
/// replaced by renaming; [`super::KeptFile`] suits the others better.
///
/// # Errors
///
/// The file cannot be opened or read.
pub fn read_attribute<'a>(path: &Path, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    buffer.clear();
    std::fs::File::open(path)?.read_to_end(buffer)?;
    Ok(trim(buffer))
}

/// Returns the entries of a directory whose name is `prefix` followed by a digit, ordered by name. An absent directory has
/// none.
pub fn list_numbered(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let numbered = |name: &std::ffi::OsStr| {
        let rest = name.as_encoded_bytes().strip_prefix(prefix.as_bytes());
        rest.and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| numbered(&entry.file_name()))
        .map(|entry| entry.path())
        .collect();
    paths.sort_unstable();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_entries_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["cpu10", "cpu2", "cpu0", "cpufreq", "cpuidle", "other1"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let names: Vec<_> = list_numbered(directory.path(), "cpu")
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["cpu0", "cpu10", "cpu2"]);
        assert!(list_numbered(Path::new("/nonexistent"), "cpu").is_empty());
    }

    #[test]
    fn directories_are_listed_in_order_without_plain_files() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("lo")).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("eth0")).unwrap();
        std::fs::write(directory.path().join("bonding_masters"), "").unwrap();
        assert_eq!(
            list_directories(directory.path()).unwrap(),
            [b"eth0".to_vec(), b"lo".to_vec()]
        );
        assert_eq!(
            list_files(directory.path()).unwrap(),
            [b"bonding_masters".to_vec()]
        );
        assert!(
            list_directories(Path::new("/nonexistent"))
                .unwrap_err()
                .is_absent()
        );
    }

    #[test]
    fn a_device_that_sleeps_has_no_value_and_one_without_descriptors_has_failed() {
        for errno in [Errno::NODATA, Errno::AGAIN, Errno::IO, Errno::NODEV] {
            assert!(has_no_value(errno), "{errno}");
        }
        assert!(!has_no_value(Errno::MFILE) && !has_no_value(Errno::ISDIR));
    }

    #[test]
    fn attributes_of_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("mtu"), "1500\n").unwrap();
        std::fs::create_dir(directory.path().join("queues")).unwrap();
        let attributes = Directory::open(directory.path().to_owned()).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(
            attributes.read("mtu", &mut buffer).unwrap(),
            Some(b"1500".as_slice())
        );
        assert_eq!(attributes.read("absent", &mut buffer).unwrap(), None);
        let error = attributes.read("queues", &mut buffer).unwrap_err();
        assert!(error.to_string().contains("/queues: "), "{error}");
        let gone = directory.path().join("gone");
        assert!(Directory::open(gone.clone()).unwrap_err().is_absent());
        assert!(Directory::open_if_present(gone).unwrap().is_none());
        assert!(Directory::open_if_present(directory.path().join("mtu")).is_err());
    }

    #[test]
    fn a_captured_tree_is_no_sysfs() {
        assert!(!is_sysfs(tempfile::tempdir().unwrap().path()));
        assert!(is_sysfs(Path::new("/sys/class")));
    }

    #[test]
    fn an_attribute_comes_trimmed_and_replaces_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut buffer = b"old".to_vec();
        std::fs::write(&path, " 17\n").unwrap();
        assert_eq!(read_attribute(&path, &mut buffer).unwrap(), b"17");
        assert!(read_attribute(&directory.path().join("b"), &mut buffer).is_err());
    }
}
