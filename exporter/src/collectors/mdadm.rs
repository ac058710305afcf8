//! `mdadm`: software RAID arrays, from `/proc/mdstat` and sysfs.

mod mdstat;

use std::path::{Path, PathBuf};

use self::mdstat::Array;
use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, KeptFile, fields, list_numbered, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "mdadm",
    default_enabled: true,
    summary: "Software RAID arrays, from /proc/mdstat.",
    options: &[],
    build,
};

/// The states that are shown, each with its activity.
const STATES: [(&str, &[u8]); 5] = [
    ("active", b"active"),
    ("check", b"checking"),
    ("inactive", b"inactive"),
    ("recovering", b"recovering"),
    ("resync", b"resyncing"),
];
/// The levels that survive the loss of a disk.
const REDUNDANT: [&[u8]; 5] = [b"raid1", b"raid4", b"raid5", b"raid6", b"raid10"];
/// A container of arrays, which is not an array itself.
const CONTAINERS: [&[u8]; 4] = [b"container", b"ddf", b"imsm", b""];

struct Mdadm {
    file: KeptFile,
    block_devices: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Mdadm {
        file: KeptFile::new(context.procfs(mdstat::FILE)),
        block_devices: context.sysfs("block"),
    }))
}

impl Collector for Mdadm {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read().map_err(CollectError::optional)?;
        gather(out, |samples| {
            let arrays = mdstat::parse(bytes, &mut samples.skipped);
            for array in &arrays {
                add_array(array, samples);
            }
            for path in list_numbered(&self.block_devices, "md") {
                samples.device(&path.join("md"), |device, samples| {
                    add_from_sysfs(device, &path, samples)
                });
            }
            Ok(())
        })
    }
}

fn add_array(array: &Array<'_>, samples: &mut Samples) {
    let device = ("device", array.name);
    for (name, help, value) in [
        (
            "node_md_blocks",
            "Number of blocks of the array.",
            array.blocks,
        ),
        (
            "node_md_blocks_synced",
            "Number of blocks of the array that are in sync.",
            array.blocks_synced,
        ),
        (
            "node_md_disks_required",
            "Number of disks of the complete array.",
            array.disks,
        ),
    ] {
        if let Some(value) = value {
            samples.gauge(name, help, &[device], value);
        }
    }
    for (state, count) in [
        ("active", array.active),
        ("failed", Some(array.failed)),
        ("spare", Some(array.spare)),
    ] {
        let help = "Number of disks of the array, by state.";
        let labels = [device, ("state", state.as_bytes())];
        if let Some(count) = count {
            samples.gauge("node_md_disks", help, &labels, count);
        }
    }
    for (state, activity) in STATES {
        let help = "Whether the array is in this state.";
        let labels = [device, ("state", state.as_bytes())];
        samples.gauge(
            "node_md_state",
            help,
            &labels,
            u64::from(array.activity == activity),
        );
    }
}

fn add_from_sysfs(
    device: &mut Device,
    path: &Path,
    samples: &mut Samples,
) -> Result<(), CollectError> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let level = device.required_text("level")?;
    let labels = [("device", name)];
    // While an array is reshaped, the previous number of disks follows in brackets.
    let disks = device.label("raid_disks")?;
    if !CONTAINERS.contains(&level.as_slice())
        && let Some(disks) = fields(&disks).next().and_then(parse_u64)
    {
        let help = "Number of disks that the array is configured with.";
        samples.gauge("node_md_raid_disks", help, &labels, disks);
    }
    let degraded = match REDUNDANT.contains(&level.as_slice()) {
        true => device.required("degraded")?,
        false => 0.0,
    };
    let help = "Number of disks that are missing from the array.";
    samples.gauge("node_md_degraded", help, &labels, degraded);
    Ok(())
}
