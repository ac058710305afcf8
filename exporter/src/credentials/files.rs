//! Reads the configuration and all files that it names as one consistent set.
//!
//! A Secret volume replaces all of its files at once by changing the link `..data`. The link is resolved once, and all
//! files are read below its target, so that a set never mixes old and new files.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use secure_exporter_web_config::{ParseError, WebConfig};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::stamps::Stamps;

/// Much larger than any configuration or bundle; a wrong path must not fill the memory.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// How often a set is read again if the volume was replaced in the meantime.
const ATTEMPTS: usize = 3;
/// The link that a Secret volume changes.
const LINK: &str = "..data";

/// The configuration with the content of the files that it names.
pub(super) struct FileSet {
    pub(super) config: WebConfig,
    pub(super) certificate: Option<Pem>,
    pub(super) key: Option<Pem>,
    pub(super) client_ca: Option<Pem>,
    /// A fingerprint that changes with any byte of any file.
    pub(super) fingerprint: [u8; 32],
    pub(super) stamps: Stamps,
}

/// PEM text and its origin.
pub(super) struct Pem {
    pub(super) origin: String,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Why a set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileSetError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// A file is too large.
    #[error("{path} is larger than 4 MiB, the maximum size of the configuration and its files")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// The configuration is not UTF-8.
    #[error("{path} is not UTF-8 text")]
    NotText {
        /// The file.
        path: String,
    },
    /// The configuration is invalid.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: String,
        /// The reason, with the line.
        source: ParseError,
    },
}

/// Reads the set of the configuration at `path`. Blocks.
pub(super) fn read(path: &Path) -> Result<FileSet, FileSetError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut attempt = 1;
    loop {
        let stamps = Stamps::of_link(directory.join(LINK));
        let place = Place::resolve(directory)?;
        match place.read_set(path, stamps) {
            // The volume was replaced and the old directory removed during the read.
            Err(FileSetError::Read { .. })
                if attempt < ATTEMPTS && Place::resolve(directory)? != place =>
            {
                attempt += 1
            }
            result => return result,
        }
    }
}

/// The directory of the configuration: its path as given, and the resolved path of its files.
#[derive(PartialEq)]
struct Place {
    named: PathBuf,
    actual: PathBuf,
}

impl Place {
    fn resolve(directory: &Path) -> Result<Self, FileSetError> {
        let link = directory.join(LINK);
        let actual = match std::fs::read_link(&link) {
            Ok(target) => directory.join(target),
            // There is no such link: this is an ordinary directory.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
                ) =>
            {
                directory.to_owned()
            }
            Err(source) => {
                return Err(FileSetError::Read {
                    path: link.display().to_string(),
                    source,
                });
            }
        };
        Ok(Self {
            named: directory.to_owned(),
            actual,
        })
    }

    fn locate(&self, path: &Path) -> PathBuf {
        let inside = if path.is_absolute() {
            path.strip_prefix(&self.named).ok()
        } else {
            Some(path)
        };
        inside.map_or_else(|| path.to_owned(), |inside| self.actual.join(inside))
    }

    fn read_set(&self, path: &Path, mut stamps: Stamps) -> Result<FileSet, FileSetError> {
        let shown = path.display().to_string();
        let location = path
            .file_name()
            .map_or_else(|| path.to_owned(), |name| self.actual.join(name));
        stamps.note(&location);
        let text = read_file(&location, &shown)?;
        let mut fingerprint = Sha256::new();
        absorb(&mut fingerprint, &text);
        let text = std::str::from_utf8(&text).map_err(|_| FileSetError::NotText {
            path: shown.clone(),
        })?;
        let config = WebConfig::parse(text).map_err(|source| FileSetError::Parse {
            path: shown.clone(),
            source,
        })?;
        let tls = config.tls_server_config.as_ref();
        let mut pem = |file: Option<&String>, inline: Option<&String>, key: &str| {
            let pem = match (file, inline) {
                (Some(file), _) => {
                    let location = self.locate(Path::new(file));
                    let origin = self.named.join(file).display().to_string();
                    stamps.note(&location);
                    Pem {
                        bytes: read_file(&location, &origin)?,
                        origin,
                    }
                }
                (None, Some(text)) => {
                    let origin = format!("{shown}, tls_server_config.{key}");
                    Pem {
                        bytes: Zeroizing::new(text.clone().into_bytes()),
                        origin,
                    }
                }
                (None, None) => return Ok(None),
            };
            absorb(&mut fingerprint, &pem.bytes);
            Ok(Some(pem))
        };
        let certificate = pem(
            tls.and_then(|tls| tls.cert_file.as_ref()),
            tls.and_then(|tls| tls.cert.as_ref()),
            "cert",
        )?;
        let key = pem(
            tls.and_then(|tls| tls.key_file.as_ref()),
            tls.and_then(|tls| tls.key.as_ref()),
            "key",
        )?;
        let client_ca = pem(
            tls.and_then(|tls| tls.client_ca_file.as_ref()),
            tls.and_then(|tls| tls.client_ca.as_ref()),
            "client_ca",
        )?;
        Ok(FileSet {
            config,
            certificate,
            key,
            client_ca,
            fingerprint: fingerprint.finalize().into(),
            stamps,
        })
    }
}

fn read_file(location: &Path, shown: &str) -> Result<Zeroizing<Vec<u8>>, FileSetError> {
    let unreadable = |source| FileSetError::Read {
        path: shown.to_owned(),
        source,
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(location).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(FileSetError::TooLarge {
            path: shown.to_owned(),
        });
    }
    Ok(bytes)
}

/// Lengths separate the files in the fingerprint.
fn absorb(fingerprint: &mut Sha256, bytes: &[u8]) {
    fingerprint.update((bytes.len() as u64).to_le_bytes());
    fingerprint.update(bytes);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn all_is_read_beneath_one_resolved_directory() {
        let volume = tempfile::tempdir().unwrap();
        for (name, pem) in [("..one", "first"), ("..two", "second")] {
            let directory = volume.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(
                directory.join("config.yml"),
                "tls_server_config: {cert_file: a, key_file: b}\n",
            )
            .unwrap();
            std::fs::write(directory.join("a"), pem).unwrap();
            std::fs::write(directory.join("b"), pem).unwrap();
        }
        // Files next to the link, such as a stale copy, are never read.
        for name in ["config.yml", "a", "b"] {
            std::fs::write(volume.path().join(name), "stale: true").unwrap();
        }
        symlink("..one", volume.path().join("..data")).unwrap();
        let first = read(&volume.path().join("config.yml")).unwrap();
        assert_eq!(first.certificate.unwrap().bytes.as_slice(), b"first");
        std::fs::remove_file(volume.path().join("..data")).unwrap();
        symlink("..two", volume.path().join("..data")).unwrap();
        let second = read(&volume.path().join("config.yml")).unwrap();
        assert_eq!(second.key.unwrap().bytes.as_slice(), b"second");
        assert_ne!(first.fingerprint, second.fingerprint);
    }

    #[test]
    fn an_absolute_path_into_the_volume_follows_the_link_too() {
        let place = Place {
            named: "/etc/x".into(),
            actual: "/etc/x/..1".into(),
        };
        assert_eq!(
            place.locate(Path::new("/etc/x/tls.crt")),
            Path::new("/etc/x/..1/tls.crt")
        );
        assert_eq!(
            place.locate(Path::new("tls.crt")),
            Path::new("/etc/x/..1/tls.crt")
        );
        assert_eq!(
            place.locate(Path::new("/etc/y/tls.crt")),
            Path::new("/etc/y/tls.crt")
        );
    }
}
