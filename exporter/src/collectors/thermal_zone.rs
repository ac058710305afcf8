//! `thermal_zone`: temperatures and cooling devices, from `/sys/class/thermal`.

use std::path::{Path, PathBuf};

use crate::collect::device::{Device, name_after};
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_numbered};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "thermal_zone",
    default_enabled: true,
    summary: "Temperatures and cooling devices, from /sys/class/thermal.",
    options: &[],
    build,
};

const ZONE: &str = "thermal_zone";
const COOLING: &str = "cooling_device";

struct ThermalZone {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(ThermalZone {
        directory: context.sysfs("class/thermal"),
    }))
}

impl Collector for ThermalZone {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        gather(out, |samples| {
            for path in list_numbered(&self.directory, ZONE) {
                samples.device(&path, |device, samples| add_zone(device, &path, samples));
            }
            for path in list_numbered(&self.directory, COOLING) {
                samples.device(&path, |device, samples| {
                    add_cooling_device(device, &path, samples)
                });
            }
            Ok(())
        })
    }
}

fn add_zone(device: &mut Device, path: &Path, samples: &mut Samples) -> Result<(), CollectError> {
    // A sensor that is off has no temperature, which is not the same as zero degrees.
    let Some(millidegrees) = device.number("temp")? else {
        return Ok(());
    };
    let (kind, zone) = (device.label("type")?, name_after(path, ZONE));
    samples.gauge(
        "node_thermal_zone_temp",
        "Temperature of the thermal zone in degrees Celsius.",
        &[("type", &kind), ("zone", &zone)],
        millidegrees / 1000.0,
    );
    Ok(())
}

fn add_cooling_device(
    device: &mut Device,
    path: &Path,
    samples: &mut Samples,
) -> Result<(), CollectError> {
    let (Some(current), Some(most)) = (device.number("cur_state")?, device.number("max_state")?)
    else {
        return Ok(());
    };
    let (name, kind) = (name_after(path, COOLING), device.label("type")?);
    let labels: [(&str, &[u8]); 2] = [("name", &name), ("type", &kind)];
    samples.gauge(
        "node_cooling_device_cur_state",
        "Current state of the cooling device, from 0 for no cooling to its maximum state.",
        &labels,
        current,
    );
    samples.gauge(
        "node_cooling_device_max_state",
        "Maximum state of the cooling device.",
        &labels,
        most,
    );
    Ok(())
}
