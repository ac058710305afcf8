//! `filefd`: the kernel's open files and their limit, from `/proc/sys/fs/file-nr`.

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "filefd",
    default_enabled: true,
    summary: "Open files and their limit, from /proc/sys/fs/file-nr.",
    options: &[],
    build,
};

const FILE: &str = "sys/fs/file-nr";

struct Filefd {
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Filefd {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for Filefd {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read()?;
        let (allocated, maximum) =
            parse(bytes).ok_or_else(|| CollectError::malformed(FILE, bytes))?;
        let help = "Number of file handles allocated by the kernel.";
        out.family(&["node_filefd_allocated"], &[help], MetricKind::Gauge)
            .sample(&[], allocated);
        let help = "Maximum number of file handles that the kernel allocates.";
        out.family(&["node_filefd_maximum"], &[help], MetricKind::Gauge)
            .sample(&[], maximum);
        Ok(())
    }
}

/// The allocated files and their limit; between them is a number that has been zero for many years.
fn parse(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut numbers = fields(bytes).map(parse_u64);
    let allocated = numbers.next()??;
    numbers.next()??;
    Some((allocated, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_or_nothing() {
        assert_eq!(parse(b"679\t0\t2466177\n"), Some((679, 2_466_177)));
        assert_eq!(parse(b"679\t0\n"), None);
        assert_eq!(parse(b"679\tx\t1"), None);
    }
}
