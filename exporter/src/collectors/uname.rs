//! `uname`: the kernel and the name of the host.

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::Deadline;

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "uname",
    default_enabled: true,
    summary: "Kernel and host name, from uname(2).",
    options: &[],
    build,
};

struct Uname {
    /// Replaces the kernel's host name, which is that of the container if it has its own.
    host_name: Option<String>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Uname {
        host_name: context.settings().host_name.clone(),
    }))
}

impl Collector for Uname {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let system = rustix::system::uname();
        let told = system.nodename().to_bytes();
        let node = self.host_name.as_ref().map_or(told, String::as_bytes);
        let help = "System information from the uname system call, in labels.";
        out.family(&["node_uname_info"], &[help], MetricKind::Gauge)
            .sample(
                &[
                    ("domainname", system.domainname().to_bytes()),
                    ("machine", system.machine().to_bytes()),
                    ("nodename", node),
                    ("release", system.release().to_bytes()),
                    ("sysname", system.sysname().to_bytes()),
                    ("version", system.version().to_bytes()),
                ],
                1,
            );
        Ok(())
    }
}
