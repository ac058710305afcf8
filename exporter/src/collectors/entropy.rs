//! `entropy`: the kernel's randomness, from `/proc/sys/kernel/random`.

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{KeptFile, parse_u64, trim};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "entropy",
    default_enabled: true,
    summary: "Randomness that the kernel holds, from /proc/sys/kernel/random.",
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
    fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
        let help = "Bits of entropy at hand.";
        let bits = number(&mut self.available, AVAILABLE)?;
        out.family(&["node_entropy_available_bits"], &[help], MetricKind::Gauge)
            .sample(&[], bits);
        let help = "Bits that the pool of entropy can hold.";
        let bits = number(&mut self.pool, POOL)?;
        out.family(&["node_entropy_pool_size_bits"], &[help], MetricKind::Gauge)
            .sample(&[], bits);
        Ok(())
    }
}

fn number(file: &mut KeptFile, name: &'static str) -> Result<u64, CollectError> {
    let bytes = file.read()?;
    parse_u64(trim(bytes)).ok_or_else(|| CollectError::malformed(name, bytes))
}
