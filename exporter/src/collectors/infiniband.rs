//! `infiniband`: InfiniBand and RoCE adapters and the counters of their ports, from `/sys/class/infiniband`.

mod counters;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::counters::{COUNTERS, Unit};
use crate::collect::device_filter::DeviceFilter;
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, Directory, ReadError, list_directories, parse_prefixed, parse_u64};

const EXCLUDE: &str = "collector.infiniband.device-exclude";
const INCLUDE: &str = "collector.infiniband.device-include";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "infiniband",
    default_enabled: true,
    summary: "InfiniBand and RoCE adapters, from /sys/class/infiniband.",
    options: &[
        OptionSpec::pattern(EXCLUDE, "", "Regular expression of adapters to leave out."),
        OptionSpec::pattern(INCLUDE, "", "Regular expression of adapters to show."),
    ],
    build,
};

/// The unit of the file `rate`, in bytes per second.
const GIGABIT: f64 = 125e6;

struct Infiniband {
    class: PathBuf,
    filter: DeviceFilter,
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Device {
    name: Vec<u8>,
    board: Vec<u8>,
    firmware: Vec<u8>,
    adapter: Vec<u8>,
    ports: Vec<Port>,
}

#[derive(Debug)]
struct Port {
    number: Vec<u8>,
    state: u64,
    physical_state: u64,
    bytes_per_second: u64,
    /// In the order of [`COUNTERS`].
    counters: Vec<Option<u64>>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Infiniband {
        class: context.sysfs("class/infiniband"),
        filter: DeviceFilter::from_both(context, EXCLUDE, INCLUDE)?,
        buffer: Vec::new(),
    }))
}

impl Collector for Infiniband {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut names = list_directories(&self.class).map_err(CollectError::optional)?;
        names.retain(|name| !self.filter.ignores(name));
        let mut skipped = Skipped::default();
        let mut devices = Vec::new();
        for name in names {
            let path = self.class.join(OsStr::from_bytes(&name));
            let device = read_device(name, path, &mut self.buffer, &mut skipped);
            devices.extend(skipped.part(device).flatten());
        }
        write_devices(&devices, out);
        write_states(&devices, out);
        write_counters(&devices, out);
        skipped.result()
    }
}

/// `None` if it has disappeared since it was listed.
fn read_device(
    name: Vec<u8>,
    path: PathBuf,
    buffer: &mut Vec<u8>,
    skipped: &mut Skipped,
) -> Result<Option<Device>, CollectError> {
    let mut device = Device {
        name,
        ..Device::default()
    };
    let Some(directory) = Directory::open_if_present(path.clone())? else {
        return Ok(None);
    };
    for (slot, file) in [
        (&mut device.board, "board_id"),
        (&mut device.firmware, "fw_ver"),
        (&mut device.adapter, "hca_type"),
    ] {
        slot.extend_from_slice(directory.read(file, buffer)?.unwrap_or_default());
    }
    if directory.has_vanished() {
        return Ok(None);
    }
    let ports = path.join("ports");
    for number in list_directories(&ports)? {
        let path = ports.join(OsStr::from_bytes(&number));
        let port = read_port(number, path, buffer);
        device.ports.extend(skipped.part(port).flatten());
    }
    Ok(Some(device))
}

/// `None` if it has disappeared since it was listed.
fn read_port(
    number: Vec<u8>,
    path: PathBuf,
    buffer: &mut Vec<u8>,
) -> Result<Option<Port>, CollectError> {
    let Some(directory) = Directory::open_if_present(path.clone())? else {
        return Ok(None);
    };
    let mut value = |file: &'static str, parse: fn(&[u8]) -> Option<u64>| {
        let text = directory.read(file, buffer)?.unwrap_or_default();
        parse(text).ok_or_else(|| CollectError::malformed(file, text))
    };
    let state = value("state", parse_state);
    let physical_state = value("phys_state", parse_state);
    let bytes_per_second = value("rate", parse_rate);
    if directory.has_vanished() {
        return Ok(None);
    }
    Ok(Some(Port {
        number,
        state: state?,
        physical_state: physical_state?,
        bytes_per_second: bytes_per_second?,
        counters: read_counters(&path, buffer)?,
    }))
}

/// Reads the counters of the adapter's driver; each driver has a different set of files.
fn read_counters(port: &Path, buffer: &mut Vec<u8>) -> Result<Vec<Option<u64>>, ReadError> {
    let mut counters = vec![None; COUNTERS.len()];
    for directory in ["counters", "counters_ext", "hw_counters"] {
        let Some(opened) = Directory::open_if_present(port.join(directory))? else {
            continue;
        };
        for (slot, counter) in counters.iter_mut().zip(&COUNTERS) {
            if counter.directory == directory {
                // Some drivers return a text instead of a number if there is none.
                let count = opened.read(counter.file, buffer)?.and_then(parse_prefixed);
                *slot = count.map(|count| counter.unit.scale(count));
            }
        }
    }
    Ok(counters)
}

