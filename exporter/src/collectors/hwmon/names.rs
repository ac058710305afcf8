//! Maps the files of `/sys/class/hwmon` to metrics: names, units and factors.

use std::fmt;

use crate::exposition::MetricKind;

/// The types of sensors that are shown.
const KINDS: [&str; 14] = [
    "beep_enable",
    "cpu",
    "curr",
    "energy",
    "fan",
    "freq",
    "humidity",
    "in",
    "intrusion",
    "power",
    "pwm",
    "temp",
    "update_interval",
    "vrm",
];

/// A sensor's type and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sensor<'a> {
    kind: &'a str,
    number: u32,
}

impl fmt::Display for Sensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, self.number)
    }
}

/// Returns the sensor and the property of a file such as `temp1_crit_alarm`; the property of `pwm1` is empty. `None` for
/// other files.
pub(super) fn explode(file: &str) -> Option<(Sensor<'_>, &str)> {
    let kind_end = file
        .find(|c: char| c.is_ascii_digit())
        .unwrap_or(file.len());
    let (kind, rest) = file.split_at_checked(kind_end)?;
    let number_end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (number, rest) = rest.split_at_checked(number_end)?;
    let number = if number.is_empty() {
        0
    } else {
        number.parse().ok()?
    };
    let property = match rest {
        "" => "",
        _ => rest
            .strip_prefix('_')
            .filter(|property| !property.is_empty())?,
    };
    KINDS
        .contains(&kind)
        .then_some((Sensor { kind, number }, property))
}

/// The text in lower case, with everything except letters, digits, colons and underscores replaced, and without underscores
/// at both ends.
pub(super) fn clean(text: &str) -> String {
    let replace = |c: char| match c {
        'a'..='z' | '0'..='9' | ':' | '_' => c,
        _ => '_',
    };
    let replaced: String = text.to_lowercase().chars().map(replace).collect();
    replaced.trim_matches('_').to_owned()
}

/// How a value is shown.
#[derive(Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) family: MetricKind,
    /// Whether the sensor is shown with its label, like the clocks of graphics cards.
    pub(super) sensor_is_its_label: bool,
    scale: Scale,
}

/// Converts the driver's number to base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    One,
    Thousandths,
    Millionths,
    /// One for `1` and zero for anything else.
    Switch,
}

use Scale::{Millionths, One, Switch, Thousandths};

impl Reading {
    /// Returns how a property of this type of sensor is shown; `None` if it is not shown.
    pub(super) fn of(kind: &str, property: &str, has_bare_value: bool) -> Option<Self> {
        match (kind, property) {
            (_, "label") => return None,
            ("beep_enable", "") => {
                return Some(Self::alone(
                    "beep_enabled",
                    "Whether beeping is enabled on the chip.",
                    Switch,
                ));
            }
            ("vrm", "") => {
                let help = "Version of the voltage regulator.";
                return Some(Self::alone("voltage_regulator_version", help, One));
            }
            ("update_interval", "") => {
                let help = "Interval at which the chip updates its readings.";
                return Some(Self::alone("update_interval_seconds", help, Thousandths));
            }
            ("beep_enable" | "vrm" | "update_interval", _) => return None,
            _ => {}
        }
        let mut name = format!("node_hwmon_{kind}");
        // The input is the value itself, unless there is also a file for the value.
        if !property.is_empty() && (property != "input" || has_bare_value) {
            name.push('_');
            name.push_str(&clean(property));
        }
        let (unit, scale) = unit(kind, property)?;
        name.push_str(unit);
        let shown = if property.is_empty() {
            "value"
        } else {
            property
        };
        Some(Self {
            name,
            help: format!("Hardware monitoring: {shown} of {kind} sensors."),
            family: if unit == "_joule_total" {
                MetricKind::Counter
            } else {
                MetricKind::Gauge
            },
            sensor_is_its_label: (kind, property) == ("freq", "input"),
            scale,
        })
    }

    /// A property of the chip.
    fn alone(name: &str, help: &str, scale: Scale) -> Self {
        Self {
            name: format!("node_hwmon_{name}"),
            help: help.to_owned(),
            family: MetricKind::Gauge,
            sensor_is_its_label: false,
            scale,
        }
    }

    /// The value in base units; `None` if the text is not a number.
    pub(super) fn value(&self, text: &[u8]) -> Option<f64> {
        if self.scale == Switch {
            return Some(f64::from(u8::from(text == b"1")));
        }
        let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        // Multiplied or divided exactly as in node_exporter, because this affects the last digit.
        Some(match self.scale {
            One | Switch => number,
            Thousandths => number * 0.001,
            Millionths => number / 1_000_000.0,
        })
    }
}

