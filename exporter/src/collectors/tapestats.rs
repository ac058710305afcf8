//! `tapestats`: I/O statistics of tape drives, from `/sys/class/scsi_tape`.

use std::path::PathBuf;

use crate::collect::Pattern;
use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, list_directories};

const IGNORED: &str = "collector.tapestats.ignored-devices";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "tapestats",
    default_enabled: true,
    summary: "I/O statistics of tape drives, from /sys/class/scsi_tape.",
    options: &[OptionSpec::pattern(
        IGNORED,
        "^$",
        "Regular expression of the tape drives to leave out.",
    )],
    build,
};

/// Nanoseconds are multiplied rather than divided, as in node_exporter, because this affects the last digit.
const NANOSECONDS: f64 = 0.000_000_001;
/// The attributes, each with its metric, what it means, and the factor to base units.
const STATISTICS: [(&str, &str, &str, f64); 10] = [
    (
        "in_flight",
        "node_tape_io_now",
        "Number of requests in progress.",
        1.0,
    ),
    (
        "io_ns",
        "node_tape_io_time_seconds_total",
        "Seconds spent waiting for requests of any kind to complete.",
        NANOSECONDS,
    ),
    (
        "other_cnt",
        "node_tape_io_others_total",
        "Requests other than reads and writes.",
        1.0,
    ),
    (
        "read_byte_cnt",
        "node_tape_read_bytes_total",
        "Bytes read.",
        1.0,
    ),
    (
        "read_cnt",
        "node_tape_reads_completed_total",
        "Reads completed.",
        1.0,
    ),
    (
        "read_ns",
        "node_tape_read_time_seconds_total",
        "Seconds spent waiting for reads to complete.",
        NANOSECONDS,
    ),
    (
        "resid_cnt",
        "node_tape_residual_total",
        "Requests that transferred less data than requested.",
        1.0,
    ),
    (
        "write_byte_cnt",
        "node_tape_written_bytes_total",
        "Bytes written.",
        1.0,
    ),
    (
        "write_cnt",
        "node_tape_writes_completed_total",
        "Writes completed.",
        1.0,
    ),
    (
        "write_ns",
        "node_tape_write_time_seconds_total",
        "Seconds spent waiting for writes to complete.",
        NANOSECONDS,
    ),
];

struct Tapestats {
    directory: PathBuf,
    ignored: Option<Pattern>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Tapestats {
        directory: context.sysfs("class/scsi_tape"),
        ignored: context.pattern(IGNORED)?,
    }))
}

impl Collector for Tapestats {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = list_directories(&self.directory).map_err(CollectError::optional)?;
        let ignored = |name: &[u8]| {
            self.ignored
                .as_ref()
                .is_some_and(|ignored| ignored.is_match(name))
        };
        gather(out, |samples| {
            for name in names.iter().filter(|name| is_drive(name) && !ignored(name)) {
                let path = self.directory.join(String::from_utf8_lossy(name).as_ref());
                samples.device(&path.join("stats"), |device, samples| {
                    add_drive(device, name, samples)
                });
            }
            Ok(())
        })
    }
}

/// Whether this is `st0` rather than one of the drive's other modes, such as `nst0` and `st0a`.
fn is_drive(name: &[u8]) -> bool {
    name.strip_prefix(b"st")
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

fn add_drive(device: &mut Device, name: &[u8], samples: &mut Samples) -> Result<(), CollectError> {
    for (attribute, metric, help, factor) in STATISTICS {
        let kind = if attribute == "in_flight" {
            MetricKind::Gauge
        } else {
            MetricKind::Counter
        };
        let value = device.number(attribute)?.unwrap_or_default();
        samples.add(kind, metric, help, &[("device", name)], value * factor);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_of_several_is_the_drive() {
        assert!(is_drive(b"st0") && is_drive(b"st12"));
        assert!(!is_drive(b"nst0") && !is_drive(b"st0a") && !is_drive(b"st"));
    }
}
