//! `drm`: what AMD's graphics cards tell of themselves, from `/sys/class/drm`.

use std::path::{Path, PathBuf};

use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_numbered};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "drm",
    default_enabled: false,
    summary: "Load and memory of AMD's graphics cards, from /sys/class/drm.",
    options: &[],
    build,
};

const CARD: &str = "card";
/// The line of `uevent` that names the driver of a card; others have no such attributes.
const DRIVER: &[u8] = b"DRIVER=amdgpu";

/// The attributes that are numbers, each with its metric and what it means.
const NUMBERS: [(&str, &str, &str); 7] = [
    (
        "gpu_busy_percent",
        "node_drm_gpu_busy_percent",
        "How much of the card's time is in use, in percent.",
    ),
    (
        "mem_info_gtt_total",
        "node_drm_memory_gtt_size_bytes",
        "Memory of the host that the card can use through its graphics translation table (GTT).",
    ),
    (
        "mem_info_gtt_used",
        "node_drm_memory_gtt_used_bytes",
        "Memory of the host that the card uses through its graphics translation table (GTT).",
    ),
    (
        "mem_info_vis_vram_total",
        "node_drm_memory_vis_vram_size_bytes",
        "The card's memory that the host can see.",
    ),
    (
        "mem_info_vis_vram_used",
        "node_drm_memory_vis_vram_used_bytes",
        "The card's memory that the host can see and that is in use.",
    ),
    (
        "mem_info_vram_total",
        "node_drm_memory_vram_size_bytes",
        "The card's memory.",
    ),
    (
        "mem_info_vram_used",
        "node_drm_memory_vram_used_bytes",
        "The card's memory that is in use.",
    ),
];

struct Drm {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Drm {
        directory: context.sysfs("class/drm"),
    }))
}

impl Collector for Drm {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        gather(out, |samples| {
            for path in list_numbered(&self.directory, CARD) {
                let Some(card) = card_name(&path) else {
                    continue;
                };
                samples.device(&path.join("device"), |device, samples| {
                    add_card(device, card, samples)
                });
            }
            Ok(())
        })
    }
}

/// The name of a card; `None` for one of its connectors, such as `card0-DP-1`.
fn card_name(path: &Path) -> Option<&[u8]> {
    let name = path.file_name()?.as_encoded_bytes();
    let number = name.strip_prefix(CARD.as_bytes())?;
    number.iter().all(u8::is_ascii_digit).then_some(name)
}

fn add_card(device: &mut Device, card: &[u8], samples: &mut Samples) -> Result<(), CollectError> {
    let event = device.label("uevent")?;
    if !event.split(|&byte| byte == b'\n').any(|it| it == DRIVER) {
        return Ok(());
    }
    samples.gauge(
        "node_drm_card_info",
        "What the card says of itself, in labels.",
        &[
            ("card", card),
            ("memory_vendor", &device.label("mem_info_vram_vendor")?),
            (
                "power_performance_level",
                &device.label("power_dpm_force_performance_level")?,
            ),
            ("unique_id", &device.label("unique_id")?),
            ("vendor", b"amd"),
        ],
        1,
    );
    for (attribute, metric, help) in NUMBERS {
        let number = samples.skipped.part(device.number(attribute));
        if let Some(number) = number.flatten() {
            samples.gauge(metric, help, &[("card", card)], number);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_among_their_connectors() {
        let name = |path| card_name(Path::new(path));
        assert_eq!(name("/sys/class/drm/card0"), Some(b"card0".as_slice()));
        assert_eq!(name("/sys/class/drm/card12"), Some(b"card12".as_slice()));
        assert_eq!(name("/sys/class/drm/card0-DP-1"), None);
        assert_eq!(name("/sys/class/drm/renderD128"), None);
    }

    /// The collector's text for a class with these files.
    fn collected(files: &[(&str, &str)]) -> (String, Result<(), CollectError>) {
        let class = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = class.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let mut out = Exposition::default();
        let directory = class.path().to_owned();
        let result = Drm { directory }.collect(&mut out, Deadline::after(std::time::Duration::MAX));
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        (samples.map(|line| format!("{line}\n")).collect(), result)
    }

    #[test]
    fn other_drivers_and_cards_without_a_device_have_nothing() {
        let (text, result) = collected(&[
            ("card0/device/uevent", "DRIVER=i915\nPCI_ID=8086:3E9B\n"),
            ("card0/device/gpu_busy_percent", "4\n"),
            ("card1/dev", "226:1\n"),
            ("version", "drm 1.1.0 20060810\n"),
        ]);
        result.unwrap();
        assert_eq!(text, "");
    }

    #[test]
    fn what_a_card_does_not_tell_is_left_out_and_costs_nothing_else() {
        let (text, result) = collected(&[
            ("card10/device/uevent", "DRIVER=amdgpu\nPCI_CLASS=38000\n"),
            ("card10/device/mem_info_vram_vendor", "hynix\n"),
            ("card10/device/mem_info_vram_total", "lots\n"),
            ("card10/device/mem_info_vram_used", "1490378752\n"),
        ]);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("mem_info_vram_total"), "{error}");
        assert_eq!(
            text,
            "node_drm_card_info{card=\"card10\",memory_vendor=\"hynix\",power_performance_level=\"\",unique_id=\"\",\
             vendor=\"amd\"} 1\nnode_drm_memory_vram_used_bytes{card=\"card10\"} 1.490378752e+09\n"
        );
    }
}
