//! `entropy`: the entropy available to the kernel, from `/proc/sys/kernel/random`.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, parse_u64, trim};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "entropy",
    default_enabled: true,
    summary: "Entropy available to the kernel, from /proc/sys/kernel/random.",
    options: &[],
    build,
};

const AVAILABLE: &str = "sys/kernel/random/entropy_avail";
const POOL: &str = "sys/kernel/random/poolsize";

struct Entropy {
    available: KeptFile,
    pool: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Entropy {
        available: KeptFile::new(context.procfs(AVAILABLE)),
        pool: KeptFile::new(context.procfs(POOL)),
    }))
}

impl Collector for Entropy {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        for (file, path, name, help) in [
            (
                &mut self.available,
                AVAILABLE,
                "node_entropy_available_bits",
                "Bits of entropy available.",
            ),
            (
                &mut self.pool,
                POOL,
                "node_entropy_pool_size_bits",
                "Size of the entropy pool in bits.",
            ),
        ] {
            if let Some(bits) = skipped.part(number(file, path)) {
                out.family(&[name], &[help], MetricKind::Gauge)
                    .sample(&[], bits);
            }
        }
        skipped.result()
    }
}

fn number(file: &mut KeptFile, name: &'static str) -> Result<u64, CollectError> {
    let bytes = file.read()?;
    parse_u64(trim(bytes)).ok_or_else(|| CollectError::malformed(name, bytes))
}
