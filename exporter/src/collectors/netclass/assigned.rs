//! Properties of a network device that only sysfs has, read once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::device::parse;
use crate::exposition::Value;
use crate::sources::{Directory, ReadError, parse_u64};

/// What netlink does not have. The kernel sets these values when a device appears, is renamed or gets an address, and
/// reports each of these changes, so that they need not be read again in between.
const FILES: [&str; 3] = ["addr_assign_type", "dev_id", "name_assign_type"];

/// How a device got its address, its number within its hardware, and how it got its name.
pub(super) type Assigned = [Option<Value>; FILES.len()];

/// The values read so far, of the devices that exist.
#[derive(Debug)]
pub(super) struct Remembered {
    class: PathBuf,
    /// In order of index.
    devices: Vec<Known>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Known {
    index: u32,
    revision: u64,
    assigned: Assigned,
    present: bool,
}

impl Remembered {
    /// Reads below `class`, which is `class/net` of sysfs.
    pub(super) fn new(class: PathBuf) -> Self {
        Self {
            class,
            devices: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Returns the values of a device, read only if the device is not the remembered one.
    ///
    /// # Errors
    ///
    /// A file exists and cannot be read.
    pub(super) fn of(
        &mut self,
        name: &[u8],
        index: u32,
        revision: u64,
    ) -> Result<Assigned, ReadError> {
        let found = self
            .devices
            .binary_search_by_key(&index, |known| known.index);
        let known = found.ok().and_then(|place| self.devices.get_mut(place));
        if let Some(known) = known
            && known.revision == revision
        {
            known.present = true;
            return Ok(known.assigned);
        }
        let Some(assigned) = self.read(name, index)? else {
            return Ok(Assigned::default());
        };
        let known = Known {
            index,
            revision,
            assigned,
            present: true,
        };
        match found {
            Ok(place) => self.devices.splice(place..=place, [known]).for_each(drop),
            Err(place) => self.devices.insert(place, known),
        }
        Ok(assigned)
    }

    /// Forgets the devices that were not requested since the last call.
    pub(super) fn forget_absent(&mut self) {
        self.devices.retain(|known| known.present);
        for known in &mut self.devices {
            known.present = false;
        }
    }

    /// `None` if the device has disappeared, or its name now belongs to another one.
    fn read(&mut self, name: &[u8], index: u32) -> Result<Option<Assigned>, ReadError> {
        let path = self.class.join(OsStr::from_bytes(name));
        let Some(directory) = Directory::open_if_present(path)? else {
            return Ok(None);
        };
        let its_index = directory.read("ifindex", &mut self.buffer)?;
        if its_index.and_then(parse_u64) != Some(index.into()) {
            return Ok(None);
        }
        let mut assigned = Assigned::default();
        for (slot, file) in assigned.iter_mut().zip(FILES) {
            *slot = directory.read(file, &mut self.buffer)?.and_then(parse);
        }
        Ok(Some(assigned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_again_only_when_it_may_have_changed() {
        let class = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            std::fs::create_dir_all(class.path().join("eth0")).unwrap();
            std::fs::write(class.path().join("eth0").join(file), text).unwrap();
        };
        let mut remembered = Remembered::new(class.path().to_owned());
        let mut of = |index: u32, revision: u64| {
            let assigned = remembered.of(b"eth0", index, revision).unwrap();
            remembered.forget_absent();
            assigned
        };
        let seen =
            |address, id, name| [address, id, name].map(|it: Option<u64>| it.map(Value::from));

        assert_eq!(of(2, 1), seen(None, None, None), "it has not come yet");
        write("ifindex", "2\n");
        write("addr_assign_type", "1\n");
        write("dev_id", "0x1f\n");
        assert_eq!(of(2, 1), seen(Some(1), Some(31), None));
        write("addr_assign_type", "3\n");
        write("name_assign_type", "4\n");
        assert_eq!(of(2, 1), seen(Some(1), Some(31), None));
        assert_eq!(of(2, 2), seen(Some(3), Some(31), Some(4)));
        assert_eq!(of(3, 3), seen(None, None, None), "the name is another's");
        assert!(remembered.devices.is_empty(), "what has gone is forgotten");
    }
}
