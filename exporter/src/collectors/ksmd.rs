//! `ksmd`: kernel samepage merging, from `/sys/kernel/mm/ksm`.

use std::path::PathBuf;

use crate::collect::device::Device;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::Deadline;

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "ksmd",
    default_enabled: false,
    summary: "Kernel samepage merging (KSM), from /sys/kernel/mm/ksm.",
    options: &[],
    build,
};

use MetricKind::{Counter, Gauge};

/// The files, each with its metric, help text, type and divisor.
const FILES: [(&str, &str, &str, MetricKind, f64); 9] = [
    (
        "full_scans",
        "node_ksmd_full_scans_total",
        "Number of times that all mergeable memory was scanned.",
        Counter,
        1.0,
    ),
    (
        "merge_across_nodes",
        "node_ksmd_merge_across_nodes",
        "Whether pages of different NUMA nodes are merged.",
        Gauge,
        1.0,
    ),
    (
        "pages_shared",
        "node_ksmd_pages_shared",
        "Number of shared pages in use.",
        Gauge,
        1.0,
    ),
    (
        "pages_sharing",
        "node_ksmd_pages_sharing",
        "Number of pages saved by sharing.",
        Gauge,
        1.0,
    ),
    (
        "pages_to_scan",
        "node_ksmd_pages_to_scan",
        "Number of pages scanned between two pauses.",
        Gauge,
        1.0,
    ),
    (
        "pages_unshared",
        "node_ksmd_pages_unshared",
        "Number of scanned pages that are unique and therefore not merged.",
        Gauge,
        1.0,
    ),
    (
        "pages_volatile",
        "node_ksmd_pages_volatile",
        "Number of pages that change too fast to be merged.",
        Gauge,
        1.0,
    ),
    (
        "run",
        "node_ksmd_run",
        "Whether pages are merged: 0 no, 1 yes, 2 no and all merged pages are separated again.",
        Gauge,
        1.0,
    ),
    (
        "sleep_millisecs",
        "node_ksmd_sleep_seconds",
        "Length of the pause between two scans.",
        Gauge,
        1000.0,
    ),
];

struct Ksmd {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Ksmd {
        directory: context.sysfs("kernel/mm/ksm"),
    }))
}

impl Collector for Ksmd {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut settings = Device::open(&self.directory)?;
        for (file, name, help, kind, divisor) in FILES {
            let value = settings.required(file)? / divisor;
            out.family(&[name], &[help], kind).sample(&[], value);
        }
        Ok(())
    }
}
