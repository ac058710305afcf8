//! `slabinfo`: the kernel's caches of its own objects, from `/proc/slabinfo`.

use crate::collect::device_filter::DeviceFilter;
use crate::collect::samples::{Samples, gather};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::Exposition;
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

const INCLUDE: &str = "collector.slabinfo.slabs-include";
const EXCLUDE: &str = "collector.slabinfo.slabs-exclude";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "slabinfo",
    default_enabled: false,
    summary: "Slab caches of the kernel, from /proc/slabinfo.",
    options: &[
        OptionSpec::pattern(
            EXCLUDE,
            "",
            "Regular expression of the caches to leave out.",
        ),
        OptionSpec::pattern(INCLUDE, ".*", "Regular expression of the caches to show."),
    ],
    build,
};

const FILE: &str = "slabinfo";
/// The columns behind a cache's name, each with its metric and what it means.
const COLUMNS: [(&str, &str); 5] = [
    ("node_slabinfo_active_objects", "Number of objects in use."),
    (
        "node_slabinfo_objects",
        "Number of allocated objects, whether in use or not.",
    ),
    ("node_slabinfo_object_size_bytes", "Size of an object."),
    (
        "node_slabinfo_objects_per_slab",
        "Number of objects per slab.",
    ),
    ("node_slabinfo_pages_per_slab", "Number of pages per slab."),
];

struct Slabinfo {
    file: KeptFile,
    filter: DeviceFilter,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Slabinfo {
        file: KeptFile::new(context.procfs(FILE)),
        filter: DeviceFilter::from_both(context, EXCLUDE, INCLUDE)?,
    }))
}

impl Collector for Slabinfo {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let Self { file, filter } = self;
        let bytes = file.read()?;
        gather(out, |samples| {
            for line in lines(bytes) {
                let heading = line.starts_with(b"#") || line.starts_with(b"slabinfo - version");
                let name = fields(line).next().unwrap_or_default();
                if !heading && !filter.ignores(name) {
                    let read = add_cache(line, name, samples);
                    samples.skipped.line(FILE, line, read);
                }
            }
            Ok(())
        })
    }
}

fn add_cache(line: &[u8], name: &[u8], samples: &mut Samples) -> Option<()> {
    let mut numbers = fields(line).skip(1).map(parse_u64);
    for (metric, help) in COLUMNS {
        samples.gauge(metric, help, &[("slab", name)], numbers.next()??);
    }
    Some(())
}
