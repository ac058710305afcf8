//! Whether a sysfs shows the network devices of this process's own namespace.
//!
//! A sysfs shows the network namespace in which it was mounted, without saying which one that is. Netlink always answers
//! for the namespace of the process. They are the same if both have the same devices with the same hardware addresses.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::link::Link;
use crate::sources::attribute::{Directory, list_directories};
use crate::sources::netlink::write_hardware_address;
use crate::sources::parse::parse_u64;

/// `ARPHRD_LOOPBACK`: every namespace has one, and all of them have the same address.
const LOOPBACK: u16 = 772;
/// Shorter addresses are derived from numbers that another namespace may have as well.
const MIN_ADDRESS: usize = 6;

/// Whether `class`, which is `class/net` of a sysfs, has exactly these devices, and a hardware address proves it. Devices
/// are ordered by name.
pub(super) fn shows<'a>(class: &Path, links: impl Iterator<Item = &'a Link> + Clone) -> bool {
    let Ok(listed) = list_directories(class) else {
        return false;
    };
    if !links.clone().map(|link| &link.name).eq(&listed) {
        return false;
    }
    let mut provable = links.filter(|link| {
        let blank = link.address.iter().all(|byte| *byte == 0);
        link.kind != LOOPBACK && link.address.len() >= MIN_ADDRESS && !blank
    });
    // A device of another namespace would need the same name, number and address.
    provable.next().is_some_and(|link| is_same(class, link))
}

fn is_same(class: &Path, link: &Link) -> bool {
    let path = class.join(OsStr::from_bytes(&link.name));
    let Ok(directory) = Directory::open(path) else {
        return false;
    };
    let (mut buffer, mut address) = (Vec::new(), Vec::new());
    write_hardware_address(&link.address, &mut address);
    let mut has = |file: &str, check: &dyn Fn(&[u8]) -> bool| {
        let read = directory.read(file, &mut buffer);
        read.is_ok_and(|text| text.is_some_and(check))
    };
    has("ifindex", &|text| {
        parse_u64(text) == Some(link.index.into())
    }) && has("address", &|text| text == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, index: u32, kind: u16, address: &[u8]) -> Link {
        let mut link = Link::default();
        link.name = name.into();
        link.index = index;
        link.kind = kind;
        link.address = address.to_vec();
        link
    }

    #[test]
    fn the_same_devices_with_the_same_address_are_of_the_same_namespace() {
        let class = tempfile::tempdir().unwrap();
        let add = |name: &str, index: &str, address: &str| {
            let directory = class.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("ifindex"), index).unwrap();
            std::fs::write(directory.join("address"), address).unwrap();
        };
        let (lo, eth) = (
            link("lo", 1, LOOPBACK, &[0; 6]),
            link("eth0", 2, 1, &[2, 0, 0, 0, 0, 0xab]),
        );
        let shown = |links: &[&Link]| shows(class.path(), links.iter().copied());
        add("lo", "1\n", "00:00:00:00:00:00\n");
        assert!(!shown(&[&lo]), "any namespace has a loopback");
        add("eth0", "2\n", "02:00:00:00:00:ab\n");
        assert!(shown(&[&eth, &lo]));
        assert!(!shown(&[&lo]), "another device is in sysfs");
        let more = link("eth1", 3, 1, &[2, 0, 0, 0, 0, 0xac]);
        assert!(!shown(&[&eth, &more, &lo]), "sysfs has one less");
        let address = link("eth0", 2, 1, &[2, 0, 0, 0, 0, 0xac]);
        assert!(!shown(&[&address, &lo]));
        let index = link("eth0", 3, 1, &[2, 0, 0, 0, 0, 0xab]);
        assert!(!shown(&[&index, &lo]));
        assert!(!shows(Path::new("/nonexistent"), [&eth].into_iter()));
    }
}
