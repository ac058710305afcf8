//! `dmmultipath`: multipath devices of the device mapper, from `/sys/block/dm-*`.

use std::path::{Path, PathBuf};

use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_directories, list_entries, list_numbered};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "dmmultipath",
    default_enabled: true,
    summary: "Multipath devices of the device mapper, from sysfs.",
    options: &[],
    build,
};

/// The unit in which the kernel counts sizes of block devices.
const SECTOR: f64 = 512.0;
/// The states of a usable path, of SCSI and of NVMe.
const USABLE: [&[u8]; 2] = [b"running", b"live"];

struct Dmmultipath {
    block_devices: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Dmmultipath {
        block_devices: context.sysfs("block"),
    }))
}

impl Collector for Dmmultipath {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        // Without any block devices there is nothing to show.
        list_directories(&self.block_devices).map_err(CollectError::optional)?;
        gather(out, |samples| {
            for path in list_numbered(&self.block_devices, "dm-") {
                samples.device(&path, |device, samples| {
                    self.add_mapping(device, &path, samples)
                });
            }
            Ok(())
        })
    }
}

impl Dmmultipath {
    /// Adds a device of the device mapper if it is a multipath device.
    fn add_mapping(
        &self,
        device: &mut Device,
        path: &Path,
        samples: &mut Samples,
    ) -> Result<(), CollectError> {
        let uuid = device.label("dm/uuid")?;
        if !uuid.starts_with(b"mpath-") {
            return Ok(());
        }
        let name = device.label("dm/name")?;
        let sysfs_name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let labels = [("device", name.as_slice()), ("sysfs_name", sysfs_name)];
        let [named, in_sysfs] = labels;
        let help = "Information about the multipath device, in labels.";
        let info = [named, in_sysfs, ("uuid", uuid.as_slice())];
        samples.gauge("node_dmmultipath_device_info", help, &info, 1);
        let states = self.add_paths(path, named, samples)?;
        let usable = states
            .iter()
            .filter(|state| USABLE.contains(&state.as_slice()))
            .count();
        let active = device.required("dm/suspended")? != 1.0;
        let size = device.required("size")? * SECTOR;
        for (what, help, value) in [
            (
                "active",
                "Whether the multipath device is active rather than suspended.",
                f64::from(u8::from(active)),
            ),
            (
                "paths",
                "Number of paths of the multipath device.",
                states.len() as f64,
            ),
            (
                "paths_active",
                "Number of usable paths of the multipath device.",
                usable as f64,
            ),
            (
                "paths_failed",
                "Number of failed paths of the multipath device.",
                (states.len() - usable) as f64,
            ),
            ("size_bytes", "Size of the multipath device.", size),
        ] {
            samples.gauge(
                format!("node_dmmultipath_device_{what}"),
                help,
                &labels,
                value,
            );
        }
        Ok(())
    }

    /// Adds the paths and returns their states.
    fn add_paths(
        &self,
        mapping: &Path,
        name: (&'static str, &[u8]),
        samples: &mut Samples,
    ) -> Result<Vec<Vec<u8>>, CollectError> {
        let mut states = Vec::new();
        for path in list_entries(&mapping.join("slaves")).unwrap_or_default() {
            let disk = self
                .block_devices
                .join(String::from_utf8_lossy(&path).as_ref());
            let Some(mut disk) = Device::open_listed(&disk)? else {
                continue;
            };
            let state = disk.label("device/state")?;
            if disk.has_vanished() {
                continue;
            }
            let labels = [name, ("path", path.as_slice()), ("state", state.as_slice())];
            let help = "State of a path of the multipath device.";
            samples.gauge("node_dmmultipath_path_state", help, &labels, 1);
            states.push(state);
        }
        Ok(states)
    }
}
