//! `bcache`: block devices cached by bcache, from `/sys/fs/bcache`.

mod units;

use std::path::{Path, PathBuf};

use self::units::bytes;
use crate::collect::samples::{Samples, gather};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{
    Deadline, Directory, fields, lines, list_directories, list_numbered, parse_u64,
};

const PRIORITY_STATS: &str = "collector.bcache.priorityStats";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "bcache",
    default_enabled: true,
    summary: "Block devices cached by bcache, from /sys/fs/bcache.",
    options: &[OptionSpec::switch(
        PRIORITY_STATS,
        "false",
        "Show the priority statistics of the caches, which are expensive to read.",
    )],
    build,
};

use MetricKind::{Counter, Gauge};

/// A family for an attribute: the attribute's file, the end of the metric name, the help text, the type.
type Attribute = (&'static str, &'static str, &'static str, MetricKind);

const OF_SET: [Attribute; 10] = [
    (
        "average_key_size",
        "average_key_size_sectors",
        "Average data per key of the B-tree, in sectors.",
        Gauge,
    ),
    (
        "btree_cache_size",
        "btree_cache_size_bytes",
        "Memory used by the B-tree cache.",
        Gauge,
    ),
    (
        "cache_available_percent",
        "cache_available_percent",
        "Percentage of the cache without dirty data, which can take new data.",
        Gauge,
    ),
    (
        "congested",
        "congested",
        "How congested the cache is.",
        Gauge,
    ),
    (
        "internal/active_journal_entries",
        "active_journal_entries",
        "Journal entries that are newer than the B-tree.",
        Gauge,
    ),
    (
        "internal/btree_nodes",
        "btree_nodes",
        "Number of nodes in the B-tree.",
        Gauge,
    ),
    (
        "internal/cache_read_races",
        "cache_read_races_total",
        "Reads from the cache whose bucket was reused before the read completed.",
        Counter,
    ),
    (
        "root_usage_percent",
        "root_usage_percent",
        "Percentage of the root node of the B-tree in use.",
        Gauge,
    ),
    ("tree_depth", "tree_depth", "Depth of the B-tree.", Gauge),
    (
        "internal/btree_read_average_duration_us",
        "btree_read_average_duration_seconds",
        "Average time taken to read a node of the B-tree.",
        Gauge,
    ),
];
const OF_BACKING_DEVICE: [Attribute; 7] = [
    (
        "dirty_data",
        "dirty_data_bytes",
        "Dirty data in the cache, which is not yet written to the backing device.",
        Gauge,
    ),
    (
        "stats_total/bypassed",
        "bypassed_bytes_total",
        "Data read and written that bypassed the cache.",
        Counter,
    ),
    (
        "stats_total/cache_bypass_hits",
        "cache_bypass_hits_total",
        "Requests that bypassed the cache although it held their data.",
        Counter,
    ),
    (
        "stats_total/cache_bypass_misses",
        "cache_bypass_misses_total",
        "Requests that bypassed the cache and whose data it did not hold.",
        Counter,
    ),
    (
        "stats_total/cache_hits",
        "cache_hits_total",
        "Requests served from the cache.",
        Counter,
    ),
    (
        "stats_total/cache_miss_collisions",
        "cache_miss_collisions_total",
        "Cache misses whose data was written by another request while it was being added to the cache.",
        Counter,
    ),
    (
        "stats_total/cache_misses",
        "cache_misses_total",
        "Requests that could not be served from the cache.",
        Counter,
    ),
];
const READAHEADS: Attribute = (
    "stats_total/cache_readaheads",
    "cache_readaheads_total",
    "Times that data was read ahead.",
    Counter,
);
const OF_CACHE_DEVICE: [Attribute; 3] = [
    (
        "io_errors",
        "io_errors",
        "Recent I/O errors of the cache device; the weight of older errors decays.",
        Gauge,
    ),
    (
        "metadata_written",
        "metadata_written_bytes_total",
        "Bytes of metadata, such as B-tree nodes, written to the cache device.",
        Counter,
    ),
    (
        "written",
        "written_bytes_total",
        "Bytes of data written to the cache.",
        Counter,
    ),
];
/// The lines of `writeback_rate_debug` that are shown.
const WRITEBACK: [(&str, &str, &str); 5] = [
    (
        "change",
        "writeback_change",
        "Most recent change of the writeback rate.",
    ),
    (
        "integral",
        "writeback_rate_integral_term",
        "Integral term of the writeback rate controller.",
    ),
    (
        "proportional",
        "writeback_rate_proportional_term",
        "Proportional term of the writeback rate controller.",
    ),
    (
        "rate",
        "writeback_rate",
        "Writeback rate in bytes per second.",
    ),
    (
        "target",
        "dirty_target_bytes",
        "Target amount of dirty data in the cache.",
    ),
];
/// The lines of `priority_stats` that are shown.
const PRIORITIES: [(&str, &str, &str); 2] = [
    (
        "Metadata",
        "priority_stats_metadata_percent",
        "Percentage of the cache used by metadata.",
    ),
    (
        "Unused",
        "priority_stats_unused_percent",
        "Percentage of the cache that holds no data.",
    ),
];

struct Bcache {
    directory: PathBuf,
    priority_stats: bool,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Bcache {
        directory: context.sysfs("fs/bcache"),
        priority_stats: context.switch(PRIORITY_STATS)?,
    }))
}

