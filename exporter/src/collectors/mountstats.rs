//! `mountstats`: statistics of each NFS mount, from `/proc/self/mountstats`.

mod format;

use std::collections::HashSet;

use self::format::{Mount, parse};
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "mountstats",
    default_enabled: false,
    summary: "Statistics of each NFS mount, from /proc/self/mountstats.",
    options: &[],
    build,
};

use MetricKind::{Counter, Gauge};

/// The numbers of a mount's `bytes:` line, each with the middle of its metric name and the help text.
const BYTES: [(&str, &str); 8] = [
    ("read_bytes", "Bytes read by applications."),
    ("write_bytes", "Bytes written by applications."),
    (
        "direct_read_bytes",
        "Bytes that applications read directly, bypassing the cache.",
    ),
    (
        "direct_write_bytes",
        "Bytes that applications wrote directly, bypassing the cache.",
    ),
    ("total_read_bytes", "Bytes read from the server."),
    ("total_write_bytes", "Bytes written to the server."),
    ("read_pages", "Pages read from the server."),
    ("write_pages", "Pages written to the server."),
];
/// The numbers of its `events:` line; one of them is not shown.
const EVENTS: [(&str, &str); 27] = [
    (
        "event_inode_revalidate",
        "Times that the cached attributes of an inode were revalidated.",
    ),
    (
        "event_dnode_revalidate",
        "Times that a cached directory entry was revalidated.",
    ),
    (
        "event_data_invalidate",
        "Times that the cached data of an inode was invalidated.",
    ),
    (
        "event_attribute_invalidate",
        "Times that the cached attributes of an inode were invalidated.",
    ),
    ("event_vfs_open", "Files and directories opened."),
    ("event_vfs_lookup", "Names looked up."),
    ("event_vfs_access", "Times that permissions were checked."),
    (
        "event_vfs_update_page",
        "Pages updated and possibly written.",
    ),
    ("event_vfs_read_page", "Pages read one at a time."),
    ("event_vfs_read_pages", "Groups of pages read."),
    ("event_vfs_write_page", "Pages written one at a time."),
    ("event_vfs_write_pages", "Groups of pages written."),
    ("event_vfs_getdents", "Times that a directory was listed."),
    ("event_vfs_setattr", "Attributes set."),
    (
        "event_vfs_flush",
        "Times that pending writes of a file were flushed.",
    ),
    (
        "event_vfs_fsync",
        "Times that a file or directory was synchronized with fsync(2).",
    ),
    ("event_vfs_lock", "Locks requested."),
    ("event_vfs_file_release", "Files closed."),
    ("", ""),
    ("event_truncation", "Files truncated."),
    (
        "event_write_extension",
        "Times that a file was extended by a write past its end.",
    ),
    (
        "event_silly_rename",
        "Files that were removed while open and therefore only renamed.",
    ),
    (
        "event_short_read",
        "Reads that returned less data than requested.",
    ),
    (
        "event_short_write",
        "Writes that wrote less data than requested.",
    ),
    (
        "event_jukebox_delay",
        "Replies in which the server asked the client to retry later.",
    ),
    ("event_pnfs_read", "Reads from pNFS data servers."),
    ("event_pnfs_write", "Writes to pNFS data servers."),
];
/// The numbers of an operation's line; the last three are in milliseconds.
const OPERATION: [(&str, &str); 8] = [
    ("requests", "Number of requests of the operation."),
    (
        "transmissions",
        "Number of times that requests of the operation were transmitted.",
    ),
    (
        "major_timeouts",
        "Major timeouts of requests of the operation.",
    ),
    ("sent_bytes", "Bytes sent for the operation."),
    ("received_bytes", "Bytes received for the operation."),
    (
        "queue_time_seconds",
        "Time that requests of the operation spent queued before they were sent.",
    ),
    (
        "response_time_seconds",
        "Time between sending requests of the operation and receiving their replies.",
    ),
    (
        "request_time_seconds",
        "Total time taken by requests of the operation, including the time in the queue.",
    ),
];
const FIRST_IN_MILLISECONDS: usize = 5;
/// The numbers of a transport, from the second on; those without a name are not shown.
const TRANSPORT: [(&str, &str, MetricKind); 12] = [
    ("bind_total", "Times that a local port was bound.", Counter),
    (
        "connect_total",
        "Number of connections made to the server.",
        Counter,
    ),
    ("", "", Counter),
    (
        "idle_time_seconds",
        "Seconds since the transport was last used.",
        Gauge,
    ),
    ("sends_total", "Requests sent.", Counter),
    ("receives_total", "Replies received.", Counter),
    (
        "bad_transaction_ids_total",
        "Replies whose transaction ID matches no request.",
        Counter,
    ),
    ("", "", Counter),
    (
        "backlog_queue_total",
        "Number of requests waiting for a slot, summed over all sends.",
        Counter,
    ),
    (
        "maximum_rpc_slots",
        "Maximum number of slots in use at the same time.",
        Gauge,
    ),
    (
        "sending_queue_total",
        "Number of requests waiting to be sent, summed over all sends.",
        Counter,
    ),
    (
        "pending_queue_total",
        "Number of requests waiting for a reply, summed over all sends.",
        Counter,
    ),
];
/// Up to this number a double is exact; node_exporter wraps some numbers at it.
const MANTISSA: u64 = 1 << 53;

