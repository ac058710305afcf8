//! `uname`: the kernel and the name of the host.

use super::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "uname",
    default_enabled: true,
    summary: "Kernel and host name, as uname(2) tells them.",
    options: &[],
    build,
};

struct Uname;

fn build(_: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Uname))
}

impl Collector for Uname {
    fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
        let system = rustix::system::uname();
        let help = "System information as the uname system call tells it, in labels.";
        out.family(&["node_uname_info"], &[help], MetricKind::Gauge)
            .sample(
                &[
                    ("domainname", system.domainname().to_bytes()),
                    ("machine", system.machine().to_bytes()),
                    ("nodename", system.nodename().to_bytes()),
                    ("release", system.release().to_bytes()),
                    ("sysname", system.sysname().to_bytes()),
                    ("version", system.version().to_bytes()),
                ],
                1,
            );
        Ok(())
    }
}