impl Collector for Bcache {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        gather(out, |samples| {
            // Without the kernel's module there is no directory, which is not an error.
            for uuid in list_directories(&self.directory).unwrap_or_default() {
                if uuid.contains(&b'-') {
                    let read = self.add_set(&uuid, samples);
                    samples.skipped.part(read);
                }
            }
            Ok(())
        })
    }
}

impl Bcache {
    fn add_set(&self, uuid: &[u8], samples: &mut Samples) -> Result<(), CollectError> {
        let path = self.directory.join(String::from_utf8_lossy(uuid).as_ref());
        let labels = [("uuid", uuid)];
        let Some(mut set) = Object::open(&path)? else {
            return Ok(());
        };
        for attribute in OF_SET {
            set.add(&attribute, &labels, samples);
        }
        for path in list_numbered(&path, "bdev") {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            let labels = [("backing_device", name), ("uuid", uuid)];
            let Some(mut device) = Object::open(&path)? else {
                continue;
            };
            for attribute in OF_BACKING_DEVICE {
                device.add(&attribute, &labels, samples);
            }
            // Newer kernels no longer count these.
            if !matches!(device.value(READAHEADS.0), Ok(0)) {
                device.add(&READAHEADS, &labels, samples);
            }
            device.add_lines("writeback_rate_debug", &WRITEBACK, &labels, samples)?;
        }
        for path in list_numbered(&path, "cache") {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            let labels = [("cache_device", name), ("uuid", uuid)];
            let Some(mut device) = Object::open(&path)? else {
                continue;
            };
            for attribute in OF_CACHE_DEVICE {
                device.add(&attribute, &labels, samples);
            }
            if self.priority_stats {
                device.add_lines("priority_stats", &PRIORITIES, &labels, samples)?;
            }
        }
        Ok(())
    }
}

/// A cache set or a device in it. Its numbers have a readable format: `1.1M`.
struct Object {
    directory: Directory,
    buffer: Vec<u8>,
}

impl Object {
    /// `None` if it has disappeared since it was listed.
    fn open(path: &Path) -> Result<Option<Self>, CollectError> {
        let directory = Directory::open_if_present(path.to_owned())?;
        Ok(directory.map(|directory| Self {
            directory,
            buffer: Vec::new(),
        }))
    }

    /// The value of an attribute; 0 for one that is absent.
    fn value(&mut self, file: &'static str) -> Result<i64, CollectError> {
        match self.directory.read(file, &mut self.buffer)? {
            Some(text) => bytes(text).ok_or_else(|| CollectError::malformed(file, text)),
            None if self.directory.has_vanished() => {
                Err(CollectError::NoData(format!("{file} no longer exists")))
            }
            None => Ok(0),
        }
    }

    fn add(
        &mut self,
        (file, name, help, kind): &Attribute,
        labels: &[(&'static str, &[u8])],
        samples: &mut Samples,
    ) {
        let value = self.value(file);
        let Some(value) = samples.skipped.part(value) else {
            return;
        };
        let value = value as f64;
        // The file's name says microseconds, but node_exporter reads it as nanoseconds.
        let value = if name.ends_with("_seconds") {
            value * 1e-9
        } else {
            value
        };
        samples.add(*kind, format!("node_bcache_{name}"), *help, labels, value);
    }

    /// Adds the lines of a file, such as `rate: 1.1M/sec`.
    fn add_lines(
        &mut self,
        file: &'static str,
        shown: &[(&'static str, &'static str, &'static str)],
        labels: &[(&'static str, &[u8])],
        samples: &mut Samples,
    ) -> Result<(), CollectError> {
        let text = self
            .directory
            .read(file, &mut self.buffer)?
            .unwrap_or_default();
        for (word, name, help) in shown {
            let is_it = |line: &&[u8]| {
                line.strip_prefix(word.as_bytes())
                    .is_some_and(|rest| rest.starts_with(b":"))
            };
            let value = match lines(text).find(is_it) {
                Some(line) => samples.skipped.line(file, line, line_value(line)),
                None => Some(0),
            };
            let Some(value) = value else {
                continue;
            };
            samples.gauge(format!("node_bcache_{name}"), *help, labels, value as f64);
        }
        Ok(())
    }
}

/// Parses the last word of a line as a number, without its unit.
fn line_value(line: &[u8]) -> Option<i64> {
    let word = fields(line).last()?;
    if let Some(percent) = word.strip_suffix(b"%") {
        return parse_u64(percent).and_then(|percent| i64::try_from(percent).ok());
    }
    bytes(word.strip_suffix(b"/sec").unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_lines() {
        assert_eq!(line_value(b"change:         -321.5k/sec"), Some(-329_204));
        assert_eq!(line_value(b"Unused:         99%"), Some(99));
        assert_eq!(line_value(b"next io:        17ms"), None);
        assert_eq!(line_value(b""), None);
    }
}
