//! `btrfs`: space, commits and devices of btrfs file systems, from `/sys/fs/btrfs`.

use std::path::{Path, PathBuf};

use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, fields, lines, list_directories, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "btrfs",
    default_enabled: true,
    summary: "Space, commits and devices of btrfs file systems, from /sys/fs/btrfs.",
    options: &[],
    build,
};

/// The unit in which the kernel counts sizes of block devices.
const SECTOR: f64 = 512.0;
const MILLISECONDS: f64 = 1000.0;
const BLOCK_GROUPS: [&str; 3] = ["data", "metadata", "system"];

struct Btrfs {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Btrfs {
        directory: context.sysfs("fs/btrfs"),
    }))
}

impl Collector for Btrfs {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        gather(out, |samples| {
            // Without the kernel's module there is no directory, which is not an error.
            for name in list_directories(&self.directory).unwrap_or_default() {
                // Next to the file systems are directories of the driver, whose names contain no dash.
                if name.contains(&b'-') {
                    let path = self.directory.join(String::from_utf8_lossy(&name).as_ref());
                    samples.device(&path, |attributes, samples| {
                        FileSystem::of(&path, name, attributes)?.add(samples)
                    });
                }
            }
            Ok(())
        })
    }
}

struct FileSystem<'a> {
    path: &'a Path,
    attributes: &'a mut Device,
    uuid: Vec<u8>,
}

impl<'a> FileSystem<'a> {
    fn of(path: &'a Path, name: Vec<u8>, attributes: &'a mut Device) -> Result<Self, CollectError> {
        let uuid = match attributes.label("metadata_uuid")? {
            none if none.is_empty() => name,
            uuid => uuid,
        };
        Ok(Self {
            path,
            attributes,
            uuid,
        })
    }

    fn add(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let uuid = ("uuid", self.uuid.as_slice());
        let label = self.attributes.label("label")?;
        let help = "Information about the file system, with its label.";
        samples.gauge("node_btrfs_info", help, &[("label", &label), uuid], 1);
        let reserve = self.attributes.number("allocation/global_rsv_size")?;
        let help =
            "Size of the global reserve, which the file system keeps for its own operations.";
        let name = "node_btrfs_global_rsv_size_bytes";
        samples.gauge(name, help, &[uuid], reserve.unwrap_or_default());
        self.add_commits(samples)?;
        let devices = self.add_devices(samples)?;
        for group in BLOCK_GROUPS {
            self.add_block_group(group, devices, samples)?;
        }
        Ok(())
    }

    fn add_commits(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let uuid = ("uuid", self.uuid.as_slice());
        // Kernels before 6.0 have no such file; node_exporter shows zeros for them.
        let text = self.attributes.label("commit_stats")?;
        let value = |name: &[u8]| {
            let line = lines(&text).find(|line| fields(line).next() == Some(name));
            line.and_then(|line| parse_u64(fields(line).nth(1)?))
                .unwrap_or_default() as f64
        };
        samples.counter(
            "node_btrfs_commits_total",
            "Number of commits of the file system.",
            &[uuid],
            value(b"commits"),
        );
        samples.counter(
            "node_btrfs_commit_seconds_total",
            "Seconds spent on all commits.",
            &[uuid],
            value(b"total_commit_ms") / MILLISECONDS,
        );
        samples.gauge(
            "node_btrfs_last_commit_seconds",
            "Duration of the most recent commit.",
            &[uuid],
            value(b"last_commit_ms") / MILLISECONDS,
        );
        samples.gauge(
            "node_btrfs_max_commit_seconds",
            "Duration of the slowest commit.",
            &[uuid],
            value(b"max_commit_ms") / MILLISECONDS,
        );
        Ok(())
    }

    /// Adds the devices and returns their number.
    fn add_devices(&self, samples: &mut Samples) -> Result<f64, CollectError> {
        let directory = self.path.join("devices");
        let names = list_directories(&directory)?;
        for name in &names {
            let path = directory.join(String::from_utf8_lossy(name).as_ref());
            // A removed device stays listed until the file system notices it.
            let sectors = match Device::open_listed(&path)? {
                Some(mut device) => device.number("size")?.unwrap_or_default(),
                None => 0.0,
            };
            samples.gauge(
                "node_btrfs_device_size_bytes",
                "Size of a device of the file system.",
                &[("device", name), ("uuid", &self.uuid)],
                sectors * SECTOR,
            );
        }
        Ok(names.len() as f64)
    }

    fn add_block_group(
        &self,
        group: &str,
        devices: f64,
        samples: &mut Samples,
    ) -> Result<(), CollectError> {
        let directory = self.path.join("allocation").join(group);
        let reserved = Device::open(&directory)?.number("bytes_reserved")?;
        let kind = ("block_group_type", group.as_bytes());
        samples.gauge(
            "node_btrfs_reserved_bytes",
            "Bytes reserved for writes in progress.",
            &[kind, ("uuid", &self.uuid)],
            reserved.unwrap_or_default(),
        );
        for layout in list_directories(&directory)? {
            let labels = [kind, ("mode", layout.as_slice()), ("uuid", &self.uuid)];
            let path = directory.join(String::from_utf8_lossy(&layout).as_ref());
            let (used, total) = read_layout(&path)?;
            let help = "Bytes used, by kind of content and layout.";
            samples.gauge("node_btrfs_used_bytes", help, &labels, used);
            let help = "Bytes allocated, by kind of content and layout.";
            samples.gauge("node_btrfs_size_bytes", help, &labels, total);
            let help = "Bytes on disk per byte of content in the layout.";
            let ratio = allocation_ratio(&layout, devices);
            samples.gauge("node_btrfs_allocation_ratio", help, &labels, ratio);
        }
        Ok(())
    }
}

fn read_layout(path: &Path) -> Result<(f64, f64), CollectError> {
    let mut layout = Device::open(path)?;
    let mut number = |name| Ok::<_, CollectError>(layout.number(name)?.unwrap_or_default());
    Ok((number("used_bytes")?, number("total_bytes")?))
}

/// Returns how often each byte is stored; 0 for an unknown layout.
fn allocation_ratio(layout: &[u8], devices: f64) -> f64 {
    match layout {
        b"single" | b"raid0" => 1.0,
        b"dup" | b"raid1" | b"raid10" => 2.0,
        b"raid1c3" => 3.0,
        b"raid1c4" => 4.0,
        b"raid5" => devices / (devices - 1.0),
        b"raid6" => devices / (devices - 2.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios() {
        assert_eq!(allocation_ratio(b"raid1c3", 4.0), 3.0);
        assert_eq!(allocation_ratio(b"raid5", 4.0), 4.0 / 3.0);
        assert_eq!(allocation_ratio(b"raid6", 4.0), 2.0);
        assert_eq!(allocation_ratio(b"new", 4.0), 0.0);
    }
}
