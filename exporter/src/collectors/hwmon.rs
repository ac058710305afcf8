//! `hwmon`: fans, temperatures, voltages and other sensors, from `/sys/class/hwmon`.

mod names;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::names::{Reading, clean, explode};
use crate::collect::device::Device;
use crate::collect::device_filter::DeviceFilter;
use crate::collect::samples::{Samples, gather};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_directories};

const CHIP_EXCLUDE: &str = "collector.hwmon.chip-exclude";
const CHIP_INCLUDE: &str = "collector.hwmon.chip-include";
const SENSOR_EXCLUDE: &str = "collector.hwmon.sensor-exclude";
const SENSOR_INCLUDE: &str = "collector.hwmon.sensor-include";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "hwmon",
    default_enabled: true,
    summary: "Fans, temperatures, voltages and other sensors, from /sys/class/hwmon.",
    options: &[
        OptionSpec::pattern(
            CHIP_EXCLUDE,
            "",
            "Regular expression of the chips to leave out.",
        ),
        OptionSpec::pattern(CHIP_INCLUDE, "", "Regular expression of the chips to show."),
        OptionSpec::pattern(
            SENSOR_EXCLUDE,
            "",
            "Regular expression of the sensors to leave out, matched against chip;sensor.",
        ),
        OptionSpec::pattern(
            SENSOR_INCLUDE,
            "",
            "Regular expression of the sensors to show, matched against chip;sensor.",
        ),
    ],
    build,
};

struct Hwmon {
    directory: PathBuf,
    chips: DeviceFilter,
    sensors: DeviceFilter,
}

/// A chip: its directory and its names.
struct Chip {
    path: PathBuf,
    /// Derived from the device that it belongs to. It is the same after every boot, but several chips may share it.
    stable_name: String,
    /// From its driver.
    driver_name: Vec<u8>,
}

/// The values of a chip's sensors: sensor, such as `temp1`, then property, such as `max`; the property is empty for the
/// value of a file without one.
type Sensors = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Hwmon {
        directory: context.sysfs("class/hwmon"),
        chips: DeviceFilter::from_both(context, CHIP_EXCLUDE, CHIP_INCLUDE)?,
        sensors: DeviceFilter::from_both(context, SENSOR_EXCLUDE, SENSOR_INCLUDE)?,
    }))
}

impl Collector for Hwmon {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = list_directories(&self.directory).map_err(CollectError::optional)?;
        let path = |name: &Vec<u8>| self.directory.join(String::from_utf8_lossy(name).as_ref());
        let chips: Vec<Chip> = names.iter().map(path).filter_map(Chip::open).collect();
        gather(out, |samples| {
            for chip in &chips {
                let name = chip.unique_name(&chips);
                if !self.chips.ignores(name.as_bytes()) {
                    self.add_chip(chip, &name, samples);
                }
            }
            Ok(())
        })
    }
}

impl Hwmon {
    fn add_chip(&self, chip: &Chip, name: &str, samples: &mut Samples) {
        let driver = clean(&String::from_utf8_lossy(&chip.driver_name));
        if !driver.is_empty() {
            samples.gauge(
                "node_hwmon_chip_names",
                "Name that the driver gives to the chip.",
                &[("chip", name.as_bytes()), ("chip_name", driver.as_bytes())],
                1,
            );
        }
        let mut sensors = Sensors::new();
        read_sensors(&chip.path, &mut sensors);
        // Older drivers store their values in the device's directory.
        read_sensors(&chip.path.join("device"), &mut sensors);
        for (sensor, properties) in &sensors {
            if !self.sensors.ignores(format!("{name};{sensor}").as_bytes()) {
                add_sensor(name, sensor, properties, samples);
            }
        }
    }
}

impl Chip {
    /// `None` for anything that is not a directory or has no name.
    fn open(path: PathBuf) -> Option<Self> {
        if !path.is_dir() {
            return None;
        }
        let driver_name = Device::open(&path).ok()?.label("name").unwrap_or_default();
        let stable_name = stable_name(&path, &driver_name)?;
        Some(Self {
            path,
            stable_name,
            driver_name,
        })
    }

    /// The stable name. For chips that share one, the driver's name is added if that makes them unique, otherwise the
    /// directory's name.
    fn unique_name(&self, all: &[Self]) -> String {
        let namesakes = || {
            all.iter()
                .filter(|chip| chip.stable_name == self.stable_name)
        };
        if namesakes().count() == 1 {
            return self.stable_name.clone();
        }
        let alike = namesakes()
            .filter(|chip| chip.driver_name == self.driver_name)
            .count();
        let mut suffix = clean(&String::from_utf8_lossy(&self.driver_name));
        if suffix.is_empty() || alike > 1 {
            suffix = clean(&last_part(&self.path));
        }
        format!("{}_{suffix}", self.stable_name)
    }
}

/// The name of the device that the chip belongs to, after its bus; without a device the driver's name, and without a driver
/// the directory's.
fn stable_name(path: &Path, driver_name: &[u8]) -> Option<String> {
    if let Ok(device) = path.join("device").canonicalize() {
        let name = clean(&last_part(&device));
        let bus = device
            .parent()
            .map(|bus| clean(&last_part(bus)))
            .unwrap_or_default();
        if !name.is_empty() {
            return Some(if bus.is_empty() {
                name
            } else {
                format!("{bus}_{name}")
            });
        }
    }
    let driver = clean(&String::from_utf8_lossy(driver_name));
    if !driver.is_empty() {
        return Some(driver);
    }
    let own = clean(&last_part(&path.canonicalize().ok()?));
    Some(own).filter(|name| !name.is_empty())
}

fn last_part(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Reads the sensors' files in a directory. Files that cannot be read are left out, because drivers refuse values that a
/// chip does not have.
fn read_sensors(directory: &Path, sensors: &mut Sensors) {
    let Ok(mut device) = Device::open(directory) else {
        return;
    };
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let Some((sensor, property)) = file.to_str().and_then(explode) else {
            continue;
        };
        let name = file.to_string_lossy();
        if let Ok(Some(value)) = device.text(&name) {
            let properties = sensors.entry(sensor.to_string()).or_default();
            properties.insert(property.to_owned(), value.to_vec());
        }
    }
}

fn add_sensor(
    chip: &str,
    sensor: &str,
    properties: &BTreeMap<String, Vec<u8>>,
    samples: &mut Samples,
) {
    let chip = chip.as_bytes();
    let label = properties.get("label");
    if let Some(label) = label {
        samples.gauge(
            "node_hwmon_sensor_label",
            "Label that the driver gives to the sensor.",
            &[
                ("chip", chip),
                ("label", label),
                ("sensor", sensor.as_bytes()),
            ],
            1,
        );
    }
    let kind = sensor.trim_end_matches(|digit: char| digit.is_ascii_digit());
    let has_bare_value = properties.contains_key("");
    for (property, text) in properties {
        let Some(reading) = Reading::of(kind, property, has_bare_value) else {
            continue;
        };
        let Some(value) = reading.value(text) else {
            continue;
        };
        let mut sensor = sensor.to_owned();
        if reading.sensor_is_its_label {
            match label {
                Some(label) => sensor = clean(&String::from_utf8_lossy(label)),
                None => continue,
            }
        }
        let labels = [("chip", chip), ("sensor", sensor.as_bytes())];
        samples.add(reading.family, reading.name, reading.help, &labels, value);
    }
}
