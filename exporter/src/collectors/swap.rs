//! `swap`: swap devices and swap files, from `/proc/swaps`.

use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, KeptFile, fields, lines, parse_signed, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "swap",
    default_enabled: false,
    summary: "Swap devices and swap files, from /proc/swaps.",
    options: &[],
    build,
};

const FILE: &str = "swaps";
const KIBIBYTE: u64 = 1024;

struct Swap {
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Swap {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for Swap {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read()?;
        gather(out, |samples| {
            // Above the rows are their names.
            for line in lines(bytes).skip(1) {
                let read = add_swap(line, samples);
                samples.skipped.line(FILE, line, read);
            }
            Ok(())
        })
    }
}

fn add_swap(line: &[u8], samples: &mut Samples) -> Option<()> {
    let mut words = fields(line);
    let labels = [("device", words.next()?), ("swap_type", words.next()?)];
    let size = parse_u64(words.next()?)?.saturating_mul(KIBIBYTE);
    let used = parse_u64(words.next()?)?.saturating_mul(KIBIBYTE);
    let priority = parse_signed(words.next()?)?;
    let help = "Priority of the swap device; the device with the highest priority is used first.";
    samples.gauge("node_swap_priority", help, &labels, priority);
    samples.gauge(
        "node_swap_size_bytes",
        "Size of the swap device.",
        &labels,
        size,
    );
    samples.gauge(
        "node_swap_used_bytes",
        "Used space of the swap device.",
        &labels,
        used,
    );
    Some(())
}
