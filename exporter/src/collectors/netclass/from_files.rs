//! Network devices from the files of sysfs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::device::{Device, NUMBERS, parse};
use crate::sources::{Directory, Pool, ReadError, list_directories};

/// Reads about twenty files for each device. None of them stays open, because a host may have thousands of devices.
#[derive(Debug)]
pub(super) struct Files {
    class: PathBuf,
    buffer: Vec<u8>,
}

impl Files {
    /// Reads below `class`, which is `class/net` of sysfs.
    pub(super) fn new(class: PathBuf) -> Self {
        Self {
            class,
            buffer: Vec::new(),
        }
    }

    /// Adds the wanted devices, ordered by name.
    ///
    /// # Errors
    ///
    /// The devices cannot be listed, or a file exists and cannot be read.
    pub(super) fn look(
        &mut self,
        wanted: impl Fn(&[u8]) -> bool,
        devices: &mut Pool<Device>,
    ) -> Result<(), ReadError> {
        for name in list_directories(&self.class)? {
            if !wanted(&name) {
                continue;
            }
            let path = self.class.join(OsStr::from_bytes(&name));
            let Some(directory) = Directory::open_if_present(path)? else {
                continue;
            };
            let mut read = Ok(());
            devices.push_with(|device| {
                device.begin(&name);
                read = device.read(&directory, &mut self.buffer);
                read.is_ok() && !device.has_vanished(&directory)
            });
            read?;
        }
        Ok(())
    }
}

impl Device {
    fn read(&mut self, directory: &Directory, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        for (slot, (file, _)) in self.numbers.iter_mut().zip(NUMBERS) {
            *slot = directory.read(file, buffer)?.and_then(parse);
        }
        for (slot, file) in [
            (&mut self.address, "address"),
            (&mut self.broadcast, "broadcast"),
            (&mut self.duplex, "duplex"),
            (&mut self.alias, "ifalias"),
            (&mut self.state, "operstate"),
        ] {
            slot.extend_from_slice(directory.read(file, buffer)?.unwrap_or_default());
        }
        Ok(())
    }

    /// Whether the device disappeared while it was read: the kernel reports a state for every device that exists.
    fn has_vanished(&self, directory: &Directory) -> bool {
        self.state.is_empty() && (directory.has_failed() || directory.has_vanished())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::netclass::device::place;

    /// As in sysfs, the entries of the class are links.
    #[test]
    fn each_look_sees_the_device_that_has_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let class = folder.path().join("class");
        std::fs::create_dir(&class).unwrap();
        let add = |name: &str, device: &str, mtu: &str| {
            let directory = folder.path().join(device);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("mtu"), mtu).unwrap();
            std::os::unix::fs::symlink(directory, class.join(name)).unwrap();
        };
        let mut files = Files::new(class.clone());
        let mut devices = Pool::default();
        let mut look = || {
            devices.clear();
            files.look(|name| name != b"not", &mut devices).unwrap();
            let mtu = |device: &Device| (device.name.clone(), device.number(place::MTU));
            devices.as_slice().iter().map(mtu).collect::<Vec<_>>()
        };
        let seen = |name: &str, mtu: u64| (name.as_bytes().to_vec(), Some(mtu.into()));

        add("a", "1", "1500");
        add("b", "2", "9000");
        add("not", "3", "68");
        assert_eq!(look(), [seen("a", 1500), seen("b", 9000)]);
        std::fs::write(folder.path().join("1/mtu"), "1400").unwrap();
        for (from, to) in [("a", "x"), ("b", "a"), ("x", "b")] {
            std::fs::rename(class.join(from), class.join(to)).unwrap();
        }
        assert_eq!(look(), [seen("a", 9000), seen("b", 1400)]);
        std::fs::remove_file(class.join("b")).unwrap();
        assert_eq!(look(), [seen("a", 9000)]);
    }
}
