//! `zfs`: statistics of ZFS and its pools, from `/proc/spl/kstat/zfs`.

use std::path::{Path, PathBuf};

use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{
    Deadline, ReadError, fields, lines, list_directories, parse_signed, parse_u64, read_attribute,
    trim,
};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "zfs",
    default_enabled: true,
    summary: "ZFS caches, transactions and pools, from /proc/spl/kstat/zfs.",
    options: &[],
    build,
};

const FILE: &str = "spl/kstat/zfs";
/// The files of the module, each with the beginning of its metrics' names.
const FILES: [(&str, &str); 11] = [
    ("abdstats", "node_zfs_abd_"),
    ("arcstats", "node_zfs_arc_"),
    ("dbufstats", "node_zfs_dbuf_"),
    ("dmu_tx", "node_zfs_dmu_tx_"),
    ("dnodestats", "node_zfs_dnode_"),
    ("fm", "node_zfs_fm_"),
    ("vdev_cache_stats", "node_zfs_vdev_cache_"),
    ("vdev_mirror_stats", "node_zfs_vdev_mirror_"),
    ("xuio_stats", "node_zfs_xuio_"),
    ("zfetchstats", "node_zfs_zfetch_"),
    ("zil", "node_zfs_zil_"),
];
const POOL_STATES: [&str; 7] = [
    "degraded",
    "faulted",
    "offline",
    "online",
    "removed",
    "suspended",
    "unavail",
];
/// The types of a statistic that are numbers: signed and unsigned, of 64 bits.
const NUMBER_TYPES: [&[u8]; 2] = [b"3", b"4"];

struct Zfs {
    directory: PathBuf,
    buffer: Vec<u8>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Zfs {
        directory: context.procfs(FILE),
        buffer: Vec::new(),
    }))
}

impl Collector for Zfs {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let pools = list_directories(&self.directory).map_err(CollectError::optional)?;
        gather(out, |samples| {
            for (file, prefix) in FILES {
                // Their set depends on the module's version.
                let bytes = read(&self.directory.join(file), &mut self.buffer);
                if let Some(bytes) = samples.skipped.part(bytes).flatten() {
                    add_statistics(bytes, file, prefix, samples);
                }
            }
            for pool in &pools {
                let path = self.directory.join(String::from_utf8_lossy(pool).as_ref());
                let read = add_pool(&path, pool, &mut self.buffer, samples);
                samples.skipped.part(read);
            }
            Ok(())
        })
    }
}

/// A file's content; `None` if it is absent, because pools come and go.
fn read<'a>(path: &Path, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>, CollectError> {
    match read_attribute(path, buffer) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReadError::new(path, source).into()),
    }
}

/// The lines below `name type data`: name, type and the rest of the line.
fn statistics(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    let is_header = |line: &&[u8]| fields(line).eq([b"name".as_slice(), b"type", b"data"]);
    lines(bytes)
        .skip_while(move |line| !is_header(line))
        .skip(1)
        .filter_map(|line| {
            let mut words = fields(line);
            let (name, kind) = (words.next()?, words.next()?);
            words.next()?;
            // The name of a dataset may have blanks in it.
            Some((name, kind, trim(after_two_words(line))))
        })
}

/// The line without its first two words.
fn after_two_words(line: &[u8]) -> &[u8] {
    let mut rest = line.trim_ascii_start();
    for _ in 0..2 {
        let word = rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(rest.len());
        rest = rest.get(word..).unwrap_or_default().trim_ascii_start();
    }
    rest
}

fn add_statistics(bytes: &[u8], file: &str, prefix: &str, samples: &mut Samples) {
    for (name, kind, data) in statistics(bytes) {
        if NUMBER_TYPES.contains(&kind) {
            let Some(value) = samples.skipped.line(FILE, data, parse_signed(data)) else {
                continue;
            };
            let name = String::from_utf8_lossy(name);
            let metric = metric_name(prefix, &name);
            let help = format!("Statistic {name} of {file}.");
            samples.add(MetricKind::Untyped, metric, help, &[], value);
        }
    }
}

