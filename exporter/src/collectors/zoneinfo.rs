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
        "Pages above which the kernel stops freeing memory.",
        Gauge,
    ),
    (
        "low",
        "low_pages",
        "Pages below which the kernel begins to free memory.",
        Gauge,
    ),
    (
        "managed",
        "managed_pages",
        "Pages that the allocator manages.",
        Gauge,
    ),
    (
        "min",
        "min_pages",
        "Pages below which the kernel frees memory at once.",
        Gauge,
    ),
    (
        "nr_active_anon",
        "nr_active_anon_pages",
        "Anonymous pages used of late.",
        Gauge,
    ),
    (
        "nr_active_file",
        "nr_active_file_pages",
        "Pages of files used of late.",
        Gauge,
    ),
    ("nr_anon_pages", "nr_anon_pages", "Anonymous pages.", Gauge),
    (
        "nr_anon_transparent_hugepages",
        "nr_anon_transparent_hugepages",
        "Anonymous huge pages that the kernel made by itself.",
        Gauge,
    ),
    (
        "nr_dirtied",
        "nr_dirtied_total",
        "Pages that were changed.",
        Counter,
    ),
    (
        "nr_dirty",
        "nr_dirty_pages",
        "Pages not yet written.",
        Gauge,
    ),
    ("nr_file_pages", "nr_file_pages", "Pages of files.", Gauge),
    ("nr_free_pages", "nr_free_pages", "Free pages.", Gauge),
    (
        "nr_inactive_anon",
        "nr_inactive_anon_pages",
        "Anonymous pages not used of late.",
        Gauge,
    ),
    (
        "nr_inactive_file",
        "nr_inactive_file_pages",
        "Pages of files not used of late.",
        Gauge,
    ),
    (
        "nr_isolated_anon",
        "nr_isolated_anon_pages",
        "Anonymous pages set apart for a moment.",
        Gauge,
    ),
    (
        "nr_isolated_file",
        "nr_isolated_file_pages",
        "Pages of files set apart for a moment.",
        Gauge,
    ),
    (
        "nr_kernel_stack",
        "nr_kernel_stacks",
        "Stacks of the kernel.",
        Gauge,
    ),
    (
        "nr_mapped",
        "nr_mapped_pages",
        "Pages that are mapped.",
        Gauge,
    ),
    (
        "nr_mlock_stack",
        "nr_mlock_stack_pages",
        "Pages that are locked into memory.",
        Gauge,
    ),
    (
        "nr_shmem",
        "nr_shmem_pages",
        "Pages of shared memory.",
        Gauge,
    ),
    (
        "nr_slab_reclaimable",
        "nr_slab_reclaimable_pages",
        "Pages of the kernel's caches that can be freed.",
        Gauge,
    ),
    (
        "nr_slab_unreclaimable",
        "nr_slab_unreclaimable_pages",
        "Pages of the kernel's caches that cannot be freed.",
        Gauge,
    ),
    (
        "nr_unevictable",
        "nr_unevictable_pages",
        "Pages that must stay in memory.",
        Gauge,
    ),
    (
        "nr_writeback",
        "nr_writeback_pages",
        "Pages being written.",
        Gauge,
    ),
    (
        "nr_written",
        "nr_written_total",
        "Pages that were written.",
        Counter,
    ),
    (
        "numa_foreign",
        "numa_foreign_total",
        "Allocations intended for here that another node served.",
        Counter,
    ),
    (
        "numa_hit",
        "numa_hit_total",
        "Allocations on the intended node.",
        Counter,
    ),
    (
        "numa_interleave",
        "numa_interleave_total",
        "Allocations here that were spread over the nodes on purpose.",
        Counter,
    ),
    (
        "numa_local",
        "numa_local_total",
        "Allocations by a CPU of the same node.",
        Counter,
    ),
    (
        "numa_miss",
        "numa_miss_total",
        "Allocations here that were intended for another node.",
        Counter,
    ),
    (
        "numa_other",
        "numa_other_total",
        "Allocations by a CPU of another node.",
        Counter,
    ),
    ("present", "present_pages", "Pages that exist.", Gauge),
    (
        "scanned",
        "scanned_pages",
        "Pages searched since memory was last freed.",
        Gauge,
    ),
    (
        "spanned",
        "spanned_pages",
        "Pages between the zone's ends, holes included.",
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
                // What is below a zone that cannot be read is not of the zone above.
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

/// The zone that a line such as `Node 0, zone   Normal` begins.
fn zone_of(line: &[u8]) -> Option<Zone<'_>> {
    let mut words = fields(line.strip_prefix(b"Node ")?);
    let node = words.next()?.strip_suffix(b",")?;
    let name = words.nth(1)?;
    Some(Zone { node, name })
}

/// Adds the field that the line has, if it is shown.
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
            let help = "Pages that allocations which could use a higher zone leave here.";
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
