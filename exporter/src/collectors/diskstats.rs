//! `diskstats`: I/O statistics of each block device, from `/proc/diskstats`, and its properties from udev.

mod udev;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::udev::Properties;
use crate::collect::device_filter::{DeviceFilter, FilterFlags};
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind, Value};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64, trim};

const FLAGS: FilterFlags = FilterFlags {
    exclude: "collector.diskstats.device-exclude",
    include: "collector.diskstats.device-include",
    former_exclude: Some("collector.diskstats.ignored-devices"),
    former_include: None,
};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "diskstats",
    default_enabled: true,
    summary: "I/O statistics of each block device, from /proc/diskstats.",
    options: &[
        OptionSpec::pattern(
            FLAGS.exclude,
            r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$",
            "Regular expression of block devices to leave out.",
        ),
        OptionSpec::pattern(
            FLAGS.include,
            "",
            "Regular expression of block devices to show.",
        ),
        OptionSpec::former("collector.diskstats.ignored-devices", FLAGS.exclude),
    ],
    build,
};

const FILE: &str = "diskstats";
/// The kernel's sector size, independent of the device's own.
const SECTOR: f64 = 512.0;
const SECONDS_PER_TICK: f64 = 0.001;
/// The number of counters in kernels before 4.18; 4.18 added the discards, 5.5 the flushes.
const FEWEST_COUNTERS: usize = 11;

/// A counter of the kernel and its metric.
struct Column {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    scale: Scale,
}

#[derive(Clone, Copy)]
enum Scale {
    Count,
    Sectors,
    Ticks,
}

const fn column(name: &'static str, help: &'static str, scale: Scale) -> Column {
    Column {
        name,
        help,
        kind: MetricKind::Counter,
        scale,
    }
}

/// In the order in which the kernel prints them.
const COLUMNS: [Column; 17] = [
    column(
        "node_disk_reads_completed_total",
        "Reads completed.",
        Scale::Count,
    ),
    column(
        "node_disk_reads_merged_total",
        "Reads merged with others.",
        Scale::Count,
    ),
    column("node_disk_read_bytes_total", "Bytes read.", Scale::Sectors),
    column(
        "node_disk_read_time_seconds_total",
        "Seconds spent on all reads.",
        Scale::Ticks,
    ),
    column(
        "node_disk_writes_completed_total",
        "Writes completed.",
        Scale::Count,
    ),
    column(
        "node_disk_writes_merged_total",
        "Writes merged with others.",
        Scale::Count,
    ),
    column(
        "node_disk_written_bytes_total",
        "Bytes written.",
        Scale::Sectors,
    ),
    column(
        "node_disk_write_time_seconds_total",
        "Seconds spent on all writes.",
        Scale::Ticks,
    ),
    Column {
        name: "node_disk_io_now",
        help: "Number of I/Os in progress.",
        kind: MetricKind::Gauge,
        scale: Scale::Count,
    },
    column(
        "node_disk_io_time_seconds_total",
        "Seconds during which I/O was in progress.",
        Scale::Ticks,
    ),
    column(
        "node_disk_io_time_weighted_seconds_total",
        "Seconds spent on I/O, weighted by the number of I/Os in progress.",
        Scale::Ticks,
    ),
    column(
        "node_disk_discards_completed_total",
        "Discards completed.",
        Scale::Count,
    ),
    column(
        "node_disk_discards_merged_total",
        "Discards merged with others.",
        Scale::Count,
    ),
    column(
        "node_disk_discarded_sectors_total",
        "Sectors discarded.",
        Scale::Count,
    ),
    column(
        "node_disk_discard_time_seconds_total",
        "Seconds spent on all discards.",
        Scale::Ticks,
    ),
    column(
        "node_disk_flush_requests_total",
        "Flush requests completed.",
        Scale::Count,
    ),
    column(
        "node_disk_flush_requests_time_seconds_total",
        "Seconds spent on all flush requests.",
        Scale::Ticks,
    ),
];

struct Diskstats {
    file: KeptFile,
    disks: Disks,
    udev_data: PathBuf,
    buffer: Vec<u8>,
}

/// The disks of the last scrape, ordered by name.
struct Disks {
    filter: DeviceFilter,
    block: PathBuf,
    known: Vec<Disk>,
}

struct Disk {
    name: Vec<u8>,
    ignored: bool,
    present: bool,
    major: u64,
    minor: u64,
    /// As many as the kernel prints.
    counters: Vec<u64>,
    rotational: KeptFile,
    spins: bool,
    properties: Properties,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let filter = DeviceFilter::from_flags(context, FLAGS)?;
    Ok(Box::new(Diskstats {
        file: KeptFile::new(context.procfs(FILE)),
        disks: Disks {
            filter,
            block: context.sysfs("block"),
            known: Vec::new(),
        },
        udev_data: context.settings().udev_data.clone(),
        buffer: Vec::new(),
    }))
}