fn add_pool(
    path: &Path,
    pool: &[u8],
    buffer: &mut Vec<u8>,
    samples: &mut Samples,
) -> Result<(), CollectError> {
    if let Some(bytes) = read(&path.join("io"), buffer)? {
        let read = add_traffic(bytes, pool, samples);
        samples.skipped.line(FILE, bytes, read);
    }
    if let Some(bytes) = read(&path.join("state"), buffer)? {
        add_state(bytes, pool, samples);
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let is_dataset = entry.file_name().as_encoded_bytes().starts_with(b"objset-");
        if is_dataset && let Some(bytes) = read(&entry.path(), buffer)? {
            add_dataset(bytes, pool, samples);
        }
    }
    Ok(())
}

/// Adds the pool's I/O statistics: a line of names and a line of numbers, after a line of the kernel.
fn add_traffic(bytes: &[u8], pool: &[u8], samples: &mut Samples) -> Option<()> {
    let mut table = lines(bytes).skip_while(|line| fields(line).next() != Some(b"nread"));
    // Newer versions have no such table.
    let Some(names) = table.next() else {
        return Some(());
    };
    let numbers = table.next()?;
    for (name, number) in fields(names).zip(fields(numbers)) {
        let name = String::from_utf8_lossy(name);
        let metric = metric_name("node_zfs_zpool_", &name);
        let help = format!("I/O statistic {name} of the pool.");
        let labels = [("zpool", pool)];
        samples.add(
            MetricKind::Untyped,
            metric,
            help,
            &labels,
            parse_u64(number)?,
        );
    }
    Some(())
}

fn add_state(bytes: &[u8], pool: &[u8], samples: &mut Samples) {
    let current = lines(bytes).next().map(trim).unwrap_or_default();
    for state in POOL_STATES {
        samples.gauge(
            "node_zfs_zpool_state",
            "Whether the pool is in this state.",
            &[("state", state.as_bytes()), ("zpool", pool)],
            u64::from(current.eq_ignore_ascii_case(state.as_bytes())),
        );
    }
}

fn add_dataset(bytes: &[u8], pool: &[u8], samples: &mut Samples) {
    let mut dataset: &[u8] = b"";
    for (name, kind, data) in statistics(bytes) {
        if name == b"dataset_name" {
            dataset = data;
        } else if kind == b"4" {
            let Some(value) = samples.skipped.line(FILE, data, parse_u64(data)) else {
                continue;
            };
            let name = String::from_utf8_lossy(name);
            let metric = metric_name("node_zfs_zpool_dataset_", &name);
            let help = format!("Statistic {name} of the dataset.");
            let labels = [("dataset", dataset), ("zpool", pool)];
            samples.add(MetricKind::Untyped, metric, help, &labels, value);
        }
    }
}

fn metric_name(prefix: &str, statistic: &str) -> String {
    // Of a name with points only the last part is used.
    let last = statistic.rsplit('.').next().unwrap_or(statistic);
    format!("{prefix}{}", last.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_below_their_header() {
        let bytes =
            b"12 1 0x01 97\nname   type data\nhits   4    8772612\ndataset_name  7  a pool/b c\n";
        let found: Vec<_> = statistics(bytes).collect();
        assert_eq!(
            found,
            [
                (b"hits".as_slice(), b"4".as_slice(), b"8772612".as_slice()),
                (b"dataset_name", b"7", b"a pool/b c")
            ]
        );
        assert_eq!(statistics(b"hits 4 1\n").count(), 0);
    }

    #[test]
    fn names_of_metrics() {
        assert_eq!(
            metric_name("node_zfs_fm_", "erpt-dropped"),
            "node_zfs_fm_erpt_dropped"
        );
    }
}