struct Mountstats {
    statistics: KeptFile,
    mounts: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Mountstats {
        statistics: KeptFile::new(context.procfs("self/mountstats")),
        mounts: KeptFile::new(context.procfs("self/mountinfo")),
    }))
}

impl Collector for Mountstats {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let statistics = self.statistics.read()?;
        let listed: Vec<&[u8]> = lines(self.mounts.read()?).collect();
        gather(out, |samples| {
            let mounts = parse(statistics, &mut samples.skipped);
            let mut shown = HashSet::new();
            for mount in &mounts {
                let address = address_of(mount, &listed);
                for transport in &mount.transports {
                    let labels = [
                        ("export", mount.export),
                        ("mountaddr", address),
                        ("protocol", transport.protocol),
                    ];
                    add_mount_point(mount, &labels, samples);
                    // A file system that is mounted twice shares its statistics.
                    if !shown.insert((mount.export, address, transport.protocol)) {
                        break;
                    }
                    add_statistics(mount, &labels, samples);
                }
            }
            Ok(())
        })
    }
}

/// The address of a mount's server, from the mount's line in mountinfo. Both files list the same mounts in the same order,
/// unless a line of one of them cannot be read.
fn address_of<'a>(mount: &Mount<'_>, listed: &[&'a [u8]]) -> &'a [u8] {
    let is_it = |line: &&&[u8]| fields(line).nth(4) == Some(mount.mount_point);
    let line = listed.get(mount.place).filter(is_it);
    let line = line.or_else(|| listed.iter().find(is_it));
    line.map(|line| address(line)).unwrap_or_default()
}

/// The server's address among the last options of a line of mountinfo.
fn address(line: &[u8]) -> &[u8] {
    let options = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let mut options = options.split(|&byte| byte == b',');
    options
        .find_map(|option| option.strip_prefix(b"addr="))
        .unwrap_or_default()
}

/// The labels of everything: the export, the server's address and the protocol.
type MountLabels<'a> = [(&'static str, &'a [u8]); 3];

fn add_mount_point(mount: &Mount<'_>, labels: &MountLabels<'_>, samples: &mut Samples) {
    let [export, address, protocol] = *labels;
    let labels = [export, address, ("mountpoint", mount.mount_point), protocol];
    let help = "Where the export is mounted.";
    samples.gauge("node_mountstats_nfs_mountpoint_info", help, &labels, 1);
}

fn add_statistics(mount: &Mount<'_>, labels: &MountLabels<'_>, samples: &mut Samples) {
    let name = |middle: &str| format!("node_mountstats_nfs_{middle}_total");
    let help = "Seconds since the export was mounted.";
    if let Some(age) = mount.age {
        samples.counter(name("age_seconds"), help, labels, age);
    }
    for ((middle, help), value) in BYTES.iter().zip(mount.bytes.into_iter().flatten()) {
        samples.counter(name(middle), *help, labels, value);
    }
    for ((middle, help), value) in EVENTS.iter().zip(mount.events.into_iter().flatten()) {
        if !middle.is_empty() {
            samples.counter(name(middle), *help, labels, value);
        }
    }
    let [export, address, protocol] = *labels;
    for (place, transport) in mount.transports.iter().enumerate() {
        let place = place.to_string();
        let labels = [export, address, protocol, ("transport", place.as_bytes())];
        let numbers = transport.numbers.into_iter().flatten();
        for ((end, help, kind), value) in TRANSPORT.iter().zip(numbers) {
            if !end.is_empty() {
                let value = if *end == "idle_time_seconds" {
                    value % MANTISSA
                } else {
                    value
                };
                let name = format!("node_mountstats_nfs_transport_{end}");
                samples.add(*kind, name, *help, &labels, value);
            }
        }
    }
    for operation in &mount.operations {
        let labels = [export, address, ("operation", operation.name), protocol];
        for (place, ((middle, help), value)) in OPERATION.iter().zip(operation.numbers).enumerate()
        {
            let value = if place < FIRST_IN_MILLISECONDS {
                value as f64
            } else {
                (value % MANTISSA) as f64 / 1000.0
            };
            samples.counter(name(&format!("operations_{middle}")), *help, &labels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        let line = b"194 1 0:42 / /mnt rw shared:144 - nfs4 10.0.0.1:/x rw,vers=4.0,addr=10.0.0.1,local_lock=none";
        assert_eq!(address(line), b"10.0.0.1");
        assert_eq!(address(b"16 21 0:16 / /sys rw - sysfs sysfs rw"), b"");
    }
}
