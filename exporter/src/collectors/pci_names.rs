//! What `pci.ids` calls PCI devices.
//!
//! The file is large and hosts have few kinds of devices: it is read when a kind is met for the first time, and only that
//! kind's names are kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where distributions have the file.
const PLACES: [&str; 2] = ["usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"];

/// The numbers of a kind of device, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    pub class: String,
    pub vendor: String,
    pub device: String,
    pub subsystem_vendor: String,
    pub subsystem_device: String,
}

/// The names that belong to [`Ids`]. One that is not in the file is its number.
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
    /// Of this file, or of that of the host whose root is given.
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

/// What the line above belongs to.
#[derive(Clone, Copy)]
enum Section<'a> {
    Class(&'a str),
    Vendor(&'a str),
}

fn look_up(file: &str, ids: &Ids) -> Found {
    let (base, subclass) = (ids.class.get(..2), ids.class.get(2..4));
    let interface = ids.class.get(4..6);
    let mut found = Found {
        class: format!("Unknown class ({})", ids.class),
        vendor: ids.vendor.clone(),
        device: ids.device.clone(),
        subsystem_vendor: ids.subsystem_vendor.clone(),
        subsystem_device: ids.subsystem_device.clone(),
    };
    let subsystem = format!("{} {}", ids.subsystem_vendor, ids.subsystem_device);
    let (mut section, mut middle) = (None, "");
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        let depth = line.bytes().take_while(|byte| *byte == b'\t').count();
        let Some((id, name)) = line.trim_start_matches('\t').split_once("  ") else {
            continue;
        };
        let (id, name) = (id.trim(), name.trim().to_owned());
        match (depth, section) {
            (0, _) => {
                middle = "";
                section = Some(match id.strip_prefix("C ") {
                    Some(class) => Section::Class(class.trim()),
                    None => Section::Vendor(id),
                });
                match section {
                    Some(Section::Class(class)) if Some(class) == base => found.class = name,
                    Some(Section::Vendor(vendor)) => {
                        if vendor == ids.vendor {
                            found.vendor.clone_from(&name);
                        }
                        if vendor == ids.subsystem_vendor {
                            found.subsystem_vendor = name;
                        }
                    }
                    _ => {}
                }
            }
            (1, _) => {
                middle = id;
                match section {
                    Some(Section::Class(class)) if Some(class) == base && Some(id) == subclass => {
                        found.class = name;
                    }
                    Some(Section::Vendor(vendor)) if vendor == ids.vendor && id == ids.device => {
                        found.device = name;
                    }
                    _ => {}
                }
            }
            (2, Some(Section::Class(class))) => {
                if Some(class) == base && Some(middle) == subclass && Some(id) == interface {
                    found.class = name;
                }
            }
            (2, Some(Section::Vendor(vendor))) => {
                if vendor == ids.vendor && middle == ids.device && id == subsystem {
                    found.subsystem_device = name;
                }
            }
            _ => {}
        }
    }
    found
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
