//! `filesystem`: the space of each mounted file system.

mod mounts;

use std::path::{Path, PathBuf};

use self::mounts::Mount;
use crate::collect::device_filter::{DeviceFilter, FilterFlags};
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, Family, MetricKind, Value, valid_utf8};
use crate::sources::{Answer, Deadline, FileSystem, KeptFile, Prober, Target};

const MOUNT_POINTS: FilterFlags = FilterFlags {
    exclude: "collector.filesystem.mount-points-exclude",
    include: "collector.filesystem.mount-points-include",
    former_exclude: Some("collector.filesystem.ignored-mount-points"),
    former_include: None,
};
const TYPES: FilterFlags = FilterFlags {
    exclude: "collector.filesystem.fs-types-exclude",
    include: "collector.filesystem.fs-types-include",
    former_exclude: Some("collector.filesystem.ignored-fs-types"),
    former_include: None,
};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "filesystem",
    default_enabled: true,
    summary: "Space and inodes of each mounted file system.",
    options: &[
        OptionSpec::pattern(
            MOUNT_POINTS.exclude,
            "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
            "Regular expression of mount points to leave out.",
        ),
        OptionSpec::pattern(
            MOUNT_POINTS.include,
            "",
            "Regular expression of mount points to show.",
        ),
        OptionSpec::former(
            "collector.filesystem.ignored-mount-points",
            MOUNT_POINTS.exclude,
        ),
        OptionSpec::pattern(
            TYPES.exclude,
            "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|\
             overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$",
            "Regular expression of file system types to leave out.",
        ),
        OptionSpec::pattern(
            TYPES.include,
            "",
            "Regular expression of file system types to show.",
        ),
        OptionSpec::former("collector.filesystem.ignored-fs-types", TYPES.exclude),
    ],
    build,
};

struct Filesystem {
    /// The mounts of the host's first process or, without it, those of this process.
    init: KeptFile,
    own: KeptFile,
    table: Table,
    prober: Prober,
    answers: Vec<Answer>,
}

/// The mounts that are shown, parsed again only if the kernel's list has changed.
struct Table {
    mount_points: DeviceFilter,
    types: DeviceFilter,
    rootfs: PathBuf,
    source: Vec<u8>,
    mounts: Vec<Mount>,
    targets: Vec<Target>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Filesystem {
        init: KeptFile::new(context.procfs("1/mountinfo")),
        own: KeptFile::new(context.procfs("self/mountinfo")),
        table: Table {
            mount_points: DeviceFilter::from_flags(context, MOUNT_POINTS)?,
            types: DeviceFilter::from_flags(context, TYPES)?,
            rootfs: context.settings().rootfs.clone(),
            source: Vec::new(),
            mounts: Vec::new(),
            targets: Vec::new(),
        },
        prober: Prober::default(),
        answers: Vec::new(),
    }))
}

impl Collector for Filesystem {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let bytes = match self.init.read() {
            Err(error) if error.is_out_of_reach() => self.own.read()?,
            other => other?,
        };
        let mut skipped = Skipped::default();
        self.table.update(bytes, &mut skipped);
        self.prober
            .probe(&self.table.targets, &mut self.answers, deadline);
        write(&self.table.mounts, &self.answers, out);
        skipped.result()
    }
}

impl Table {
    fn update(&mut self, bytes: &[u8], skipped: &mut Skipped) {
        if self.source == bytes {
            return;
        }
        let rootfs = rootfs_prefix(&self.rootfs);
        let mut mounts = mounts::parse(bytes, rootfs, skipped);
        mounts.retain(|mount| {
            // The patterns are matched against what is shown.
            let (point, kind) = (valid_utf8(&mount.mount_point), valid_utf8(&mount.fs_type));
            !self.mount_points.ignores(point.as_bytes()) && !self.types.ignores(kind.as_bytes())
        });
        mounts.sort_by(|a, b| a.key().cmp(&b.key()));
        mounts.dedup_by(|later, first| {
            let same = later.key() == first.key();
            if same {
                first.device_numbers.append(&mut later.device_numbers);
            }
            same
        });
        let mut paths = Vec::with_capacity(mounts.len());
        mounts.retain(|mount| {
            let path = mount.path_below(rootfs);
            let path = skipped.line("mountinfo", &mount.mount_point, path);
            // If several file systems are mounted in the same place, the last one is queried.
            let device = mount.device_numbers.last().cloned();
            path.map(|path| paths.push((path, device))).is_some()
        });
        self.targets = Target::of(paths);
        self.mounts = mounts;
        // Only a list that could be parsed is remembered, so that a broken one is reported at every scrape.
        self.source.clear();
        if skipped.is_empty() {
            self.source.extend_from_slice(bytes);
        }
    }
}

