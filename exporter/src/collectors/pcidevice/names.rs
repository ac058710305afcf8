//! The names of PCI devices in `pci.ids`.
//!
//! The file is large and hosts have few types of devices. It is read when a type occurs for the first time, and only the
//! names of that type are kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where distributions have the file.
const PLACES: [&str; 2] = ["usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"];

/// The IDs of a type of device, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    pub class: String,
    pub vendor: String,
    pub device: String,
    pub subsystem_vendor: String,
    pub subsystem_device: String,
}

/// The names for [`Ids`]. An ID that is not in the file is shown as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub class: String,
    pub vendor: String,
    pub device: String,
    pub subsystem_vendor: String,
    pub subsystem_device: String,
}

/// The file, and what was found in it so far.
#[derive(Debug)]
pub(super) struct Names {
    places: Vec<PathBuf>,
    found: HashMap<Ids, Found>,
}

impl Names {
    /// Uses this file, or the host's own below the given root.
    pub(super) fn new(file: Option<PathBuf>, rootfs: &Path) -> Self {
        let places = match file {
            Some(file) => vec![file],
            None => PLACES.map(|place| rootfs.join(place)).into(),
        };
        Self {
            places,
            found: HashMap::new(),
        }
    }

    pub(super) fn find(&mut self, ids: &Ids) -> Found {
        if let Some(found) = self.found.get(ids) {
            return found.clone();
        }
        let read = |place: &PathBuf| std::fs::read(place).ok();
        let file = self.places.iter().find_map(read).unwrap_or_default();
        let found = look_up(&String::from_utf8_lossy(&file), ids);
        self.found.insert(ids.clone(), found.clone());
        found
    }
}

/// Lines are indented below their parents: a device below its vendor, a subsystem below its device, and so on.
fn look_up(file: &str, ids: &Ids) -> Found {
    let mut found = Found {
        class: format!("Unknown class ({})", ids.class),
        vendor: ids.vendor.clone(),
        device: ids.device.clone(),
        subsystem_vendor: ids.subsystem_vendor.clone(),
        subsystem_device: ids.subsystem_device.clone(),
    };
    let mut path = [""; 3];
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        let depth = line.bytes().take_while(|byte| *byte == b'\t').count();
        let named = line.trim_start_matches('\t').split_once("  ");
        if let (Some((id, name)), Some(place)) = (named, path.get_mut(depth)) {
            *place = id.trim();
            found.take(path.get(..=depth).unwrap_or_default(), name.trim(), ids);
        }
    }
    found
}

impl Found {
    /// Stores the name of this path if it belongs to these IDs.
    fn take(&mut self, path: &[&str], name: &str, ids: &Ids) {
        let [first, below @ ..] = path else { return };
        if let Some(base) = first.strip_prefix("C ") {
            // The more specific a class is, the later its line comes.
            let class = format!("{}{}", base.trim(), below.concat());
            if ids.class.starts_with(&class) {
                name.clone_into(&mut self.class);
            }
            return;
        }
        let of_device = |device: &str| *first == ids.vendor && device == ids.device;
        match below {
            [] => {
                if *first == ids.vendor {
                    name.clone_into(&mut self.vendor);
                }
                if *first == ids.subsystem_vendor {
                    name.clone_into(&mut self.subsystem_vendor);
                }
            }
            [device] if of_device(device) => name.clone_into(&mut self.device),
            [device, subsystem]
                if of_device(device)
                    && *subsystem
                        == format!("{} {}", ids.subsystem_vendor, ids.subsystem_device) =>
            {
                name.clone_into(&mut self.subsystem_device);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n\
        8086  Intel Corporation\n\
        \t0a54  NVMe Datacenter SSD\n\
        \t\t1028 1fe2  Express Flash\n\
        \t0a55  Another\n\
        \t\t1028 1fe2  Not this one\n\
        1028  Dell\n\
        C 01  Mass storage controller\n\
        \t08  Non-Volatile memory controller\n\
        \t\t02  NVM Express\n\
        C 02  Network controller\n\
        \t08  Infiniband controller\n";

    fn ids(class: &str, device: &str) -> Ids {
        Ids {
            class: class.into(),
            vendor: "8086".into(),
            device: device.into(),
            subsystem_vendor: "1028".into(),
            subsystem_device: "1fe2".into(),
        }
    }

    #[test]
    fn each_name_is_that_of_the_whole_path_to_it() {
        let found = look_up(FILE, &ids("010802", "0a54"));
        let names = [
            found.class,
            found.vendor,
            found.device,
            found.subsystem_vendor,
            found.subsystem_device,
        ];
        assert_eq!(
            names,
            [
                "NVM Express",
                "Intel Corporation",
                "NVMe Datacenter SSD",
                "Dell",
                "Express Flash"
            ]
        );
    }

    #[test]
    fn the_nearest_class_that_has_a_name_is_shown() {
        for (class, name) in [
            ("010803", "Non-Volatile memory controller"),
            ("010000", "Mass storage controller"),
            ("020800", "Infiniband controller"),
            ("060400", "Unknown class (060400)"),
        ] {
            assert_eq!(look_up(FILE, &ids(class, "0a54")).class, name);
        }
    }

    #[test]
    fn what_has_no_name_is_its_number_also_without_a_file() {
        let mut names = Names::new(Some("/nonexistent".into()), Path::new("/"));
        let found = names.find(&ids("010802", "ffff"));
        assert_eq!(
            (found.vendor.as_str(), found.device.as_str()),
            ("8086", "ffff")
        );
        assert_eq!(
            look_up(FILE, &ids("010802", "ffff")).subsystem_device,
            "1fe2"
        );
    }
}
