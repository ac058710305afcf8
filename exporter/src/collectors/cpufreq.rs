//! `cpufreq`: the frequencies of the CPUs, from `/sys/devices/system/cpu/cpu*/cpufreq`.

use std::path::PathBuf;

use crate::collect::cpu_list::parse_ranges;
use crate::collect::device::{Device, name_after};
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, fields, list_numbered, read_attribute};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "cpufreq",
    default_enabled: true,
    summary: "Frequencies of the CPUs, from sysfs.",
    options: &[],
    build,
};

/// The attributes in kilohertz, each with its metric and help text.
const FREQUENCIES: [(&str, &str, &str); 7] = [
    (
        "cpuinfo_avg_freq",
        "node_cpu_frequency_avg_hertz",
        "Recent average frequency of the CPU.",
    ),
    (
        "cpuinfo_cur_freq",
        "node_cpu_frequency_hertz",
        "Current frequency of the CPU, as reported by the hardware.",
    ),
    (
        "cpuinfo_max_freq",
        "node_cpu_frequency_max_hertz",
        "Maximum frequency of the CPU.",
    ),
    (
        "cpuinfo_min_freq",
        "node_cpu_frequency_min_hertz",
        "Minimum frequency of the CPU.",
    ),
    (
        "scaling_cur_freq",
        "node_cpu_scaling_frequency_hertz",
        "Current frequency of the CPU, as estimated by the kernel.",
    ),
    (
        "scaling_max_freq",
        "node_cpu_scaling_frequency_max_hertz",
        "Maximum frequency that the kernel may select.",
    ),
    (
        "scaling_min_freq",
        "node_cpu_scaling_frequency_min_hertz",
        "Minimum frequency that the kernel may select.",
    ),
];
const HERTZ: f64 = 1000.0;

struct Cpufreq {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Cpufreq {
        directory: context.sysfs("devices/system/cpu"),
    }))
}

impl Collector for Cpufreq {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut buffer = Vec::new();
        let offline = read_attribute(&self.directory.join("offline"), &mut buffer);
        // The files of an offline CPU remain but cannot be read.
        let offline = parse_ranges(offline.unwrap_or_default());
        gather(out, |samples| {
            for path in list_numbered(&self.directory, "cpu") {
                let cpu = name_after(&path, "cpu");
                if offline.iter().any(|offline| offline.as_bytes() == cpu) {
                    continue;
                }
                // Most virtual machines have no frequency scaling and no such directory.
                let path = path.join("cpufreq");
                samples.device(&path, |device, samples| add_cpu(device, &cpu, samples));
            }
            Ok(())
        })
    }
}

fn add_cpu(device: &mut Device, cpu: &[u8], samples: &mut Samples) -> Result<(), CollectError> {
    for (attribute, name, help) in FREQUENCIES {
        // A driver that does not know the frequency returns a text.
        if device
            .text(attribute)?
            .is_some_and(|text| text.starts_with(b"<"))
        {
            continue;
        }
        if let Some(kilohertz) = device.number(attribute)? {
            samples.gauge(name, help, &[("cpu", cpu)], kilohertz * HERTZ);
        }
    }
    let governor = device.label("scaling_governor")?;
    if governor.is_empty() {
        return Ok(());
    }
    let available = device.label("scaling_available_governors")?;
    for name in fields(&available) {
        samples.gauge(
            "node_cpu_scaling_governor",
            "Whether the CPU frequency governor is in use.",
            &[("cpu", cpu), ("governor", name)],
            u64::from(name == governor),
        );
    }
    Ok(())
}
