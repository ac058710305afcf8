//! `zoneinfo`: the zones of memory, from `/proc/zoneinfo`.

use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "zoneinfo",
    default_enabled: false,
    summary: "Zones of memory, from /proc/zoneinfo.",
    options: &[],
    build,
};

use MetricKind::{Counter, Gauge};

const FILE: &str = "zoneinfo";
/// The fields that are shown, each with the end of its metric's name, what it means and its kind.
const FIELDS: [(&str, &str, &str, MetricKind); 34] = [
    (
        "high",
        "high_pages",
        "High watermark: with more free pages the kernel stops reclaiming memory.",
        Gauge,
    ),
    (
        "low",
        "low_pages",
        "Low watermark: with fewer free pages the kernel starts reclaiming memory.",
        Gauge,
    ),
    (
        "managed",
        "managed_pages",
        "Pages managed by the page allocator.",
        Gauge,
    ),
    (
        "min",
        "min_pages",
        "Minimum watermark: with fewer free pages allocations wait for memory to be reclaimed.",
        Gauge,
    ),
    (
        "nr_active_anon",
        "nr_active_anon_pages",
        "Anonymous pages that were used recently.",
        Gauge,
    ),
    (
        "nr_active_file",
        "nr_active_file_pages",
        "File pages that were used recently.",
        Gauge,
    ),
    ("nr_anon_pages", "nr_anon_pages", "Anonymous pages.", Gauge),
    (
        "nr_anon_transparent_hugepages",
        "nr_anon_transparent_hugepages",
        "Anonymous transparent huge pages.",
        Gauge,
    ),
    (
        "nr_dirtied",
        "nr_dirtied_total",
        "Pages that were dirtied.",
        Counter,
    ),
    (
        "nr_dirty",
        "nr_dirty_pages",
        "Dirty pages, which are not yet written to disk.",
        Gauge,
    ),
    ("nr_file_pages", "nr_file_pages", "File pages.", Gauge),
    ("nr_free_pages", "nr_free_pages", "Free pages.", Gauge),
    (
        "nr_inactive_anon",
        "nr_inactive_anon_pages",
        "Anonymous pages that were not used recently.",
        Gauge,
    ),
    (
        "nr_inactive_file",
        "nr_inactive_file_pages",
        "File pages that were not used recently.",
        Gauge,
    ),
    (
        "nr_isolated_anon",
        "nr_isolated_anon_pages",
        "Anonymous pages that are temporarily isolated from the LRU lists.",
        Gauge,
    ),
    (
        "nr_isolated_file",
        "nr_isolated_file_pages",
        "File pages that are temporarily isolated from the LRU lists.",
        Gauge,
    ),
    (
        "nr_kernel_stack",
        "nr_kernel_stacks",
        "Kernel stacks.",
        Gauge,
    ),
    (
        "nr_mapped",
        "nr_mapped_pages",
        "Pages mapped into processes.",
        Gauge,
    ),
    (
        "nr_mlock_stack",
        "nr_mlock_stack_pages",
        "Pages that are locked in memory.",
        Gauge,
    ),
    ("nr_shmem", "nr_shmem_pages", "Shared memory pages.", Gauge),
    (
        "nr_slab_reclaimable",
        "nr_slab_reclaimable_pages",
        "Slab pages that can be reclaimed.",
        Gauge,
    ),
    (
        "nr_slab_unreclaimable",
        "nr_slab_unreclaimable_pages",
        "Slab pages that cannot be reclaimed.",
        Gauge,
    ),
    (
        "nr_unevictable",
        "nr_unevictable_pages",
        "Pages that cannot be evicted from memory.",
        Gauge,
    ),
    (
        "nr_writeback",
        "nr_writeback_pages",
        "Pages that are being written to disk.",
        Gauge,
    ),
    (
        "nr_written",
        "nr_written_total",
        "Pages written to disk.",
        Counter,
    ),
    (
        "numa_foreign",
        "numa_foreign_total",
        "Allocations intended for this node that were served by another node.",
        Counter,
    ),
    (
        "numa_hit",
        "numa_hit_total",
        "Allocations that were served by the intended node.",
        Counter,
    ),
    (
        "numa_interleave",
        "numa_interleave_total",
        "Allocations on this node by the interleave policy.",
        Counter,
    ),
    (
        "numa_local",
        "numa_local_total",
        "Allocations on this node by one of its own CPUs.",
        Counter,
    ),
    (
        "numa_miss",
        "numa_miss_total",
        "Allocations on this node that were intended for another node.",
        Counter,
    ),
    (
        "numa_other",
        "numa_other_total",
        "Allocations on this node by a CPU of another node.",
        Counter,
    ),
    (
        "present",
        "present_pages",
        "Physical pages present in the zone.",
        Gauge,
    ),
    (
        "scanned",
        "scanned_pages",
        "Pages scanned since memory was last reclaimed.",
        Gauge,
    ),
    (
        "spanned",
        "spanned_pages",
        "Pages spanned by the zone, including holes.",
        Gauge,
    ),
];

struct Zoneinfo {
    file: KeptFile,
}

/// A zone: its node's number and its own name.
#[derive(Clone, Copy)]
struct Zone<'a> {
    node: &'a [u8],
    name: &'a [u8],
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Zoneinfo {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for Zoneinfo {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read()?;
        gather(out, |samples| {
            let mut zone = None;
            for line in lines(bytes) {
                // Lines after a zone that cannot be read do not belong to the previous zone.
                if line.starts_with(b"Node ") || fields(line).nth(2) == Some(b"zone") {
                    zone = samples.skipped.line(FILE, line, zone_of(line));
                }
                if let Some(zone) = zone {
                    let read = add_line(line, zone, samples);
                    samples.skipped.line(FILE, line, read);
                }
            }
            Ok(())
        })
    }
}

/// Returns the zone that begins with a line such as `Node 0, zone   Normal`.
fn zone_of(line: &[u8]) -> Option<Zone<'_>> {
    let mut words = fields(line.strip_prefix(b"Node ")?);
    let node = words.next()?.strip_suffix(b",")?;
    let name = words.nth(1)?;
    Some(Zone { node, name })
}

/// Adds the field of the line, if it is shown.
fn add_line(line: &[u8], zone: Zone<'_>, samples: &mut Samples) -> Option<()> {
    let labels = [("node", zone.node), ("zone", zone.name)];
    let mut words = fields(line);
    let Some(first) = words.next() else {
        return Some(());
    };
    if first == b"protection:" {
        for (place, pages) in words.enumerate() {
            let pages = pages.strip_prefix(b"(").unwrap_or(pages);
            let pages = pages
                .strip_suffix(b")")
                .or(pages.strip_suffix(b","))
                .unwrap_or(pages);
            let help = "Pages protected from allocations that could use a higher zone.";
            let name = format!("node_zoneinfo_protection_{place}");
            samples.gauge(name, help, &labels, parse_u64(pages)?);
        }
    } else if let Some((_, name, help, kind)) =
        FIELDS.iter().find(|(field, ..)| field.as_bytes() == first)
    {
        let value = parse_u64(words.next()?)?;
        samples.add(
            *kind,
            format!("node_zoneinfo_{name}"),
            *help,
            &labels,
            value,
        );
    }
    Some(())
}