/// The end of the name and the scale.
fn unit(kind: &str, property: &str) -> Option<(&'static str, Scale)> {
    Some(match (kind, property) {
        (_, "fault" | "alarm") => ("", One),
        (_, "beep") => ("_enabled", One),
        ("in" | "cpu", _) => ("_volts", Thousandths),
        ("temp", "type") => ("", One),
        ("temp", _) => ("_celsius", Thousandths),
        ("curr", _) => ("_amps", Thousandths),
        ("energy", _) => ("_joule_total", Millionths),
        ("power", "accuracy") => ("", Millionths),
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            ("_seconds", Thousandths)
        }
        ("power", _) => ("_watt", Millionths),
        ("humidity", _) => ("", Millionths),
        ("fan", "input" | "min" | "max" | "target") => ("_rpm", One),
        ("freq", "input") => ("_freq_mhz", Millionths),
        _ => ("", One),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_apart() {
        let parts = |file| explode(file).map(|(sensor, property)| (sensor.to_string(), property));
        assert_eq!(
            parts("temp1_crit_alarm"),
            Some(("temp1".into(), "crit_alarm"))
        );
        assert_eq!(parts("pwm2"), Some(("pwm2".into(), "")));
        assert_eq!(
            parts("pwm1_auto_point1_temp"),
            Some(("pwm1".into(), "auto_point1_temp"))
        );
        assert_eq!(
            parts("update_interval"),
            Some(("update_interval0".into(), ""))
        );
        assert_eq!(parts("name"), None);
        assert_eq!(parts("temp1input"), None);
        assert_eq!(parts("temp1_"), None);
        assert_eq!(parts("temp99999999999_input"), None);
    }

    #[test]
    fn names_units_and_factors() {
        let shown = |kind, property, text: &str| {
            let reading = Reading::of(kind, property, false).unwrap();
            let value = reading.value(text.as_bytes()).unwrap();
            (reading.name, value)
        };
        for (kind, property, text, name, value) in [
            ("temp", "input", "26000", "node_hwmon_temp_celsius", 26.0),
            (
                "temp",
                "crit_alarm",
                "0",
                "node_hwmon_temp_crit_alarm_celsius",
                0.0,
            ),
            ("temp", "type", "4", "node_hwmon_temp_type", 4.0),
            ("fan", "input", "1200", "node_hwmon_fan_rpm", 1200.0),
            ("fan", "min", "-1", "node_hwmon_fan_min_rpm", -1.0),
            ("fan", "pulses", "2", "node_hwmon_fan_pulses", 2.0),
            ("fan", "alarm", "1", "node_hwmon_fan_alarm", 1.0),
            ("fan", "beep", "1", "node_hwmon_fan_beep_enabled", 1.0),
            ("in", "max", "1744", "node_hwmon_in_max_volts", 1.744),
            ("curr", "input", "500", "node_hwmon_curr_amps", 0.5),
            (
                "power",
                "average",
                "1500000",
                "node_hwmon_power_average_watt",
                1.5,
            ),
            (
                "power",
                "average_interval",
                "1000",
                "node_hwmon_power_average_interval_seconds",
                1.0,
            ),
            (
                "power",
                "accuracy",
                "500000",
                "node_hwmon_power_accuracy",
                0.5,
            ),
            ("humidity", "input", "55000", "node_hwmon_humidity", 0.055),
            (
                "freq",
                "input",
                "214000000",
                "node_hwmon_freq_freq_mhz",
                214.0,
            ),
            ("pwm", "", "128", "node_hwmon_pwm", 128.0),
            (
                "vrm",
                "",
                "90",
                "node_hwmon_voltage_regulator_version",
                90.0,
            ),
            (
                "update_interval",
                "",
                "1000",
                "node_hwmon_update_interval_seconds",
                1.0,
            ),
            ("beep_enable", "", "2", "node_hwmon_beep_enabled", 0.0),
        ] {
            assert_eq!(shown(kind, property, text), (name.to_owned(), value));
        }
        let energy = Reading::of("energy", "input", false).unwrap();
        assert_eq!(
            (energy.name.as_str(), energy.family),
            ("node_hwmon_energy_joule_total", MetricKind::Counter)
        );
        let beside = Reading::of("fan", "input", true).unwrap();
        assert_eq!(beside.name, "node_hwmon_fan_input_rpm");
        assert_eq!(Reading::of("temp", "label", false), None);
        assert_eq!(beside.value(b"N/A"), None);
    }

    #[test]
    fn names_are_cleaned() {
        assert_eq!(clean("Coretemp.0\n"), "coretemp_0");
        assert_eq!(clean("_Tctl (max)"), "tctl__max");
        assert_eq!(clean("--"), "");
    }
}
