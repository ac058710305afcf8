//! Detects changed files by their metadata, which takes a hundredth of the time of reading and checking them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The metadata of each file before it was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stamps {
    link: Option<(PathBuf, Option<Stamp>)>,
    files: Vec<(PathBuf, Option<Stamp>)>,
}

/// Another file, or another content, has a different stamp. A change within the kernel's clock tick may keep the stamp, so
/// it must not be trusted forever.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamps {
    /// Records a link, which determines the files; must be called before it is followed.
    pub(super) fn of_link(link: PathBuf) -> Self {
        let stamp = link_stamp(&link);
        Self {
            link: Some((link, stamp)),
            files: Vec::new(),
        }
    }

    /// Records a file; must be called before it is read.
    pub(super) fn note(&mut self, file: &Path) {
        self.files.push((file.to_owned(), file_stamp(file)));
    }

    /// Whether nothing has changed since it was recorded. Blocks.
    pub(super) fn hold(&self) -> bool {
        let link = self.link.as_ref();
        link.is_none_or(|(link, stamp)| link_stamp(link) == *stamp)
            && self
                .files
                .iter()
                .all(|(file, stamp)| file_stamp(file) == *stamp)
    }
}

fn link_stamp(link: &Path) -> Option<Stamp> {
    std::fs::symlink_metadata(link).ok().map(Stamp::from)
}

fn file_stamp(file: &Path) -> Option<Stamp> {
    std::fs::metadata(file).ok().map(Stamp::from)
}

impl From<Metadata> for Stamp {
    fn from(metadata: Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_way_to_change_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "one").unwrap();
        symlink("one", &link).unwrap();
        let noted = || {
            let mut stamps = Stamps::of_link(link.clone());
            stamps.note(&file);
            assert!(stamps.hold());
            stamps
        };

        let before = noted();
        fs::write(&file, "three").unwrap();
        assert!(!before.hold(), "another content");

        let before = noted();
        fs::write(folder.path().join("new"), "three").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(!before.hold(), "another file");

        let before = noted();
        symlink("two", folder.path().join("next")).unwrap();
        fs::rename(folder.path().join("next"), &link).unwrap();
        assert!(!before.hold(), "another target of the link");

        let before = noted();
        fs::remove_file(&file).unwrap();
        assert!(!before.hold(), "no file");
        let before = noted();
        fs::write(&file, "").unwrap();
        assert!(!before.hold(), "a file where there was none");
    }
}