/// The host's root as a prefix of paths: empty when it is the root itself.
fn rootfs_prefix(rootfs: &Path) -> &[u8] {
    let bytes = rootfs.as_os_str().as_encoded_bytes();
    bytes.strip_suffix(b"/").unwrap_or(bytes)
}

/// A family with one number per file system, and how it is computed.
type Column = (&'static str, &'static str, fn(&FileSystem) -> Value);

const SIZES: [Column; 6] = [
    (
        "node_filesystem_avail_bytes",
        "Free space available to unprivileged users.",
        |size| in_bytes(size, size.blocks_available),
    ),
    (
        "node_filesystem_files",
        "Total number of file nodes (inodes).",
        |size| Value::Integer(size.files),
    ),
    (
        "node_filesystem_files_free",
        "Number of free file nodes (inodes).",
        |size| Value::Integer(size.files_free),
    ),
    ("node_filesystem_free_bytes", "Free space.", |size| {
        in_bytes(size, size.blocks_free)
    }),
    (
        "node_filesystem_purgeable_bytes",
        "Purgeable space; reported by macOS only.",
        |_| Value::Integer(0),
    ),
    (
        "node_filesystem_size_bytes",
        "Total size of the file system.",
        |size| in_bytes(size, size.blocks),
    ),
];

/// As an integer if it fits, because integers are formatted faster and represent the same double.
fn in_bytes(size: &FileSystem, blocks: u64) -> Value {
    match blocks.checked_mul(size.block_size) {
        Some(bytes) => Value::Integer(bytes),
        None => Value::Float(blocks as f64 * size.block_size as f64),
    }
}

fn write(mounts: &[Mount], answers: &[Answer], out: &mut Exposition) {
    let answered = || mounts.iter().zip(answers);
    let gauge = MetricKind::Gauge;
    for (name, help, compute) in SIZES {
        let mut family = out.family(&[name], &[help], gauge);
        for (mount, answer) in answered() {
            if let Answer::Size(size) = answer {
                sample(&mut family, mount, answer, compute(size));
            }
        }
    }
    let mut family = out.family(
        &["node_filesystem_device_error"],
        &["Whether reading the statistics of the file system failed."],
        gauge,
    );
    for (mount, answer) in answered() {
        sample(
            &mut family,
            mount,
            answer,
            Value::Integer(u64::from(!matches!(answer, Answer::Size(_)))),
        );
    }
    drop(family);
    let mut family = out.family(
        &["node_filesystem_readonly"],
        &["Whether the file system is read-only."],
        gauge,
    );
    for (mount, answer) in answered() {
        sample(
            &mut family,
            mount,
            answer,
            Value::Integer(u64::from(mount.read_only)),
        );
    }
    drop(family);
    write_mount_info(answered(), out);
}

fn sample(family: &mut Family<'_>, mount: &Mount, answer: &Answer, value: Value) {
    family.sample(
        &[
            ("device", &mount.device),
            ("device_error", mounts::error_text(answer).as_bytes()),
            ("fstype", &mount.fs_type),
            ("mountpoint", &mount.mount_point),
        ],
        value,
    );
}

