//! `edac`: correctable and uncorrectable memory errors, from `/sys/devices/system/edac/mc`.

use std::path::{Path, PathBuf};

use crate::collect::device::{Device, name_after};
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_numbered};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "edac",
    default_enabled: true,
    summary: "Memory errors, from /sys/devices/system/edac.",
    options: &[],
    build,
};

struct Edac {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Edac {
        directory: context.sysfs("devices/system/edac/mc"),
    }))
}

impl Collector for Edac {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        gather(out, |samples| {
            for path in list_numbered(&self.directory, "mc") {
                samples.device(&path, |device, samples| {
                    add_controller(device, &path, samples)
                });
            }
            Ok(())
        })
    }
}

fn add_controller(
    device: &mut Device,
    path: &Path,
    samples: &mut Samples,
) -> Result<(), CollectError> {
    let controller = name_after(path, "mc");
    let labels: [(&str, &[u8]); 1] = [("controller", &controller)];
    samples.counter(
        "node_edac_correctable_errors_total",
        "Correctable memory errors of the controller.",
        &labels,
        device.required("ce_count")?,
    );
    samples.counter(
        "node_edac_uncorrectable_errors_total",
        "Uncorrectable memory errors of the controller.",
        &labels,
        device.required("ue_count")?,
    );
    let (corrected, uncorrected) = (
        device.required("ce_noinfo_count")?,
        device.required("ue_noinfo_count")?,
    );
    add_row_counts(&controller, b"unknown", corrected, uncorrected, samples);
    for row in list_numbered(path, "csrow") {
        samples.device(&row, |device, samples| {
            add_row(device, &row, &controller, samples)
        });
    }
    Ok(())
}

fn add_row(
    device: &mut Device,
    path: &Path,
    controller: &[u8],
    samples: &mut Samples,
) -> Result<(), CollectError> {
    let row = name_after(path, "csrow");
    let (corrected, uncorrected) = (device.required("ce_count")?, device.required("ue_count")?);
    add_row_counts(controller, &row, corrected, uncorrected, samples);
    for file in list_numbered(path, "ch") {
        let name = name_after(&file, "ch");
        let Some(channel) = name.strip_suffix(b"_ce_count") else {
            continue;
        };
        add_channel(device, controller, &row, channel, samples)?;
    }
    Ok(())
}

fn add_row_counts(
    controller: &[u8],
    row: &[u8],
    corrected: f64,
    uncorrected: f64,
    samples: &mut Samples,
) {
    let labels = [("controller", controller), ("csrow", row)];
    samples.counter(
        "node_edac_csrow_correctable_errors_total",
        "Correctable memory errors of the chip-select row.",
        &labels,
        corrected,
    );
    samples.counter(
        "node_edac_csrow_uncorrectable_errors_total",
        "Uncorrectable memory errors of the chip-select row.",
        &labels,
        uncorrected,
    );
}

fn add_channel(
    row_device: &mut Device,
    controller: &[u8],
    row: &[u8],
    channel: &[u8],
    samples: &mut Samples,
) -> Result<(), CollectError> {
    let file = |suffix| format!("ch{}_{suffix}", String::from_utf8_lossy(channel));
    let label = match row_device.text(&file("dimm_label"))? {
        Some(text) => dimm(&String::from_utf8_lossy(text)),
        None => "unknown".to_owned(),
    };
    let labels = [
        ("channel", channel),
        ("controller", controller),
        ("csrow", row),
        ("dimm_label", label.as_bytes()),
    ];
    for (name, help, suffix) in [
        (
            "node_edac_channel_correctable_errors_total",
            "Correctable memory errors of the channel.",
            "ce_count",
        ),
        (
            "node_edac_channel_uncorrectable_errors_total",
            "Uncorrectable memory errors of the channel.",
            "ue_count",
        ),
    ] {
        if let Some(count) = row_device.number(&file(suffix))? {
            samples.counter(name, help, &labels, count);
        }
    }
    Ok(())
}

/// The label of a memory module, `mc#0csrow#1channel#0` shown as `mc0_csrow1_channel0`.
fn dimm(label: &str) -> String {
    label
        .replace('#', "")
        .replace("csrow", "_csrow")
        .replace("channel", "_channel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_modules() {
        assert_eq!(dimm("mc#0csrow#1channel#0"), "mc0_csrow1_channel0");
        assert_eq!(dimm("CPU0_DIMM_A1"), "CPU0_DIMM_A1");
    }
}