impl Collector for Diskstats {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        self.disks.update(self.file.read()?, &mut skipped);
        for disk in self.disks.known.iter_mut().filter(|disk| !disk.ignored) {
            disk.properties = udev::read(&self.udev_data, disk.major, disk.minor, &mut self.buffer);
            disk.spins = disk
                .rotational
                .read()
                .is_ok_and(|bytes| trim(bytes) == b"1");
        }
        let shown = || self.disks.known.iter().filter(|disk| !disk.ignored);
        write_counters(shown, out);
        write_info(shown, out);
        write_contents(shown, out);
        write_ata(shown, out);
        skipped.result()
    }
}

impl Disks {
    fn update(&mut self, bytes: &[u8], skipped: &mut Skipped) {
        for disk in &mut self.known {
            disk.present = false;
        }
        for line in lines(bytes) {
            let read = self.take(line);
            skipped.line(FILE, line, read);
        }
        self.known.retain(|disk| disk.present);
    }

    /// Stores a line. `None` if it cannot be read; the disk is then not shown.
    fn take(&mut self, line: &[u8]) -> Option<()> {
        let mut parts = fields(line);
        let major = parts.next().and_then(parse_u64)?;
        let minor = parts.next().and_then(parse_u64)?;
        let disk = self.find(parts.next()?)?;
        disk.major = major;
        disk.minor = minor;
        disk.present = false;
        disk.counters.clear();
        for counter in parts.take(COLUMNS.len()) {
            disk.counters.push(parse_u64(counter)?);
        }
        // Very old kernels print four counters for a partition, which mean something else.
        disk.present = disk.counters.len() >= FEWEST_COUNTERS;
        Some(())
    }

    fn find(&mut self, name: &[u8]) -> Option<&mut Disk> {
        let place = match self
            .known
            .binary_search_by(|disk| disk.name.as_slice().cmp(name))
        {
            Ok(place) => place,
            Err(place) => {
                let disk = self.meet(name);
                self.known.insert(place, disk);
                place
            }
        };
        self.known.get_mut(place)
    }

    fn meet(&self, name: &[u8]) -> Disk {
        Disk {
            name: name.to_vec(),
            ignored: self.filter.ignores(name),
            present: true,
            major: 0,
            minor: 0,
            counters: Vec::with_capacity(COLUMNS.len()),
            rotational: KeptFile::new(rotational_file(&self.block, name)),
            spins: false,
            properties: Properties::default(),
        }
    }
}

/// sysfs writes the slash in names such as `cciss/c0d0` as an exclamation mark.
fn rotational_file(block: &Path, name: &[u8]) -> PathBuf {
    let name: Vec<u8> = name
        .iter()
        .map(|&byte| if byte == b'/' { b'!' } else { byte })
        .collect();
    block
        .join(OsStr::from_bytes(&name))
        .join("queue/rotational")
}

impl Scale {
    fn apply(self, counter: u64) -> Value {
        match self {
            Self::Count => Value::Integer(counter),
            Self::Sectors => Value::Float(counter as f64 * SECTOR),
            Self::Ticks => Value::Float(counter as f64 * SECONDS_PER_TICK),
        }
    }
}

fn write_counters<'a, I: Iterator<Item = &'a Disk>>(disks: impl Fn() -> I, out: &mut Exposition) {
    for (place, column) in COLUMNS.iter().enumerate() {
        let mut family = out.family(&[column.name], &[column.help], column.kind);
        for disk in disks() {
            if let Some(&counter) = disk.counters.get(place) {
                family.sample(&[("device", &disk.name)], column.scale.apply(counter));
            }
        }
    }
}

fn write_info<'a, I: Iterator<Item = &'a Disk>>(disks: impl Fn() -> I, out: &mut Exposition) {
    let mut family = out.family(
        &["node_disk_info"],
        &["Information about the block device from udev and sysfs, in labels."],
        MetricKind::Gauge,
    );
    for disk in disks() {
        let known = &disk.properties;
        family.sample(
            &[
                ("device", &disk.name),
                ("major", disk.major.to_string().as_bytes()),
                ("minor", disk.minor.to_string().as_bytes()),
                ("model", &known.model),
                ("path", &known.path),
                ("revision", &known.revision),
                ("rotational", if disk.spins { b"1" } else { b"0" }),
                ("serial", &known.serial),
                ("wwn", &known.wwn),
            ],
            1,
        );
    }
}

