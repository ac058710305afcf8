//! `mountstats`: what was done over each NFS mount, from `/proc/self/mountstats`.

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
    summary: "What was done over each NFS mount, from /proc/self/mountstats.",
    options: &[],
    build,
};

use MetricKind::{Counter, Gauge};

/// The numbers of a mount's `bytes:` line, each with the middle of its metric's name and what it means.
const BYTES: [(&str, &str); 8] = [
    ("read_bytes", "Bytes that programs read."),
    ("write_bytes", "Bytes that programs wrote."),
    (
        "direct_read_bytes",
        "Bytes that programs read past the cache.",
    ),
    (
        "direct_write_bytes",
        "Bytes that programs wrote past the cache.",
    ),
    ("total_read_bytes", "Bytes read from the server."),
    ("total_write_bytes", "Bytes written to the server."),
    ("read_pages", "Pages read from the server."),
    ("write_pages", "Pages written to the server."),
];
/// Those of its `events:` line; one of them is not shown.
const EVENTS: [(&str, &str); 27] = [
    (
        "event_inode_revalidate",
        "Attributes of cached inodes checked.",
    ),
    (
        "event_dnode_revalidate",
        "Cached directory entries checked.",
    ),
    (
        "event_data_invalidate",
        "Times that a cached inode's data was dropped.",
    ),
    (
        "event_attribute_invalidate",
        "Times that a cached inode's attributes were dropped.",
    ),
    ("event_vfs_open", "Files and directories opened."),
    ("event_vfs_lookup", "Names looked up."),
    ("event_vfs_access", "Permissions checked."),
    (
        "event_vfs_update_page",
        "Pages updated, and perhaps written.",
    ),
    ("event_vfs_read_page", "Pages read one at a time."),
    ("event_vfs_read_pages", "Groups of pages read."),
    ("event_vfs_write_page", "Pages written one at a time."),
    ("event_vfs_write_pages", "Groups of pages written."),
    ("event_vfs_getdents", "Directories listed."),
    ("event_vfs_setattr", "Attributes set."),
    ("event_vfs_flush", "Files flushed."),
    ("event_vfs_fsync", "Files synchronised."),
    ("event_vfs_lock", "Locks requested."),
    ("event_vfs_file_release", "Files closed."),
    ("", ""),
    ("event_truncation", "Files truncated."),
    (
        "event_write_extension",
        "Files made longer by writing past their end.",
    ),
    (
        "event_silly_rename",
        "Files removed while open, and so only renamed.",
    ),
    (
        "event_short_read",
        "Reads that gave less than was asked for.",
    ),
    ("event_short_write", "Writes that took less than was given."),
    ("event_jukebox_delay", "Answers that the server put off."),
    ("event_pnfs_read", "Reads from data servers."),
    ("event_pnfs_write", "Writes to data servers."),
];
/// Those of an operation's line; the last three are in milliseconds.
const OPERATION: [(&str, &str); 8] = [
    ("requests", "Requests of the operation."),
    (
        "transmissions",
        "Times that requests of the operation were sent.",
    ),
    (
        "major_timeouts",
        "Requests of the operation that were given up for a while.",
    ),
    ("sent_bytes", "Bytes sent for the operation."),
    ("received_bytes", "Bytes received for the operation."),
    (
        "queue_time_seconds",
        "Time that requests of the operation waited to be sent.",
    ),
    (
        "response_time_seconds",
        "Time that answers to the operation took.",
    ),
    (
        "request_time_seconds",
        "Time that requests of the operation took in all.",
    ),
];
const FIRST_IN_MILLISECONDS: usize = 5;
/// Those of a transport, from the second on; those without a name are not shown.
const TRANSPORT: [(&str, &str, MetricKind); 12] = [
    ("bind_total", "Ports that were bound.", Counter),
    ("connect_total", "Connections to the server.", Counter),
    ("", "", Counter),
    (
        "idle_time_seconds",
        "Seconds since the transport was last used.",
        Gauge,
    ),
    ("sends_total", "Requests sent.", Counter),
    ("receives_total", "Answers received.", Counter),
    (
        "bad_transaction_ids_total",
        "Answers to what was never asked.",
        Counter,
    ),
    ("", "", Counter),
    (
        "backlog_queue_total",
        "Requests that waited for a slot, summed over all sends.",
        Counter,
    ),
    (
        "maximum_rpc_slots",
        "The most slots that were in use at once.",
        Gauge,
    ),
    (
        "sending_queue_total",
        "Requests that waited to be sent, summed over all sends.",
        Counter,
    ),
    (
        "pending_queue_total",
        "Requests that waited for an answer, summed over all sends.",
        Counter,
    ),
];
/// Up to here a double is exact; node_exporter wraps some numbers there.
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
                    // What is mounted twice shares its statistics.
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

/// The address of a mount's server, from the line that mountinfo has for the mount. Both files list the same mounts in
/// the same order, unless a line of one of them cannot be read.
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
