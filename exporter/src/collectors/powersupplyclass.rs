//! `powersupplyclass`: batteries and mains, from `/sys/class/power_supply`.

use std::path::PathBuf;

use crate::collect::Pattern;
use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_directories};

const IGNORED: &str = "collector.powersupply.ignored-supplies";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "powersupplyclass",
    default_enabled: true,
    summary: "Batteries and other power supplies, from /sys/class/power_supply.",
    options: &[OptionSpec::pattern(
        IGNORED,
        "^$",
        "Regular expression of the power supplies to leave out.",
    )],
    build,
};

/// Attributes shown as they are, in base units that the kernel gives in millionths, and in tenths of a degree; each
/// with the end of its metric's name.
const PLAIN: [(&str, &str); 10] = [
    ("authentic", "authentic"),
    ("calibrate", "calibrate"),
    ("capacity", "capacity"),
    ("capacity_alert_max", "capacity_alert_max"),
    ("capacity_alert_min", "capacity_alert_min"),
    ("cycle_count", "cyclecount"),
    ("online", "online"),
    ("present", "present"),
    ("time_to_empty_now", "time_to_empty_seconds"),
    ("time_to_full_now", "time_to_full_seconds"),
];
const MILLIONTHS: [(&str, &str); 31] = [
    ("charge_control_limit", "charge_control_limit"),
    ("charge_control_limit_max", "charge_control_limit_max"),
    ("charge_counter", "charge_counter"),
    ("charge_empty", "charge_empty"),
    ("charge_empty_design", "charge_empty_design"),
    ("charge_full", "charge_full"),
    ("charge_full_design", "charge_full_design"),
    ("charge_now", "charge_ampere"),
    ("charge_term_current", "charge_term_current"),
    ("constant_charge_current", "constant_charge_current"),
    ("constant_charge_current_max", "constant_charge_current_max"),
    ("constant_charge_voltage", "constant_charge_voltage"),
    ("constant_charge_voltage_max", "constant_charge_voltage_max"),
    ("current_boot", "current_boot"),
    ("current_max", "current_max"),
    ("current_now", "current_ampere"),
    ("energy_empty", "energy_empty"),
    ("energy_empty_design", "energy_empty_design"),
    ("energy_full", "energy_full"),
    ("energy_full_design", "energy_full_design"),
    ("energy_now", "energy_watthour"),
    ("input_current_limit", "input_current_limit"),
    ("power_now", "power_watt"),
    ("precharge_current", "precharge_current"),
    ("voltage_boot", "voltage_boot"),
    ("voltage_max", "voltage_max"),
    ("voltage_max_design", "voltage_max_design"),
    ("voltage_min", "voltage_min"),
    ("voltage_min_design", "voltage_min_design"),
    ("voltage_now", "voltage_volt"),
    ("voltage_ocv", "voltage_ocv"),
];
const TENTHS: [(&str, &str); 8] = [
    ("temp", "temp_celsius"),
    ("temp_alert_max", "temp_alert_max_celsius"),
    ("temp_alert_min", "temp_alert_min_celsius"),
    ("temp_ambient", "temp_ambient_celsius"),
    ("temp_ambient_max", "temp_ambient_max_celsius"),
    ("temp_ambient_min", "temp_ambient_min_celsius"),
    ("temp_max", "temp_max_celsius"),
    ("temp_min", "temp_min_celsius"),
];
/// The labels of the description before the name's, and after it.
const LABELS_BEFORE: [&str; 5] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
];
const LABELS_AFTER: [&str; 6] = [
    "scope",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];

struct PowerSupplyClass {
    directory: PathBuf,
    ignored: Option<Pattern>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(PowerSupplyClass {
        directory: context.sysfs("class/power_supply"),
        ignored: context.pattern(IGNORED)?,
    }))
}

impl Collector for PowerSupplyClass {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = list_directories(&self.directory).map_err(CollectError::optional)?;
        gather(out, |samples| {
            for name in &names {
                if self
                    .ignored
                    .as_ref()
                    .is_some_and(|ignored| ignored.is_match(name))
                {
                    continue;
                }
                let path = self.directory.join(String::from_utf8_lossy(name).as_ref());
                samples.device(&path, |device, samples| add_supply(device, name, samples));
            }
            Ok(())
        })
    }
}

fn add_supply(device: &mut Device, name: &[u8], samples: &mut Samples) -> Result<(), CollectError> {
    let scaled = [
        (PLAIN.as_slice(), 1.0),
        (MILLIONTHS.as_slice(), 1e6),
        (TENTHS.as_slice(), 10.0),
    ];
    for (attributes, divisor) in scaled {
        for (attribute, suffix) in attributes {
            if let Some(value) = device.number(attribute)? {
                let help = format!("Attribute {attribute} of the power supply, in base units.");
                let labels = [("power_supply", name)];
                samples.gauge(
                    format!("node_power_supply_{suffix}"),
                    help,
                    &labels,
                    value / divisor,
                );
            }
        }
    }
    let mut labels = read_labels(device, &LABELS_BEFORE)?;
    labels.push(("power_supply", name.to_vec()));
    labels.extend(read_labels(device, &LABELS_AFTER)?);
    let labels: Vec<(&'static str, &[u8])> = labels
        .iter()
        .map(|(name, value)| (*name, value.as_slice()))
        .collect();
    let help = "Information about the power supply, in labels.";
    samples.gauge("node_power_supply_info", help, &labels, 1);
    Ok(())
}

/// The attributes that have a value.
fn read_labels(
    device: &mut Device,
    attributes: &[&'static str],
) -> Result<Vec<(&'static str, Vec<u8>)>, CollectError> {
    let mut labels = Vec::new();
    for attribute in attributes {
        let value = device.label(attribute)?;
        if !value.is_empty() {
            labels.push((*attribute, value));
        }
    }
    Ok(labels)
}
