//! `pcidevice`: the devices on the PCI buses, their links and power states, from sysfs.

mod names;

use std::path::{Path, PathBuf};

use self::names::{Ids, Names};
use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::Exposition;
use crate::sources::{Deadline, ReadError, list_directories, parse_prefixed};

const IDS_FILE: &str = "collector.pcidevice.idsfile";
const NAMES: &str = "collector.pcidevice.names";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "pcidevice",
    default_enabled: false,
    summary: "PCI devices, their links and power states, from /sys/bus/pci.",
    options: &[
        OptionSpec::texts(
            IDS_FILE,
            "Path of pci.ids, the file with the names of devices; by default the host's own below /usr/share.",
        ),
        OptionSpec::switch(
            NAMES,
            "false",
            "Show the names of vendors, devices and classes, from pci.ids.",
        ),
    ],
    build,
};

const STATES: [&str; 7] = ["D0", "D1", "D2", "D3cold", "D3hot", "error", "unknown"];
/// The value for a device that does not report one.
const UNKNOWN: f64 = -1.0;

struct Pcidevice {
    directory: PathBuf,
    names: Option<Names>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let names = context.switch(NAMES)?.then(|| {
        let file = context.texts(IDS_FILE).next().map(PathBuf::from);
        Names::new(file, &context.settings().rootfs)
    });
    Ok(Box::new(Pcidevice {
        directory: context.sysfs("bus/pci/devices"),
        names,
    }))
}

impl Collector for Pcidevice {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = list_directories(&self.directory).map_err(CollectError::optional)?;
        gather(out, |samples| {
            for name in names {
                let path = self.directory.join(String::from_utf8_lossy(&name).as_ref());
                samples.device(&path, |device, samples| self.add(device, &path, samples));
            }
            Ok(())
        })
    }
}

/// The location of a device, from its name: `0000:00:1f.2`.
#[derive(Debug, PartialEq, Eq)]
struct Location {
    segment: String,
    bus: String,
    device: String,
    function: String,
}

impl Location {
    fn parse(name: &str) -> Option<Self> {
        let (rest, function) = name.split_once('.')?;
        let mut parts = rest.split(':');
        let mut number = |width: usize| {
            let number = u32::from_str_radix(parts.next()?, 16).ok()?;
            Some(format!("{number:0width$x}"))
        };
        let (segment, bus, device) = (number(4)?, number(2)?, number(2)?);
        let function = u32::from_str_radix(function, 16).ok()?;
        parts.next().is_none().then(|| Self {
            segment,
            bus,
            device,
            function: format!("{function:x}"),
        })
    }

    /// No device: what the bus begins with.
    fn root() -> Self {
        let any = || "*".to_owned();
        Self {
            segment: any(),
            bus: any(),
            device: any(),
            function: any(),
        }
    }

    fn labels(&self) -> [(&'static str, &[u8]); 4] {
        [
            ("bus", self.bus.as_bytes()),
            ("device", self.device.as_bytes()),
            ("function", self.function.as_bytes()),
            ("segment", self.segment.as_bytes()),
        ]
    }
}

/// A device and its parent: the link's target contains every bridge.
fn locate(path: &Path) -> Result<(Location, Location), CollectError> {
    let target = std::fs::read_link(path).map_err(|source| ReadError::new(path, source))?;
    let name =
        |path: Option<&Path>| -> Option<Location> { Location::parse(path?.file_name()?.to_str()?) };
    let own = name(Some(&target)).ok_or_else(|| CollectError::Attribute {
        path: path.to_owned(),
        text: target.display().to_string(),
    })?;
    Ok((own, name(target.parent()).unwrap_or_else(Location::root)))
}

impl Pcidevice {
    fn add(
        &mut self,
        device: &mut Device,
        path: &Path,
        samples: &mut Samples,
    ) -> Result<(), CollectError> {
        let (own, parent) = locate(path)?;
        self.add_info(device, &own, &parent, samples)?;
        add_numbers(device, &own, samples)?;
        if let Some(state) = device.text("power_state")?.map(<[u8]>::to_vec) {
            for known in STATES {
                let [bus, slot, function, segment] = own.labels();
                samples.gauge(
                    "node_pcidevice_power_state",
                    "Power state of the device; 1 for the current state.",
                    &[bus, slot, function, segment, ("state", known.as_bytes())],
                    u64::from(known.as_bytes() == state),
                );
            }
        }
        Ok(())
    }