fn write_mount_info<'a>(
    answered: impl Iterator<Item = (&'a Mount, &'a Answer)>,
    out: &mut Exposition,
) {
    let mut rows: Vec<_> = answered
        .filter(|(_, answer)| matches!(answer, Answer::Size(_)))
        .flat_map(|(mount, _)| {
            let numbers = mount.device_numbers.iter();
            numbers.map(|(major, minor)| (&mount.device, major, minor, &mount.mount_point))
        })
        .collect();
    rows.sort_unstable();
    rows.dedup();
    let mut family = out.family(
        &["node_filesystem_mount_info"],
        &["Mount point of the device, in labels."],
        MetricKind::Gauge,
    );
    for (device, major, minor, mount_point) in rows {
        family.sample(
            &[
                ("device", device),
                ("major", major.as_bytes()),
                ("minor", minor.as_bytes()),
                ("mountpoint", mount_point),
            ],
            1,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;
    use rustix::io::Errno;

    fn update(table: &mut Table, bytes: &[u8]) -> Result<(), CollectError> {
        whole(|skipped| table.update(bytes, skipped))
    }

    fn text(write: impl FnOnce(&mut Exposition)) -> String {
        let mut out = Exposition::default();
        write(&mut out);
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    #[test]
    fn what_cannot_be_asked_is_shown_without_sizes() {
        let list = b"1 0 8:1 / / rw - ext4 /dev/sda1 ro\n2 0 0:9 / /net rw - nfs srv:/x rw\n3 0 0:8 / /secret rw - fuse f rw\n";
        let mounts = mounts::parse(list, b"", &mut Skipped::default());
        let size = FileSystem {
            block_size: 4096,
            blocks: 100,
            blocks_free: 30,
            blocks_available: 20,
            files: 7,
            files_free: 5,
        };
        let answers = [
            Answer::Size(size),
            Answer::Stuck,
            Answer::Refused(Errno::ACCESS),
        ];
        let one = "device=\"/dev/sda1\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"";
        let two = "device=\"srv:/x\",device_error=\"mountpoint timeout\",fstype=\"nfs\",mountpoint=\"/net\"";
        let three = "device=\"f\",device_error=\"permission denied\",fstype=\"fuse\",mountpoint=\"/secret\"";
        let expected = format!(
            "node_filesystem_avail_bytes{{{one}}} 81920\n\
             node_filesystem_device_error{{{one}}} 0\n\
             node_filesystem_device_error{{{two}}} 1\n\
             node_filesystem_device_error{{{three}}} 1\n\
             node_filesystem_files{{{one}}} 7\n\
             node_filesystem_files_free{{{one}}} 5\n\
             node_filesystem_free_bytes{{{one}}} 122880\n\
             node_filesystem_mount_info{{device=\"/dev/sda1\",major=\"8\",minor=\"1\",mountpoint=\"/\"}} 1\n\
             node_filesystem_purgeable_bytes{{{one}}} 0\n\
             node_filesystem_readonly{{{one}}} 1\n\
             node_filesystem_readonly{{{two}}} 0\n\
             node_filesystem_readonly{{{three}}} 0\n\
             node_filesystem_size_bytes{{{one}}} 409600\n"
        );
        assert_eq!(text(|out| write(&mounts, &answers, out)), expected);
    }

    #[test]
    fn the_same_mount_twice_is_shown_once() {
        let mut table = Table {
            mount_points: DeviceFilter::default(),
            types: DeviceFilter::default(),
            rootfs: "/host/root/".into(),
            source: Vec::new(),
            mounts: Vec::new(),
            targets: Vec::new(),
        };
        update(&mut table, b"1 0 8:1 / /z rw - ext4 /dev/b rw\n2 0 8:1 / /z ro - ext4 /dev/b rw\n3 0 8:2 / / rw - ext4 /dev/a rw\n4 1 8:3 / /z rw - ext4 /dev/b rw\n").unwrap();
        let paths: Vec<_> = table.targets.iter().map(Target::path).collect();
        assert_eq!(paths, [c"/host/root/", c"/host/root/z"]);
        let size = FileSystem {
            block_size: 1,
            blocks: 1,
            blocks_free: 1,
            blocks_available: 1,
            files: 1,
            files_free: 1,
        };
        let answers = [Answer::Size(size); 2];
        let written = text(|out| write(&table.mounts, &answers, out));
        let of = |family: &str| {
            written
                .lines()
                .filter(|line| line.starts_with(family))
                .count()
        };
        assert_eq!(
            (
                of("node_filesystem_readonly"),
                of("node_filesystem_mount_info")
            ),
            (2, 3),
            "each device has a number"
        );
        assert!(update(&mut table, b"broken\n").is_err());
        assert!(
            update(&mut table, b"broken\n").is_err(),
            "an error is reported each time"
        );
    }
}
