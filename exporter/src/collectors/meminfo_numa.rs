//! `meminfo_numa`: the memory of each NUMA node, from `/sys/devices/system/node`.

use std::path::{Path, PathBuf};

use crate::collect::device::name_after;
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, Value};
use crate::sources::{Deadline, ReadError, fields, lines, list_numbered, read_attribute};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "meminfo_numa",
    default_enabled: false,
    summary: "Memory of each NUMA node, from sysfs.",
    options: &[],
    build,
};

const MEMORY: &str = "meminfo";
const STATISTICS: &str = "numastat";
const KIBIBYTE: u32 = 1024;
/// Adds the samples of one line of a node's file.
type Add = fn(&[u8], &[u8], &mut Samples) -> Option<()>;

struct MeminfoNuma {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(MeminfoNuma {
        directory: context.sysfs("devices/system/node"),
    }))
}

impl Collector for MeminfoNuma {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        gather(out, |samples| {
            let mut buffer = Vec::new();
            for path in list_numbered(&self.directory, "node") {
                let node = name_after(&path, "node");
                for (file, add) in [
                    (MEMORY, add_memory as Add),
                    (STATISTICS, add_statistic as Add),
                ] {
                    let bytes = read(&path.join(file), &mut buffer);
                    for line in lines(samples.skipped.part(bytes).unwrap_or_default()) {
                        let read = add(line, &node, samples);
                        samples.skipped.line(file, line, read);
                    }
                }
            }
            Ok(())
        })
    }
}

fn read<'a>(path: &Path, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], ReadError> {
    read_attribute(path, buffer).map_err(|source| ReadError::new(path, source))
}

/// Reads a line such as `Node 0 Active(anon): 1200 kB`.
fn add_memory(line: &[u8], node: &[u8], samples: &mut Samples) -> Option<()> {
    let mut words = fields(line).skip(2);
    let name = std::str::from_utf8(words.next()?)
        .ok()?
        .trim_end_matches(':');
    let number = Value::parse(words.next()?)?;
    let value = match words.next() {
        None => number,
        Some(b"kB") => number.times(KIBIBYTE),
        Some(_) => return None,
    };
    let name = name.replace('(', "_").replace(')', "");
    let help = format!("Memory field {name} of the NUMA node, in bytes unless it is a count.");
    samples.gauge(
        format!("node_memory_numa_{name}"),
        help,
        &[("node", node)],
        value,
    );
    Some(())
}

/// Reads a line such as `numa_hit 17`.
fn add_statistic(line: &[u8], node: &[u8], samples: &mut Samples) -> Option<()> {
    let mut words = fields(line);
    let name = std::str::from_utf8(words.next()?).ok()?;
    let value = Value::parse(words.next()?)?;
    let help = format!("Memory allocation statistic {name} of the NUMA node.");
    samples.counter(
        format!("node_memory_numa_{name}_total"),
        help,
        &[("node", node)],
        value,
    );
    Some(())
}
