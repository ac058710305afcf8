//! `selinux`: whether SELinux is on, and in which mode, from its file system and its configuration.

use std::path::PathBuf;

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, lines, parse_u64, read_attribute, trim};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "selinux",
    default_enabled: true,
    summary: "Whether SELinux is enabled, and in which mode.",
    options: &[],
    build,
};

struct Selinux {
    enforce: KeptFile,
    config: PathBuf,
    buffer: Vec<u8>,
}

/// How SELinux treats what its policy forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Enforcing,
    Permissive,
    Disabled,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Selinux {
        enforce: KeptFile::new(context.sysfs("fs/selinux/enforce")),
        config: context.settings().rootfs.join("etc/selinux/config"),
        buffer: Vec::new(),
    }))
}

impl Collector for Selinux {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let enforced = match self.enforce.read() {
            Ok(bytes) => Some(parse_u64(trim(bytes)) == Some(1)),
            Err(error) if error.is_absent() => None,
            Err(error) => return Err(error.into()),
        };
        let help = "Whether SELinux is enabled.";
        out.family(&["node_selinux_enabled"], &[help], MetricKind::Gauge)
            .sample(&[], u64::from(enforced.is_some()));
        let Some(enforced) = enforced else {
            return Ok(());
        };
        // A host that has no configuration is disabled at its next boot.
        let config = read_attribute(&self.config, &mut self.buffer).unwrap_or_default();
        let help = "Configured SELinux mode, in effect from the next boot: 1 enforcing, 0 permissive, -1 disabled.";
        out.family(&["node_selinux_config_mode"], &[help], MetricKind::Gauge)
            .sample(&[], configured(config).number());
        let current = if enforced {
            Mode::Enforcing
        } else {
            Mode::Permissive
        };
        let help = "Current SELinux mode: 1 enforcing, 0 permissive.";
        out.family(&["node_selinux_current_mode"], &[help], MetricKind::Gauge)
            .sample(&[], current.number());
        Ok(())
    }
}

impl Mode {
    fn number(self) -> f64 {
        match self {
            Self::Enforcing => 1.0,
            Self::Permissive => 0.0,
            Self::Disabled => -1.0,
        }
    }
}

/// The mode that the first `SELINUX=` line sets.
fn configured(config: &[u8]) -> Mode {
    let value = lines(config).find_map(|line| trim(line).strip_prefix(b"SELINUX="));
    match value {
        Some(b"enforcing" | b"\"enforcing\"") => Mode::Enforcing,
        Some(b"permissive" | b"\"permissive\"") => Mode::Permissive,
        _ => Mode::Disabled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_modes() {
        assert_eq!(
            configured(b"# SELINUX=permissive\nSELINUX=enforcing\nSELINUXTYPE=targeted\n"),
            Mode::Enforcing
        );
        assert_eq!(configured(b"SELINUX=\"permissive\"\n"), Mode::Permissive);
        assert_eq!(configured(b"SELINUX=disabled\n"), Mode::Disabled);
        assert_eq!(configured(b""), Mode::Disabled);
    }
}
