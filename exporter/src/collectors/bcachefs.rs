//! `bcachefs`: bcachefs file systems, from `/sys/fs/bcachefs`.

mod format;

use std::path::{Path, PathBuf};

use self::format::{amount, errors_since_creation, io_done, since_creation};
use crate::collect::device::{Device, name_after};
use crate::collect::samples::{Samples, gather, metric_name};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, fields, lines, list_directories, list_files, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "bcachefs",
    default_enabled: true,
    summary: "bcachefs file systems, from /sys/fs/bcachefs.",
    options: &[],
    build,
};

struct Bcachefs {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Bcachefs {
        directory: context.sysfs("fs/bcachefs"),
    }))
}

impl Collector for Bcachefs {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = list_directories(&self.directory).map_err(CollectError::optional)?;
        if names.is_empty() {
            let reason = "no bcachefs file system is mounted";
            return Err(CollectError::NoData(reason.to_owned()));
        }
        gather(out, |samples| {
            for uuid in &names {
                let path = self.directory.join(String::from_utf8_lossy(uuid).as_ref());
                samples.device(&path, |attributes, samples| {
                    let mut file_system = FileSystem {
                        path: &path,
                        uuid,
                        attributes,
                    };
                    file_system.add(samples)
                });
            }
            Ok(())
        })
    }
}

struct FileSystem<'a> {
    path: &'a Path,
    uuid: &'a [u8],
    attributes: &'a mut Device,
}

