//! `drbd`: disks mirrored over the network, from `/proc/drbd`.

use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "drbd",
    default_enabled: false,
    summary: "Disks mirrored over the network by DRBD, from /proc/drbd.",
    options: &[],
    build,
};

use MetricKind::{Counter, Gauge};

const FILE: &str = "drbd";
/// The numbers, each with the end of its metric name, help text, type and the factor to base units.
const NUMBERS: [(&str, &str, &str, MetricKind, f64); 12] = [
    (
        "al",
        "activitylog_writes_total",
        "Writes to the activity log.",
        Counter,
        1.0,
    ),
    (
        "ap",
        "application_pending",
        "Number of requests from applications that are not yet answered.",
        Gauge,
        1.0,
    ),
    (
        "bm",
        "bitmap_writes_total",
        "Writes to the bitmap of out-of-sync blocks.",
        Counter,
        1.0,
    ),
    (
        "dr",
        "disk_read_bytes_total",
        "Bytes read from the local disk.",
        Counter,
        1024.0,
    ),
    (
        "dw",
        "disk_written_bytes_total",
        "Bytes written to the local disk.",
        Counter,
        1024.0,
    ),
    ("ep", "epochs", "Number of epochs in progress.", Gauge, 1.0),
    (
        "lo",
        "local_pending",
        "Number of open requests to the local disk.",
        Gauge,
        1.0,
    ),
    // node_exporter does not scale this one, although the kernel prints kibibytes here too.
    (
        "nr",
        "network_received_bytes_total",
        "Data received from the peer.",
        Counter,
        1.0,
    ),
    (
        "ns",
        "network_sent_bytes_total",
        "Bytes sent to the peer.",
        Counter,
        1024.0,
    ),
    (
        "oos",
        "out_of_sync_bytes",
        "Bytes that are out of sync with the peer.",
        Gauge,
        1024.0,
    ),
    (
        "pe",
        "remote_pending",
        "Number of requests to the peer that are not yet answered.",
        Gauge,
        1.0,
    ),
    (
        "ua",
        "remote_unacknowledged",
        "Number of requests from the peer that are not yet answered.",
        Gauge,
        1.0,
    ),
];
/// The pairs of a local and a remote state, each with the good state, its metric and help text.
const PAIRS: [(&str, &str, &str, &str); 2] = [
    (
        "ds",
        "UpToDate",
        "node_drbd_disk_state_is_up_to_date",
        "Whether the node's disk is up to date.",
    ),
    (
        "ro",
        "Primary",
        "node_drbd_node_role_is_primary",
        "Whether the node is the primary.",
    ),
];

struct Drbd {
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Drbd {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for Drbd {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read().map_err(CollectError::optional)?;
        gather(out, |samples| {
            let mut device = Some("unknown".to_owned());
            let mut is_new = false;
            for word in fields(bytes).filter_map(|word| std::str::from_utf8(word).ok()) {
                match word.split_once(':') {
                    Some((number, "")) if parse_u64(number.as_bytes()).is_some() => {
                        device = Some(format!("drbd{number}"));
                        is_new = true;
                        continue;
                    }
                    Some((key, value)) if !value.contains(':') => {
                        // The first word after a number; a line without a number does not belong to the device before it.
                        if key == "cs" && !is_new {
                            device = samples.skipped.line(FILE, word.as_bytes(), None);
                        }
                        if let Some(device) = &device {
                            let read = add(key, value, device.as_bytes(), samples);
                            samples.skipped.line(FILE, word.as_bytes(), read);
                        }
                    }
                    _ => {}
                }
                is_new = false;
            }
            Ok(())
        })
    }
}

/// Adds the value of a word such as `ns:17`, if it is shown.
fn add(key: &str, value: &str, device: &[u8], samples: &mut Samples) -> Option<()> {
    let labels = [("device", device)];
    if let Some((_, name, help, kind, factor)) = NUMBERS.iter().find(|(known, ..)| *known == key) {
        let number = parse_u64(value.as_bytes())? as f64;
        samples.add(
            *kind,
            format!("node_drbd_{name}"),
            *help,
            &labels,
            number * factor,
        );
    }
    if let Some((_, good, name, help)) = PAIRS.iter().find(|(known, ..)| *known == key) {
        let (local, remote) = value.split_once('/')?;
        for (node, state) in [("local", local), ("remote", remote)] {
            let labels = [("device", device), ("node", node.as_bytes())];
            samples.gauge(*name, *help, &labels, u64::from(state == *good));
        }
    }
    if key == "cs" {
        let help = "Whether the peer is connected.";
        samples.gauge(
            "node_drbd_connected",
            help,
            &labels,
            u64::from(value == "Connected"),
        );
    }
    Some(())
}
