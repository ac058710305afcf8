//! `cpu_vulnerabilities`: known CPU vulnerabilities and their mitigations, from sysfs.

use std::path::PathBuf;

use crate::collect::device::Device;
use crate::collect::samples::gather;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_files};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "cpu_vulnerabilities",
    default_enabled: false,
    summary: "Known CPU vulnerabilities and their mitigations, from sysfs.",
    options: &[],
    build,
};

struct CpuVulnerabilities {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(CpuVulnerabilities {
        directory: context.sysfs("devices/system/cpu/vulnerabilities"),
    }))
}

impl Collector for CpuVulnerabilities {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = match list_files(&self.directory) {
            // The architecture has none, or the kernel does not report them.
            Err(error) if error.is_absent() => return Ok(()),
            names => names?,
        };
        let mut directory = Device::open(&self.directory)?;
        gather(out, |samples| {
            for name in &names {
                let text = directory.label(&String::from_utf8_lossy(name))?;
                let text = String::from_utf8_lossy(&text);
                let (state, mitigation) = understand(&text);
                samples.gauge(
                    "node_cpu_vulnerabilities_info",
                    "Known CPU vulnerability and its mitigation, in labels.",
                    &[
                        ("codename", name),
                        ("mitigation", mitigation.as_bytes()),
                        ("state", state.as_bytes()),
                    ],
                    1,
                );
            }
            Ok(())
        })
    }
}

/// The state and the mitigation, from a text such as `Mitigation: PTI`.
fn understand(text: &str) -> (&'static str, String) {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("not affected") {
        return ("not affected", String::new());
    }
    let known = ["vulnerable", "mitigation", "unknown"];
    match known.iter().find(|state| lower.starts_with(**state)) {
        Some(state) => {
            let words: Vec<&str> = text.split_whitespace().skip(1).collect();
            (state, words.join(" "))
        }
        None => ("unknown", text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_mitigations() {
        assert_eq!(understand("Not affected"), ("not affected", String::new()));
        assert_eq!(
            understand("Mitigation: PTE  Inversion; VMX"),
            ("mitigation", "PTE Inversion; VMX".into())
        );
        assert_eq!(understand("Vulnerable"), ("vulnerable", String::new()));
        assert_eq!(
            understand("KVM: Mitigation"),
            ("unknown", "KVM: Mitigation".into())
        );
    }
}