impl FileSystem<'_> {
    fn add(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let labels = [("uuid", self.uuid)];
        samples.gauge(
            "node_bcachefs_info",
            "Information about a mounted file system, in labels.",
            &labels,
            1,
        );
        let size = amount_of(self.attributes, "btree_cache_size")?;
        let help = "Memory used by the B-tree cache.";
        samples.gauge("node_bcachefs_btree_cache_size_bytes", help, &labels, size);
        self.add_compression(samples)?;
        self.add_errors(samples)?;
        self.add_writes(samples)?;
        self.add_counters(samples)?;
        for path in list_directories(self.path)? {
            if path.starts_with(b"dev-") {
                let path = self.path.join(String::from_utf8_lossy(&path).as_ref());
                samples.device(&path, |device, samples| {
                    add_device(device, &path, self.uuid, samples)
                });
            }
        }
        Ok(())
    }

    /// Parses a table: a heading, then lines of a name, a colon, and numbers.
    fn add_compression(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        const FILE: &str = "compression_stats";
        let table = self.attributes.label(FILE)?;
        for line in lines(&table).skip(1) {
            let mut words = fields(line);
            let (Some(name), Some(compressed), Some(plain)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let sizes = amount(compressed).zip(amount(plain));
            let Some((compressed, plain)) = samples.skipped.line(FILE, line, sizes) else {
                continue;
            };
            let labels = [
                ("algorithm", name.strip_suffix(b":").unwrap_or(name)),
                ("uuid", self.uuid),
            ];
            let help = "Size of the compressed data after compression.";
            samples.gauge(
                "node_bcachefs_compression_compressed_bytes",
                help,
                &labels,
                compressed,
            );
            let help = "Size of the compressed data before compression.";
            samples.gauge(
                "node_bcachefs_compression_uncompressed_bytes",
                help,
                &labels,
                plain,
            );
        }
        Ok(())
    }

    fn add_errors(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        const FILE: &str = "errors";
        let table = self.attributes.label(FILE)?;
        for line in lines(&table) {
            let mut words = fields(line);
            let (Some(name), Some(count)) = (words.next(), words.next()) else {
                continue;
            };
            let Some(count) = samples.skipped.line(FILE, line, parse_u64(count)) else {
                continue;
            };
            let labels = [("error_type", name), ("uuid", self.uuid)];
            let help = "Errors found in the file system, by type.";
            samples.counter("node_bcachefs_errors_total", help, &labels, count);
        }
        Ok(())
    }

    fn add_writes(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        const FILE: &str = "btree_write_stats";
        let table = self.attributes.label(FILE)?;
        for line in lines(&table).skip(1) {
            let mut words = fields(line);
            let (Some(name), Some(count), Some(size)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let read = parse_u64(count).zip(amount(size));
            let Some((count, size)) = samples.skipped.line(FILE, line, read) else {
                continue;
            };
            let labels = [
                ("type", name.strip_suffix(b":").unwrap_or(name)),
                ("uuid", self.uuid),
            ];
            let help = "B-tree writes, by cause.";
            samples.counter("node_bcachefs_btree_writes_total", help, &labels, count);
            let help = "Average size of a B-tree write, by cause.";
            samples.gauge(
                "node_bcachefs_btree_write_average_size_bytes",
                help,
                &labels,
                size,
            );
        }
        Ok(())
    }

    /// Adds the counters, whose set depends on the version of the file system.
    fn add_counters(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let directory = self.path.join("counters");
        let names = match list_files(&directory) {
            Err(error) if error.is_absent() => return Ok(()),
            names => names?,
        };
        let mut counters = Device::open(&directory)?;
        for name in names {
            let name = String::from_utf8_lossy(&name);
            let Some(text) = counters.text(&name)? else {
                continue;
            };
            let count = since_creation(text);
            let Some(count) = samples.skipped.line("counters", text, count) else {
                continue;
            };
            let metric = format!("node_bcachefs_{}_total", metric_name(&name));
            let help = format!("Counter {name} of the file system since it was created.");
            samples.counter(metric, help, &[("uuid", self.uuid)], count);
        }
        Ok(())
    }
}

fn add_device(
    device: &mut Device,
    path: &Path,
    uuid: &[u8],
    samples: &mut Samples,
) -> Result<(), CollectError> {
    let name = name_after(path, "dev-");
    let labels = [("device", name.as_slice()), ("uuid", uuid)];
    let [device_label, uuid_label] = labels;
    let (label, state) = (device.label("label")?, device.label("state")?);
    let info = [
        device_label,
        ("label", label.as_slice()),
        ("state", state.as_slice()),
        uuid_label,
    ];
    samples.gauge(
        "node_bcachefs_device_info",
        "Information about a device of the file system, in labels.",
        &info,
        1,
    );
    let help = "Size of a bucket of the device.";
    let size = amount_of(device, "bucket_size")?;
    samples.gauge(
        "node_bcachefs_device_bucket_size_bytes",
        help,
        &labels,
        size,
    );
    let help = "Number of buckets of the device.";
    let buckets = device.number("nbuckets")?.unwrap_or_default();
    samples.gauge("node_bcachefs_device_buckets", help, &labels, buckets);
    let help = "Number of replicas that a copy on the device counts as.";
    let durability = device.number("durability")?.unwrap_or_default();
    samples.gauge("node_bcachefs_device_durability", help, &labels, durability);

    let text = device.label("io_done")?;
    for (operation, kind, bytes) in io_done(&text) {
        let Some(bytes) = samples.skipped.line("io_done", &text, bytes) else {
            continue;
        };
        let labels = [
            ("data_type", kind),
            device_label,
            ("operation", operation),
            uuid_label,
        ];
        let help = "Bytes read from and written to the device, by operation and data type.";
        samples.counter(
            "node_bcachefs_device_io_done_bytes_total",
            help,
            &labels,
            bytes,
        );
    }
    let text = device.label("io_errors")?;
    for (kind, count) in errors_since_creation(&text) {
        let Some(count) = samples.skipped.line("io_errors", &text, count) else {
            continue;
        };
        let labels = [device_label, ("type", kind), uuid_label];
        let help = "Errors of the device since the file system was created.";
        samples.counter("node_bcachefs_device_io_errors_total", help, &labels, count);
    }
    Ok(())
}

/// Parses an attribute in a readable format; 0 if it is absent.
fn amount_of(device: &mut Device, file: &'static str) -> Result<u64, CollectError> {
    match device.text(file)? {
        None | Some(b"") => Ok(0),
        Some(text) => amount(text).ok_or_else(|| CollectError::malformed(file, text)),
    }
}
