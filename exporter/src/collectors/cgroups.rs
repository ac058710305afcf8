//! `cgroups`: the number of control groups, from `/proc/cgroups`.

use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "cgroups",
    default_enabled: false,
    summary: "Number of control groups, from /proc/cgroups.",
    options: &[],
    build,
};

const FILE: &str = "cgroups";

struct Cgroups {
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Cgroups {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for Cgroups {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read()?;
        gather(out, |samples| {
            for line in lines(bytes).filter(|line| !line.starts_with(b"#")) {
                let read = add_controller(line, samples);
                samples.skipped.line(FILE, line, read);
            }
            Ok(())
        })
    }
}

/// Parses a line: the controller's name, its hierarchy, the number of its groups, and whether it is enabled.
fn add_controller(line: &[u8], samples: &mut Samples) -> Option<()> {
    let mut words = fields(line);
    let labels = [("subsys_name", words.next()?)];
    let groups = parse_u64(words.nth(1)?)?;
    let enabled = parse_u64(words.next()?)?;
    let help = "Number of control groups of the controller.";
    samples.gauge("node_cgroups_cgroups", help, &labels, groups);
    let help = "Whether the controller is enabled.";
    samples.gauge("node_cgroups_enabled", help, &labels, enabled);
    Some(())
}
