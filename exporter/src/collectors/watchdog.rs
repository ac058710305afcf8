//! `watchdog`: watchdog timers, which reset a machine that hangs, from `/sys/class/watchdog`.

use std::path::PathBuf;

use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_directories};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "watchdog",
    default_enabled: true,
    summary: "Watchdog timers, which reset a machine that hangs, from /sys/class/watchdog.",
    options: &[],
    build,
};

/// The attributes that are numbers, each with its metric and what it means.
const NUMBERS: [(&str, &str, &str); 7] = [
    (
        "access_cs0",
        "node_watchdog_access_cs0",
        "Whether the machine booted from its second flash chip.",
    ),
    (
        "bootstatus",
        "node_watchdog_bootstatus",
        "Status flags of the watchdog at boot.",
    ),
    (
        "fw_version",
        "node_watchdog_fw_version",
        "Firmware version of the watchdog.",
    ),
    (
        "nowayout",
        "node_watchdog_nowayout",
        "Whether the watchdog cannot be stopped once it has been started.",
    ),
    (
        "pretimeout",
        "node_watchdog_pretimeout_seconds",
        "Seconds between the warning of the watchdog and the reset.",
    ),
    (
        "timeleft",
        "node_watchdog_timeleft_seconds",
        "Seconds until the watchdog resets the machine.",
    ),
    (
        "timeout",
        "node_watchdog_timeout_seconds",
        "Seconds after which the watchdog resets a machine that does not respond.",
    ),
];

struct Watchdog {
    directory: PathBuf,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Watchdog {
        directory: context.sysfs("class/watchdog"),
    }))
}

impl Collector for Watchdog {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = list_directories(&self.directory).map_err(CollectError::optional)?;
        gather(out, |samples| {
            for name in &names {
                let path = self.directory.join(String::from_utf8_lossy(name).as_ref());
                samples.device(&path, |device, samples| add_watchdog(device, name, samples));
            }
            Ok(())
        })
    }
}

fn add_watchdog(
    device: &mut Device,
    name: &[u8],
    samples: &mut Samples,
) -> Result<(), CollectError> {
    for (attribute, metric, help) in NUMBERS {
        if let Some(value) = device.number(attribute)? {
            samples.gauge(metric, help, &[("name", name)], value);
        }
    }
    samples.gauge(
        "node_watchdog_info",
        "Information about the watchdog, in labels.",
        &[
            ("identity", &device.label("identity")?),
            ("name", name),
            ("options", &device.label("options")?),
            ("pretimeout_governor", &device.label("pretimeout_governor")?),
            ("state", &device.label("state")?),
            ("status", &device.label("status")?),
        ],
        1,
    );
    Ok(())
}
