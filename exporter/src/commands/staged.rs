//! Files that come into being together, each whole and readable by the right people from its first byte on.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};

/// Who may read a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) mode: u32,
    /// `None` keeps the user that creates the file.
    pub(super) owner: Option<u32>,
    /// `None` keeps the group of the user that creates the file.
    pub(super) group: Option<u32>,
}

/// What happens to a file that already exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is kept, and no file is put in place.
    Kept,
    /// It is replaced.
    Replaced,
}

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum StagedError {
    #[error("{} already exists and is not overwritten", .0.display())]
    Exists(PathBuf),
    #[error("cannot {what} {}: {source}", path.display())]
    System {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl Access {
    /// Access for the user that creates the file, with this mode.
    pub(super) fn mode(mode: u32) -> Self {
        Self {
            mode,
            owner: None,
            group: None,
        }
    }

    /// The present access of a file.
    pub(super) fn of(path: &Path) -> Result<Self, StagedError> {
        let metadata = fs::metadata(path).map_err(cannot("look at", path))?;
        Ok(Self {
            mode: metadata.mode() & 0o777,
            owner: Some(metadata.uid()),
            group: Some(metadata.gid()),
        })
    }
}

/// Files that are written next to their final places. Files that are never put in place are removed when this is dropped.
#[derive(Default)]
pub(super) struct Staged(Vec<StagedFile>);

struct StagedFile {
    temporary: PathBuf,
    place: PathBuf,
}

impl Staged {
    /// Writes a file next to its final place.
    pub(super) fn add(
        &mut self,
        place: &Path,
        content: &[u8],
        access: Access,
    ) -> Result<(), StagedError> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        // Of this process alone, hidden, and in the directory that it is renamed in.
        let temporary = place.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(cannot("write", &temporary))?;
        self.0.push(StagedFile {
            temporary: temporary.clone(),
            place: place.to_owned(),
        });
        give(&file, access)
            .and_then(|()| file.write_all(content))
            .and_then(|()| file.sync_all())
            .map_err(cannot("write", &temporary))
    }

    /// Puts all files in place, in the order in which they were added.
    pub(super) fn put_in_place(mut self, existing: Existing) -> Result<(), StagedError> {
        let mut placed = Vec::new();
        for file in &self.0 {
            let done = match existing {
                Existing::Replaced => fs::rename(&file.temporary, &file.place),
                // Unlike a rename, a link never takes the place of a file.
                Existing::Kept => fs::hard_link(&file.temporary, &file.place),
            };
            if let Err(error) = done {
                placed.iter().for_each(|place| drop(fs::remove_file(place)));
                return Err(match error.kind() {
                    io::ErrorKind::AlreadyExists => StagedError::Exists(file.place.clone()),
                    _ => cannot("put in place", &file.place)(error),
                });
            }
            if existing == Existing::Kept {
                placed.push(&file.place);
            }
        }
        for directory in self.0.iter().filter_map(|file| file.place.parent()) {
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(cannot("write", directory))?;
        }
        if existing == Existing::Replaced {
            self.0.clear();
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = fs::remove_file(&file.temporary);
        }
    }
}

/// Creates a directory if it does not exist; an existing one is left unchanged.
pub(super) fn directory(path: &Path, access: Access) -> Result<(), StagedError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .and_then(|()| File::open(path))
        .and_then(|made| give(&made, access))
        .map_err(cannot("create the directory", path))
}

fn give(file: &File, access: Access) -> io::Result<()> {
    if access.owner.is_some() || access.group.is_some() {
        fchown(file, access.owner, access.group)?;
    }
    // What was asked for at the making went through the umask.
    file.set_permissions(Permissions::from_mode(access.mode))
}

pub(super) fn cannot<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StagedError + use<'a> {
    move |source| StagedError::System {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("b"), "old").unwrap();
        let stage = || {
            let mut staged = Staged::default();
            for name in ["a", "b"] {
                staged.add(&at(name), b"new", Access::mode(0o640)).unwrap();
            }
            staged
        };
        let error = stage().put_in_place(Existing::Kept).unwrap_err();
        assert!(error.to_string().contains("/b already exists"), "{error}");
        assert_eq!(names(folder.path()), ["b"]);
        assert_eq!(fs::read(at("b")).unwrap(), b"old");

        stage().put_in_place(Existing::Replaced).unwrap();
        assert_eq!(names(folder.path()), ["a", "b"]);
        assert_eq!(fs::read(at("b")).unwrap(), b"new");
        assert_eq!(Access::of(&at("b")).unwrap().mode, 0o640);

        drop(stage());
        assert_eq!(names(folder.path()), ["a", "b"]);
    }

    #[test]
    fn a_file_is_its_owners_alone_while_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut staged = Staged::default();
        let place = folder.path().join("key");
        staged.add(&place, b"key", Access::mode(0o600)).unwrap();
        let temporary = &staged.0.first().unwrap().temporary;
        assert_eq!(Access::of(temporary).unwrap().mode, 0o600);
        assert!(!place.exists());
    }
}
