//! `kernel_hung`: hung tasks detected by the kernel, from `/proc/sys/kernel/hung_task_detect_count`.

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, parse_u64, trim};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "kernel_hung",
    default_enabled: true,
    summary: "Hung tasks detected by the kernel, from /proc/sys/kernel/hung_task_detect_count.",
    options: &[],
    build,
};

const FILE: &str = "sys/kernel/hung_task_detect_count";

struct KernelHung {
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(KernelHung {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for KernelHung {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read().map_err(CollectError::optional)?;
        let count = parse_u64(trim(bytes)).ok_or_else(|| CollectError::malformed(FILE, bytes))?;
        let help = "Number of hung tasks that the kernel has detected since boot.";
        out.family(
            &["node_kernel_hung_tasks_total"],
            &[help],
            MetricKind::Counter,
        )
        .sample(&[], count);
        Ok(())
    }
}
