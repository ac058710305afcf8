//! A device in sysfs: a directory with one value per file.

use std::path::{Path, PathBuf};

use super::collector::CollectError;
use crate::sources::{Directory, ReadError, parse_prefixed, parse_signed};

/// The attributes of one device.
#[derive(Debug)]
pub(crate) struct Device {
    path: PathBuf,
    directory: Directory,
    buffer: Vec<u8>,
}

impl Device {
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            path: path.to_owned(),
            directory: Directory::open(path.to_owned())?,
            buffer: Vec::new(),
        })
    }

    /// Opens a device that was listed before; `None` if it has disappeared since.
    pub(crate) fn open_listed(path: &Path) -> Result<Option<Self>, ReadError> {
        match Self::open(path) {
            Ok(device) => Ok(Some(device)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the device disappeared while it was read. What was read is then incomplete, and an absent attribute means
    /// nothing.
    pub(crate) fn has_vanished(&self) -> bool {
        self.directory.has_vanished()
    }

    /// Returns an attribute's text; `None` if it is absent, unreadable or has no value now.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<&[u8]>, ReadError> {
        self.directory.read(name, &mut self.buffer)
    }

    /// Returns an attribute's text for a label; empty if there is none.
    pub(crate) fn label(&mut self, name: &str) -> Result<Vec<u8>, ReadError> {
        Ok(self.text(name)?.unwrap_or_default().to_vec())
    }

    /// Returns an attribute's text; its absence is an error.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<Vec<u8>, ReadError> {
        let path = self.path.join(name);
        match self.text(name)? {
            Some(text) => Ok(text.to_vec()),
            None => Err(ReadError::new(&path, std::io::ErrorKind::NotFound.into())),
        }
    }

    /// Returns an attribute's number, decimal or hexadecimal after `0x`. `None` as for [`Device::text`].
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, CollectError> {
        let Some(text) = self.directory.read(name, &mut self.buffer)? else {
            return Ok(None);
        };
        let number = parse_signed(text).or_else(|| parse_prefixed(text).map(|n| n as f64));
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(CollectError::Attribute {
                path: self.path.join(name),
                text: String::from_utf8_lossy(text).into_owned(),
            }),
        }
    }

    /// Returns an attribute's number; its absence is an error.
    pub(crate) fn required(&mut self, name: &str) -> Result<f64, CollectError> {
        match self.number(name)? {
            Some(number) => Ok(number),
            None => {
                let source = std::io::ErrorKind::NotFound.into();
                Err(ReadError::new(&self.path.join(name), source).into())
            }
        }
    }
}

/// Returns what follows the prefix in the name of a directory or file, such as the number of `thermal_zone0`.
pub(crate) fn name_after(path: &Path, prefix: &str) -> Vec<u8> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let rest = name.strip_prefix(prefix.as_bytes());
    rest.unwrap_or(name).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_texts_and_what_is_neither() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("dec", "-5\n"), ("hex", "0x1f\n"), ("word", " up \n")] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let mut device = Device::open(directory.path()).unwrap();
        assert_eq!(device.number("dec").unwrap(), Some(-5.0));
        assert_eq!(device.number("hex").unwrap(), Some(31.0));
        assert_eq!(device.text("word").unwrap(), Some(b"up".as_slice()));
        assert_eq!(device.number("absent").unwrap(), None);
        assert_eq!(device.label("absent").unwrap(), b"");
        let error = device.number("word").unwrap_err().to_string();
        assert!(
            error.ends_with("/word contains \"up\" where a number is expected"),
            "{error}"
        );
        let error = device.required("absent").unwrap_err().to_string();
        assert!(error.contains("/absent: "), "{error}");
    }
}
