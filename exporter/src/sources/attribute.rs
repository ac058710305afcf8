//! Small files that are read rarely, and directories whose entries are numbered.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Reads a whole file into `buffer`, in place of what was there, and gives it without blanks around it. For files
/// that come and go or are replaced by renaming; [`super::KeptFile`] suits the others better.
///
/// # Errors
///
/// The file cannot be opened or read.
pub fn read_attribute<'a>(path: &Path, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    buffer.clear();
    std::fs::File::open(path)?.read_to_end(buffer)?;
    Ok(super::trim(buffer))
}

/// The entries of a directory whose name is `prefix` and then a digit, in order of their names as text. An absent
/// directory has none.
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
    fn an_attribute_comes_trimmed_and_replaces_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut buffer = b"old".to_vec();
        std::fs::write(&path, " 17\n").unwrap();
        assert_eq!(read_attribute(&path, &mut buffer).unwrap(), b"17");
        assert!(read_attribute(&directory.path().join("b"), &mut buffer).is_err());
    }
}
