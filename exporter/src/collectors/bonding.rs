//! `bonding`: the number of devices of each bond, and how many of them are up.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, ReadError, fields, read_attribute};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "bonding",
    default_enabled: true,
    summary: "Configured and active devices of each bond, from /sys/class/net.",
    options: &[],
    build,
};

struct Bonding {
    class: PathBuf,
    masters: KeptFile,
    buffer: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Bond {
    name: Vec<u8>,
    devices: u64,
    active: u64,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let class = context.sysfs("class/net");
    Ok(Box::new(Bonding {
        masters: KeptFile::new(class.join("bonding_masters")),
        class,
        buffer: Vec::new(),
    }))
}

impl Collector for Bonding {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let masters = self.masters.read().map_err(CollectError::optional)?;
        let mut skipped = Skipped::default();
        let mut bonds = Vec::new();
        for name in fields(masters) {
            let bond = look_at(&self.class, name, &mut self.buffer);
            match bond {
                // It has disappeared since it was listed.
                Err(error) if error.is_gone() => {}
                bond => bonds.extend(skipped.part(bond)),
            }
        }
        bonds.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        write(&bonds, out);
        skipped.result()
    }
}

fn look_at(class: &Path, name: &[u8], buffer: &mut Vec<u8>) -> Result<Bond, ReadError> {
    let directory = class.join(OsStr::from_bytes(name));
    let mut bond = Bond {
        name: name.to_vec(),
        devices: 0,
        active: 0,
    };
    let devices = read(&directory.join("bonding/slaves"), buffer)?.to_vec();
    for device in fields(&devices) {
        let is_up = match link_state(&directory, device, buffer) {
            // It has left the bond since it was listed.
            Err(error) if error.is_gone() => continue,
            state => state? == b"up",
        };
        bond.devices += 1;
        bond.active += u64::from(is_up);
    }
    Ok(bond)
}

fn link_state<'a>(
    bond: &Path,
    device: &[u8],
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], ReadError> {
    let state = |prefix: &str| {
        let link = [prefix.as_bytes(), device].concat();
        bond.join(OsStr::from_bytes(&link))
            .join("bonding_slave/mii_status")
    };
    let (now, before_linux_3_9) = (state("lower_"), state("slave_"));
    let path = if now.exists() { now } else { before_linux_3_9 };
    read(&path, buffer)
}

fn read<'a>(path: &Path, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], ReadError> {
    read_attribute(path, buffer).map_err(|source| ReadError::new(path, source))
}

fn write(bonds: &[Bond], out: &mut Exposition) {
    let help = "Number of devices of the bond whose link is up.";
    let mut family = out.family(&["node_bonding_active"], &[help], MetricKind::Gauge);
    for bond in bonds {
        family.sample(&[("master", &bond.name)], bond.active);
    }
    drop(family);
    let help = "Number of devices that belong to the bond.";
    let mut family = out.family(&["node_bonding_slaves"], &[help], MetricKind::Gauge);
    for bond in bonds {
        family.sample(&[("master", &bond.name)], bond.devices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_of_old_and_new_kernels_are_followed() {
        let class = tempfile::tempdir().unwrap();
        let file = |path: &str, content: &str| {
            let path = class.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        file("bond0/bonding/slaves", "eth0 eth1 eth2\n");
        file("bond0/lower_eth0/bonding_slave/mii_status", "up\n");
        file("bond0/slave_eth1/bonding_slave/mii_status", "up\n");
        file("bond0/slave_eth2/bonding_slave/mii_status", "down\n");
        let mut buffer = Vec::new();
        let expected = Bond {
            name: b"bond0".to_vec(),
            devices: 3,
            active: 2,
        };
        assert_eq!(
            look_at(class.path(), b"bond0", &mut buffer).unwrap(),
            expected
        );
        assert!(look_at(class.path(), b"bond1", &mut buffer).is_err());
    }
}
