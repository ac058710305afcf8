//! `netclass`: the properties of each network device and the state of its link, as in `/sys/class/net`.
//!
//! In the host's network namespace one netlink dump provides the same values for all devices; otherwise the files are read.

mod assigned;
mod device;
mod from_files;
mod from_links;
mod link_modes;
mod netlink;

use std::cmp::Ordering;

use self::device::{Device, NUMBERS, SPEED};
use self::from_files::Files;
use self::from_links::FromLinks;
use self::netlink::NetclassNetlink;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec, Pattern,
};
use crate::exposition::{Exposition, MetricKind, Value};
use crate::sources::{Deadline, Pool, SharedLinks};

const IGNORED: &str = "collector.netclass.ignored-devices";
const IGNORE_INVALID_SPEED: &str = "collector.netclass.ignore-invalid-speed";
const NETLINK: &str = "collector.netclass.netlink";
const WITH_STATISTICS: &str = "collector.netclass_rtnl.with-stats";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "netclass",
    default_enabled: true,
    summary: "Properties of each network device, from /sys/class/net.",
    options: &[
        OptionSpec::pattern(
            IGNORED,
            "^$",
            "Regular expression of network devices to leave out.",
        ),
        OptionSpec::switch(
            IGNORE_INVALID_SPEED,
            "false",
            "Leave out the speed where the driver reports -1, which means unknown.",
        ),
        OptionSpec::switch(
            NETLINK,
            "false",
            "Show the properties that netlink provides: with alternative names, but without adminstate.",
        ),
        OptionSpec::switch(
            WITH_STATISTICS,
            "false",
            "With netlink, also show the traffic counters, instead of the netdev collector.",
        ),
    ],
    build,
};

struct Netclass {
    links: SharedLinks,
    from_links: FromLinks,
    files: Files,
    ignored: Option<Pattern>,
    ignore_invalid_speed: bool,
    /// Ordered by name.
    devices: Pool<Device>,
    /// Positions in `devices`, ordered for the info metric.
    rows: Vec<usize>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let class = context.sysfs("class/net");
    let ignored = context.pattern(IGNORED)?;
    let with_statistics = context.switch(WITH_STATISTICS)?;
    if context.switch(NETLINK)? {
        if with_statistics && context.settings().enabled.contains("netdev") {
            return Err(BuildError::Exclusive(WITH_STATISTICS, "collector.netdev"));
        }
        let collector = NetclassNetlink::new(context.links(), class, ignored, with_statistics);
        return Ok(Box::new(collector));
    }
    Ok(Box::new(Netclass {
        links: context.links(),
        from_links: FromLinks::new(class.clone()),
        files: Files::new(class),
        ignored,
        ignore_invalid_speed: context.switch(IGNORE_INVALID_SPEED)?,
        devices: Pool::default(),
        rows: Vec::new(),
    }))
}

impl Collector for Netclass {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        self.look(deadline)?;
        let devices = self.devices.as_slice();
        write_numbers(devices, self.ignore_invalid_speed, out);
        write_states(devices, &mut self.rows, out);
        Ok(())
    }
}

impl Netclass {
    fn look(&mut self, deadline: Deadline) -> Result<(), CollectError> {
        self.devices.clear();
        let (ignored, devices) = (self.ignored.as_ref(), &mut self.devices);
        let wanted = |name: &[u8]| !ignored.is_some_and(|pattern| pattern.is_match(name));
        let Some(links) = self.links.read_instead_of_files(deadline)? else {
            let looked = self.files.look(wanted, devices);
            return looked.map_err(CollectError::within_reach);
        };
        self.from_links.fill(&links, wanted, devices);
        // The next collector need not wait for drivers.
        drop(links);
        self.from_links.complete(deadline, devices)?;
        Ok(())
    }
}

fn write_numbers(devices: &[Device], ignore_invalid_speed: bool, out: &mut Exposition) {
    for (place, (_, name)) in NUMBERS.into_iter().enumerate() {
        let kind = if name.ends_with("_total") {
            MetricKind::Counter
        } else {
            MetricKind::Gauge
        };
        let help = ["Property of the network device: ", name, "."];
        let mut family = out.family(&["node_network_", name], &help, kind);
        for device in devices {
            let value = match device.number(place) {
                Some(speed) if name == SPEED => bytes_per_second(speed, ignore_invalid_speed),
                number => number,
            };
            if let Some(value) = value {
                family.sample(&[("device", &device.name)], value);
            }
        }
    }
}

/// The speed in bytes, truncated to a whole number. Some drivers report -1 for an unknown speed, which is shown unless it
/// is ignored.
fn bytes_per_second(megabits: Value, ignore_invalid: bool) -> Option<Value> {
    match megabits {
        Value::Integer(megabits) => Some(megabits.saturating_mul(1_000_000 / 8).into()),
        Value::Float(_) if ignore_invalid => None,
        Value::Float(megabits) => Some((megabits * 1e6 / 8.0).trunc().into()),
    }
}

fn write_states(devices: &[Device], rows: &mut Vec<usize>, out: &mut Exposition) {
    rows.clear();
    rows.extend(0..devices.len());
    rows.sort_unstable_by(|a, b| match (devices.get(*a), devices.get(*b)) {
        // Most addresses differ, and they are fast to compare.
        (Some(a), Some(b)) => {
            let addresses = a.address.cmp(&b.address);
            addresses.then_with(|| a.words().cmp(&b.words()))
        }
        _ => Ordering::Equal,
    });
    let help = "Information about the network device, in labels; the value is always 1.";
    let mut family = out.family(&["node_network_info"], &[help], MetricKind::Gauge);
    for device in rows.iter().filter_map(|place| devices.get(*place)) {
        family.sample(&device.words(), 1);
    }
    drop(family);
    let help = "Whether the operational state of the network device is up.";
    let mut family = out.family(&["node_network_up"], &[help], MetricKind::Gauge);
    for device in devices {
        family.sample(
            &[("device", &device.name)],
            u64::from(device.state == b"up"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::netclass::device::parse;

    #[test]
    fn an_unknown_speed_is_shown_unless_ignored() {
        let speed = |text: &[u8], ignore| bytes_per_second(parse(text).unwrap(), ignore);
        assert_eq!(speed(b"1000", false), Some(125_000_000.into()));
        assert_eq!(speed(b"-1", false), Some((-125_000.0).into()));
        assert_eq!(speed(b"-1", true), None);
        assert_eq!(speed(b"0", true), Some(0.into()));
    }

    #[test]
    fn words_are_in_order_of_address_and_then_of_name() {
        let device = |name: &str, address: &str| {
            let mut device = Device::default();
            device.begin(name.as_bytes());
            device.address.extend_from_slice(address.as_bytes());
            device
        };
        let devices = [device("a", "02"), device("b", "01"), device("c", "01")];
        let mut out = Exposition::default();
        let mut rows = Vec::new();
        write_states(&devices, &mut rows, &mut out);
        assert_eq!(rows, [1, 2, 0]);
    }
}
