//! `rapl`: the energy that processors and memory used, from `/sys/class/powercap`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather, metric_name};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_directories, parse_u64};

const ZONE_LABEL: &str = "collector.rapl.enable-zone-label";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "rapl",
    default_enabled: true,
    summary: "Energy used by processors and memory, from /sys/class/powercap.",
    options: &[OptionSpec::switch(
        ZONE_LABEL,
        "false",
        "Show all zones in one family, with a label for the zone.",
    )],
    build,
};

struct Rapl {
    directory: PathBuf,
    zone_label: bool,
}

/// A part of the machine whose energy is counted.
#[derive(Debug, PartialEq, Eq)]
struct Zone {
    path: PathBuf,
    name: String,
    index: u64,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Rapl {
        directory: context.sysfs("class/powercap"),
        zone_label: context.switch(ZONE_LABEL)?,
    }))
}

impl Collector for Rapl {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let zones = discover(&self.directory)?;
        gather(out, |samples| {
            for zone in &zones {
                samples.device(&zone.path, |device, samples| {
                    self.add(device, zone, samples)
                });
            }
            Ok(())
        })
    }
}

fn discover(directory: &Path) -> Result<Vec<Zone>, CollectError> {
    let mut zones: Vec<Zone> = Vec::new();
    for entry in list_directories(directory).map_err(CollectError::optional)? {
        let path = directory.join(String::from_utf8_lossy(&entry).as_ref());
        let Some(mut zone) = Device::open_listed(&path)? else {
            continue;
        };
        let Some(name) = zone.text("name")?.map(<[u8]>::to_vec) else {
            continue;
        };
        let (name, index) = match split(&String::from_utf8_lossy(&name)) {
            (name, Some(index)) => (name, index),
            // Zones of the same name and without numbers are counted in the order in which they are found.
            (name, None) => {
                let before = zones.iter().rfind(|zone| zone.name == name);
                let index = before.map_or(0, |zone| zone.index + 1);
                (name, index)
            }
        };
        zones.push(Zone { path, name, index });
    }
    Ok(zones)
}

/// The name and the number of a zone called `package-1`; a name with more than one dash has none.
fn split(name: &str) -> (String, Option<u64>) {
    if let Some((before, after)) = name.split_once('-')
        && let Some(index) = parse_u64(after.as_bytes())
    {
        return (before.to_owned(), Some(index));
    }
    (name.to_owned(), None)
}

impl Rapl {
    fn add(
        &self,
        device: &mut Device,
        zone: &Zone,
        samples: &mut Samples,
    ) -> Result<(), CollectError> {
        // Only root may read the counters: they betray what runs.
        let Some(microjoules) = device.number("energy_uj")? else {
            return Ok(());
        };
        let joules = microjoules / 1_000_000.0;
        let (index, path) = (zone.index.to_string(), zone.path.as_os_str().as_bytes());
        let labels = [("index", index.as_bytes()), ("path", path)];
        if self.zone_label {
            let [index, path] = labels;
            let labels = [index, path, ("rapl_zone", zone.name.as_bytes())];
            let help = "Energy used by the zone, in joules.";
            samples.counter("node_rapl_joules_total", help, &labels, joules);
        } else {
            let name = format!("node_rapl_{}_joules_total", metric_name(&zone.name));
            let help = format!("Energy used by the {} zone, in joules.", zone.name);
            samples.counter(name, help, &labels, joules);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_zones() {
        assert_eq!(split("package-1"), ("package".into(), Some(1)));
        assert_eq!(split("core"), ("core".into(), None));
        assert_eq!(split("package-0-die-1"), ("package-0-die-1".into(), None));
    }
}