fn write_contents<'a, I: Iterator<Item = &'a Disk>>(disks: impl Fn() -> I, out: &mut Exposition) {
    let help = "File system on the block device as detected by udev, in labels.";
    let mut family = out.family(&["node_disk_filesystem_info"], &[help], MetricKind::Gauge);
    for disk in disks().filter(|disk| !disk.properties.filesystem_type.is_empty()) {
        let known = &disk.properties;
        family.sample(
            &[
                ("device", &disk.name),
                ("type", &known.filesystem_type),
                ("usage", &known.filesystem_usage),
                ("uuid", &known.filesystem_uuid),
                ("version", &known.filesystem_version),
            ],
            1,
        );
    }
    drop(family);
    let help = "Device mapper and LVM names of the block device, in labels.";
    let mut family = out.family(
        &["node_disk_device_mapper_info"],
        &[help],
        MetricKind::Gauge,
    );
    for disk in disks().filter(|disk| !disk.properties.mapper_name.is_empty()) {
        let known = &disk.properties;
        family.sample(
            &[
                ("device", &disk.name),
                ("lv_layer", &known.volume_layer),
                ("lv_name", &known.volume),
                ("name", &known.mapper_name),
                ("uuid", &known.mapper_uuid),
                ("vg_name", &known.volume_group),
            ],
            1,
        );
    }
}

fn write_ata<'a, I: Iterator<Item = &'a Disk>>(disks: impl Fn() -> I, out: &mut Exposition) {
    type Pick = fn(&udev::Ata) -> Option<u64>;
    let rate: Pick = |ata| ata.rotation_rate;
    let cache: Pick = |ata| ata.write_cache;
    let cache_enabled: Pick = |ata| ata.write_cache_enabled;
    for (name, help, pick) in [
        (
            "node_disk_ata_rotation_rate_rpm",
            "Rotation rate of the ATA disk in revolutions per minute; 0 if the disk does not rotate.",
            rate,
        ),
        (
            "node_disk_ata_write_cache",
            "Whether the ATA disk has a write cache.",
            cache,
        ),
        (
            "node_disk_ata_write_cache_enabled",
            "Whether the write cache of the ATA disk is enabled.",
            cache_enabled,
        ),
    ] {
        let mut family = out.family(&[name], &[help], MetricKind::Gauge);
        for disk in disks().filter(|disk| disk.properties.ata.is_ata) {
            if let Some(value) = pick(&disk.properties.ata) {
                family.sample(&[("device", &disk.name)], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn update(disks: &mut Disks, bytes: &[u8]) -> Result<(), CollectError> {
        whole(|skipped| disks.update(bytes, skipped))
    }

    fn disks() -> Disks {
        Disks {
            filter: DeviceFilter::default(),
            block: "/sys/block".into(),
            known: Vec::new(),
        }
    }

    #[test]
    fn kernels_of_any_age_are_read() {
        let mut disks = disks();
        update(&mut disks, b"   8 1 sda1 1 2 3 4\n   8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n 252 0 dm-0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n\
                  259 0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n",
            )
            .unwrap();
        let found: Vec<_> = disks
            .known
            .iter()
            .map(|disk| (disk.name.as_slice(), disk.counters.len()))
            .collect();
        assert_eq!(
            found,
            [(b"dm-0".as_slice(), 15), (b"nvme0n1", 17), (b"sda", 11)]
        );
    }

    #[test]
    fn a_disk_that_left_is_forgotten() {
        let mut disks = disks();
        update(
            &mut disks,
            b"8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n8 16 sdb 1 2 3 4 5 6 7 8 9 10 11\n",
        )
        .unwrap();
        update(&mut disks, b"8 32 sdb 1 2 3 4 5 6 7 8 9 10 12\n").unwrap();
        let found: Vec<_> = disks
            .known
            .iter()
            .map(|disk| (disk.name.as_slice(), disk.minor))
            .collect();
        assert_eq!(found, [(b"sdb".as_slice(), 32)]);
        assert!(update(&mut disks, b"8 0 sda 1 x 3 4 5 6 7 8 9 10 11\n").is_err());
        assert!(update(&mut disks, b"8 0\n").is_err());
    }

    #[test]
    fn units_are_bytes_and_seconds() {
        assert_eq!(Scale::Sectors.apply(25), Value::Float(12_800.0));
        assert_eq!(Scale::Ticks.apply(21_772), Value::Float(21_772_f64 * 0.001));
        assert_eq!(Scale::Count.apply(7), Value::Integer(7));
    }

    #[test]
    fn a_slash_in_a_name_is_found_in_sysfs() {
        let path = rotational_file(Path::new("/sys/block"), b"cciss/c0d0");
        assert_eq!(path, Path::new("/sys/block/cciss!c0d0/queue/rotational"));
    }
}
