//! `buddyinfo`: the fragmentation of free memory, from `/proc/buddyinfo`.

use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "buddyinfo",
    default_enabled: false,
    summary: "Fragmentation of free memory, from /proc/buddyinfo.",
    options: &[],
    build,
};

const FILE: &str = "buddyinfo";

struct Buddyinfo {
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Buddyinfo {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for Buddyinfo {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read()?;
        gather(out, |samples| {
            for line in lines(bytes) {
                let read = add_zone(line, samples);
                samples.skipped.line(FILE, line, read);
            }
            Ok(())
        })
    }
}

/// Parses a line such as `Node 0, zone DMA32 759 572`: the free blocks of one page, of two pages, of four …
fn add_zone(line: &[u8], samples: &mut Samples) -> Option<()> {
    let mut words = fields(line);
    let node = words.nth(1)?;
    let node = node.strip_suffix(b",").unwrap_or(node);
    let zone = words.nth(1)?;
    for (order, blocks) in words.enumerate() {
        let order = order.to_string();
        let labels = [("node", node), ("size", order.as_bytes()), ("zone", zone)];
        let help = "Number of free memory blocks of 2^size pages.";
        samples.gauge("node_buddyinfo_blocks", help, &labels, parse_u64(blocks)?);
    }
    Some(())
}
