//! `nvme`: NVMe controllers and their namespaces, from `/sys/class/nvme`.

use std::path::PathBuf;

use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_directories};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "nvme",
    default_enabled: true,
    summary: "NVMe controllers and namespaces, from /sys/class/nvme.",
    options: &[],
    build,
};

struct Nvme {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Nvme {
        directory: context.sysfs("class/nvme"),
    }))
}

impl Collector for Nvme {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = list_directories(&self.directory).map_err(CollectError::optional)?;
        gather(out, |samples| {
            for name in &names {
                let path = self.directory.join(String::from_utf8_lossy(name).as_ref());
                samples.device(&path, |device, samples| {
                    add_controller(device, name, samples)
                });
                let inside = match list_directories(&path) {
                    Err(error) if error.is_absent() => continue,
                    inside => samples.skipped.part(inside),
                };
                for namespace in inside.unwrap_or_default() {
                    if let Some(id) = namespace_id(&namespace) {
                        let path = path.join(String::from_utf8_lossy(&namespace).as_ref());
                        samples.device(&path, |namespace, samples| {
                            add_namespace(namespace, name, id, samples)
                        });
                    }
                }
            }
            Ok(())
        })
    }
}

fn add_controller(
    device: &mut Device,
    name: &[u8],
    samples: &mut Samples,
) -> Result<(), CollectError> {
    samples.gauge(
        "node_nvme_info",
        "Information about the NVMe controller, in labels.",
        &[
            ("cntlid", &device.label("cntlid")?),
            ("device", name),
            ("firmware_revision", &device.label("firmware_rev")?),
            ("model", &device.label("model")?),
            ("serial", &device.label("serial")?),
            ("state", &device.label("state")?),
        ],
        1,
    );
    Ok(())
}

/// The number of a namespace's directory, which is called `nvme0n1`.
fn namespace_id(directory: &[u8]) -> Option<&[u8]> {
    let rest = directory.strip_prefix(b"nvme")?;
    let split = rest.iter().rposition(|&byte| byte == b'n')?;
    let (controller, [_, id @ ..]) = rest.split_at_checked(split)? else {
        return None;
    };
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    (digits(controller) && digits(id)).then_some(id)
}

fn add_namespace(
    namespace: &mut Device,
    device: &[u8],
    id: &[u8],
    samples: &mut Samples,
) -> Result<(), CollectError> {
    let state = match namespace.text("ana_state")? {
        Some(state) => state.to_vec(),
        None => b"unknown".to_vec(),
    };
    let labels = [
        ("ana_state", state.as_slice()),
        ("device", device),
        ("nsid", id),
    ];
    let help = "Information about the namespace, such as its multipath (ANA) state, in labels.";
    samples.gauge("node_nvme_namespace_info", help, &labels, 1);

    let block = namespace.required("queue/logical_block_size")?;
    let size = namespace.required("size")? * block;
    let used = namespace.required("nuse")? * block;
    let labels = [("device", device), ("nsid", id)];
    for (name, help, bytes) in [
        (
            "node_nvme_namespace_capacity_bytes",
            "Capacity of the namespace.",
            size,
        ),
        (
            "node_nvme_namespace_logical_block_size_bytes",
            "Size of a logical block of the namespace.",
            block,
        ),
        (
            "node_nvme_namespace_size_bytes",
            "Size of the namespace.",
            size,
        ),
        (
            "node_nvme_namespace_used_bytes",
            "Used space of the namespace.",
            used,
        ),
    ] {
        samples.gauge(name, help, &labels, bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_among_other_directories() {
        assert_eq!(namespace_id(b"nvme0n1"), Some(b"1".as_slice()));
        assert_eq!(namespace_id(b"nvme12n34"), Some(b"34".as_slice()));
        for other in ["nvme0", "power", "nvmen1", "nvme0n", "hwmon1"] {
            assert_eq!(namespace_id(other.as_bytes()), None, "{other}");
        }
    }
}