    fn add_info(
        &mut self,
        device: &mut Device,
        own: &Location,
        parent: &Location,
        samples: &mut Samples,
    ) -> Result<(), CollectError> {
        let mut hexadecimal = |file: &str, width: usize| -> Result<String, CollectError> {
            let number = device.required_text(file)?;
            let number = parse_prefixed(&number)
                .ok_or_else(|| CollectError::malformed("bus/pci/devices", &number))?;
            Ok(format!("{number:0width$x}"))
        };
        let ids = Ids {
            class: hexadecimal("class", 6)?,
            vendor: hexadecimal("vendor", 4)?,
            device: hexadecimal("device", 4)?,
            subsystem_vendor: hexadecimal("subsystem_vendor", 4)?,
            subsystem_device: hexadecimal("subsystem_device", 4)?,
        };
        let revision = hexadecimal("revision", 2)?;
        let prefixed = |id: &str| format!("0x{id}").into_bytes();
        let [bus, slot, function, segment] = own.labels();
        let mut labels: Vec<(&'static str, Vec<u8>)> = [bus, slot, function, segment]
            .map(|(name, value)| (name, value.to_vec()))
            .into();
        labels.extend([
            ("class_id", prefixed(&ids.class)),
            ("device_id", prefixed(&ids.device)),
            ("parent_bus", parent.bus.clone().into()),
            ("parent_device", parent.device.clone().into()),
            ("parent_function", parent.function.clone().into()),
            ("parent_segment", parent.segment.clone().into()),
            ("revision", prefixed(&revision)),
            ("subsystem_device_id", prefixed(&ids.subsystem_device)),
            ("subsystem_vendor_id", prefixed(&ids.subsystem_vendor)),
            ("vendor_id", prefixed(&ids.vendor)),
        ]);
        if let Some(names) = &mut self.names {
            let found = names.find(&ids);
            labels.extend([
                ("class_name", found.class.into_bytes()),
                ("device_name", found.device.into_bytes()),
                ("subsystem_device_name", found.subsystem_device.into_bytes()),
                ("subsystem_vendor_name", found.subsystem_vendor.into_bytes()),
                ("vendor_name", found.vendor.into_bytes()),
            ]);
        }
        labels.sort_unstable_by_key(|(name, _)| *name);
        let labels: Vec<(&'static str, &[u8])> = labels
            .iter()
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        let help = "Information about the PCI device and its location, in labels.";
        samples.gauge("node_pcidevice_info", help, &labels, 1);
        Ok(())
    }
}

/// Metrics of every device, with 0 if it does not report a value.
const NUMBERS: [(&str, &str, &str); 5] = [
    (
        "d3cold_allowed",
        "node_pcidevice_d3cold_allowed",
        "Whether the device may enter the power state D3cold.",
    ),
    (
        "sriov_drivers_autoprobe",
        "node_pcidevice_sriov_drivers_autoprobe",
        "Whether drivers are bound to new virtual functions automatically.",
    ),
    (
        "sriov_numvfs",
        "node_pcidevice_sriov_numvfs",
        "Number of enabled virtual functions.",
    ),
    (
        "sriov_totalvfs",
        "node_pcidevice_sriov_totalvfs",
        "Maximum number of virtual functions of the device.",
    ),
    (
        "sriov_vf_total_msix",
        "node_pcidevice_sriov_vf_total_msix",
        "Total number of MSI-X vectors for the virtual functions.",
    ),
];

fn add_numbers(
    device: &mut Device,
    own: &Location,
    samples: &mut Samples,
) -> Result<(), CollectError> {
    let labels = own.labels();
    for (file, name, help) in NUMBERS {
        let number = device.number(file)?.unwrap_or_default();
        let is_switch = matches!(file, "d3cold_allowed" | "sriov_drivers_autoprobe");
        let shown = if is_switch {
            f64::from(number != 0.0)
        } else {
            number
        };
        samples.gauge(name, help, &labels, shown);
    }
    for (file, name, help) in [
        (
            "current_link_speed",
            "node_pcidevice_current_link_transfers_per_second",
            "Current transfer rate of the link, in transfers per second.",
        ),
        (
            "max_link_speed",
            "node_pcidevice_max_link_transfers_per_second",
            "Maximum transfer rate of the link, in transfers per second.",
        ),
    ] {
        let speed = device.text(file)?.and_then(transfers_per_second);
        samples.gauge(name, help, &labels, speed.unwrap_or(UNKNOWN));
    }
    for (file, name, help) in [
        (
            "current_link_width",
            "node_pcidevice_current_link_width",
            "Current number of lanes of the link.",
        ),
        (
            "max_link_width",
            "node_pcidevice_max_link_width",
            "Maximum number of lanes of the link.",
        ),
    ] {
        let told = device.text(file)?.is_some_and(is_known);
        let width = if told { device.number(file)? } else { None };
        samples.gauge(name, help, &labels, width.unwrap_or(UNKNOWN));
    }
    // -1 means that there is none.
    if let Some(node) = device.number("numa_node")?.filter(|node| *node != UNKNOWN) {
        let help = "NUMA node that the device is attached to.";
        samples.gauge("node_pcidevice_numa_node", help, &labels, node);
    }
    Ok(())
}

fn is_known(text: &[u8]) -> bool {
    !text.is_empty() && !text.starts_with(b"Unknown")
}

/// From `8.0 GT/s PCIe`; older kernels leave out the last word.
fn transfers_per_second(text: &[u8]) -> Option<f64> {
    let (number, _) = std::str::from_utf8(text).ok()?.split_once(" GT/s")?;
    let billions: f64 = number.parse().ok()?;
    Some(billions * 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_in_full() {
        let location = Location::parse("0000:3b:1f.a").unwrap();
        let parts = [
            &location.segment,
            &location.bus,
            &location.device,
            &location.function,
        ];
        assert_eq!(parts, ["0000", "3b", "1f", "a"]);
        // A segment made up by a driver has five digits.
        assert_eq!(Location::parse("10000:e1:00.0").unwrap().segment, "10000");
        for other in [
            "pci0000:00",
            "0000:00:00",
            "0000:00.0",
            "0:0:0:0.0",
            "x:00:00.0",
        ] {
            assert_eq!(Location::parse(other), None, "{other}");
        }
    }

    #[test]
    fn speeds() {
        assert_eq!(transfers_per_second(b"8.0 GT/s PCIe"), Some(8e9));
        assert_eq!(transfers_per_second(b"2.5 GT/s"), Some(2.5e9));
        assert_eq!(transfers_per_second(b"Unknown"), None);
    }
}