/// `4: ACTIVE`
fn parse_state(text: &[u8]) -> Option<u64> {
    parse_u64(text.split(|&byte| byte == b':').next()?.trim_ascii())
}

/// `2.5 Gb/sec (1X SDR)`; whole bytes per second.
fn parse_rate(text: &[u8]) -> Option<u64> {
    let gigabits = str::from_utf8(text.split(|&byte| byte == b' ').next()?).ok()?;
    // node_exporter parses it in single precision, which affects the last digits.
    let gigabits: f32 = gigabits.parse().ok()?;
    Some((f64::from(gigabits) * GIGABIT) as u64)
}

fn write_devices(devices: &[Device], out: &mut Exposition) {
    let mut rows: Vec<_> = devices
        .iter()
        .map(|device| {
            [
                ("board_id", device.board.as_slice()),
                ("device", &device.name),
                ("firmware_version", &device.firmware),
                ("hca_type", &device.adapter),
            ]
        })
        .collect();
    rows.sort_unstable();
    let help = "Information about the InfiniBand adapter, in labels; the value is always 1.";
    let mut family = out.family(&["node_infiniband_info"], &[help], MetricKind::Gauge);
    for labels in &rows {
        family.sample(labels, 1);
    }
}

type Column = fn(&Port) -> u64;

fn write_states(devices: &[Device], out: &mut Exposition) {
    let columns: [(&str, &str, Column); 3] = [
        (
            "node_infiniband_physical_state_id",
            "Physical state of the port, as numbered by the kernel: 1 sleep, 2 polling, 3 disabled, 4 training, 5 link up, \
             6 recovery, 7 test.",
            |port| port.physical_state,
        ),
        (
            "node_infiniband_rate_bytes_per_second",
            "Maximum rate of the port's link.",
            |port| port.bytes_per_second,
        ),
        (
            "node_infiniband_state_id",
            "State of the port, as numbered by the kernel: 1 down, 2 initialized, 3 armed, 4 active, 5 active and deferred.",
            |port| port.state,
        ),
    ];
    for (name, help, value) in columns {
        let mut family = out.family(&[name], &[help], MetricKind::Gauge);
        for (device, port) in ports(devices) {
            family.sample(&labels(device, port), value(port));
        }
    }
}

fn write_counters(devices: &[Device], out: &mut Exposition) {
    for (place, counter) in COUNTERS.iter().enumerate() {
        let kind = match counter.unit {
            Unit::Milliseconds => MetricKind::Gauge,
            Unit::One | Unit::Words => MetricKind::Counter,
        };
        let name = ["node_infiniband_", counter.metric];
        let mut family = out.family(&name, &[counter.help], kind);
        for (device, port) in ports(devices) {
            if let Some(value) = port.counters.get(place).copied().flatten() {
                family.sample(&labels(device, port), value);
            }
        }
    }
}

fn ports(devices: &[Device]) -> impl Iterator<Item = (&Device, &Port)> {
    devices
        .iter()
        .flat_map(|device| device.ports.iter().map(move |port| (device, port)))
}

fn labels<'a>(device: &'a Device, port: &'a Port) -> [(&'static str, &'a [u8]); 2] {
    [("device", &device.name), ("port", &port.number)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_rates() {
        assert_eq!(parse_state(b"4: ACTIVE"), Some(4));
        assert_eq!(parse_state(b"ACTIVE"), None);
        assert_eq!(parse_rate(b"40 Gb/sec (4X QDR)"), Some(5_000_000_000));
        assert_eq!(parse_rate(b"2.5 Gb/sec (1X SDR)"), Some(312_500_000));
        assert_eq!(parse_rate(b"fast"), None);
    }

    #[test]
    fn a_port_shows_what_its_driver_counts() {
        let port = tempfile::tempdir().unwrap();
        let file = |path: &str, content: &str| {
            let path = port.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        file("counters/port_rcv_data", "3\n");
        file("counters/symbol_error", "N/A (no PMA)\n");
        file("hw_counters/lifespan", "2500\n");
        let counters = read_counters(port.path(), &mut Vec::new()).unwrap();
        let seen: Vec<_> = counters
            .iter()
            .zip(&COUNTERS)
            .filter_map(|(value, counter)| Some((counter.metric, (*value)?)))
            .collect();
        assert_eq!(
            seen,
            [
                ("lifespan_seconds", 2),
                ("port_data_received_bytes_total", 12)
            ]
        );
    }
}
