//! `dmi`: information about the machine from its firmware, from `/sys/class/dmi/id`.

use std::path::PathBuf;

use crate::collect::device::Device;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::Deadline;

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "dmi",
    default_enabled: true,
    summary: "Vendor and model of the machine, from /sys/class/dmi.",
    options: &[],
    build,
};

/// The labels in order, each with the attribute that it shows.
const LABELS: [(&str, &str); 20] = [
    ("bios_date", "bios_date"),
    ("bios_release", "bios_release"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_asset_tag", "board_asset_tag"),
    ("board_name", "board_name"),
    ("board_serial", "board_serial"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_asset_tag", "chassis_asset_tag"),
    ("chassis_serial", "chassis_serial"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("product_family", "product_family"),
    ("product_name", "product_name"),
    ("product_serial", "product_serial"),
    ("product_sku", "product_sku"),
    ("product_uuid", "product_uuid"),
    ("product_version", "product_version"),
    ("system_vendor", "sys_vendor"),
];

struct Dmi {
    directory: PathBuf,
    labels: Vec<(&'static str, Vec<u8>)>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Dmi {
        directory: context.sysfs("class/dmi/id"),
        labels: Vec::new(),
    }))
}

impl Collector for Dmi {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        // Read only once, because the kernel does not change these values until the next boot.
        if self.labels.is_empty() {
            self.discover()?;
        }
        let labels: Vec<(&str, &[u8])> = self
            .labels
            .iter()
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        let help = "Information about the machine from its firmware, in labels; fields that cannot be read are left out.";
        out.family(&["node_dmi_info"], &[help], MetricKind::Gauge)
            .sample(&labels, 1);
        Ok(())
    }
}

impl Dmi {
    fn discover(&mut self) -> Result<(), CollectError> {
        let mut device = Device::open(&self.directory).map_err(CollectError::optional)?;
        for (label, attribute) in LABELS {
            if let Some(text) = device.text(attribute)? {
                self.labels.push((label, text.to_vec()));
            }
        }
        Ok(())
    }
}
