//! `ethtool`: information and driver-specific statistics of network devices.

mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use regex::Regex;
use secure_exporter_ethtool_ioctl::{Driver, Ethtool, Statistic};

use self::link::add_link;
use crate::collect::device_filter::{DeviceFilter, FilterFlags};
use crate::collect::samples::{Samples, gather, metric_name};
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::collect::{Pattern, PatternError};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, list_directories};

const FLAGS: FilterFlags = FilterFlags {
    exclude: "collector.ethtool.device-exclude",
    include: "collector.ethtool.device-include",
    former_exclude: None,
    former_include: None,
};
const METRICS: &str = "collector.ethtool.metrics-include";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "ethtool",
    default_enabled: false,
    summary: "Driver statistics and link capabilities of network devices.",
    options: &[
        OptionSpec::pattern(
            FLAGS.exclude,
            "",
            "Regular expression of network devices to leave out.",
        ),
        OptionSpec::pattern(
            FLAGS.include,
            "",
            "Regular expression of network devices to show.",
        ),
        OptionSpec::pattern(
            METRICS,
            ".*",
            "Regular expression of the driver statistics to show.",
        ),
    ],
    build,
};

/// Counters that most drivers have, with node_exporter's names.
const USUAL: [(&str, &str, &str); 7] = [
    ("rx_bytes", "received_bytes_total", "Bytes received."),
    (
        "rx_dropped",
        "received_dropped_total",
        "Frames received and dropped.",
    ),
    (
        "rx_errors",
        "received_errors_total",
        "Frames received with errors.",
    ),
    ("rx_packets", "received_packets_total", "Packets received."),
    ("tx_bytes", "transmitted_bytes_total", "Bytes sent."),
    (
        "tx_errors",
        "transmitted_errors_total",
        "Frames sent with errors.",
    ),
    ("tx_packets", "transmitted_packets_total", "Packets sent."),
];

struct EthtoolCollector {
    class: PathBuf,
    filter: DeviceFilter,
    names: Names,
    /// Opened by the first scrape.
    ethtool: Option<Ethtool>,
    /// Devices whose failure was logged, so that it is not logged at every scrape.
    told: BTreeSet<Vec<u8>>,
}

/// The metric names of the drivers' counter names.
struct Names {
    shown: Option<Pattern>,
    received: Regex,
    transmitted: Regex,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(EthtoolCollector {
        class: context.sysfs("class/net"),
        filter: DeviceFilter::from_flags(context, FLAGS)?,
        names: Names::new(context.pattern(METRICS)?)?,
        ethtool: None,
        told: BTreeSet::new(),
    }))
}

impl Collector for EthtoolCollector {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut devices = list_directories(&self.class).map_err(CollectError::within_reach)?;
        if devices.is_empty() {
            return Err(CollectError::Malformed {
                file: "class/net",
                what: "there is no network device".to_owned(),
            });
        }
        devices.retain(|device| !self.filter.ignores(device));
        let ethtool = match &mut self.ethtool {
            Some(ethtool) => ethtool,
            none => none.insert(Ethtool::open().map_err(|source| CollectError::SystemCall {
                name: "socket",
                source,
            })?),
        };
        gather(out, |samples| {
            for device in &devices {
                let link = ethtool
                    .link(device)
                    .map(|link| add_link(device, link, samples));
                let driver = ethtool.driver(device);
                let driver = driver.map(|driver| add_driver(device, &driver, samples));
                let statistics = ethtool.statistics(device);
                let statistics = statistics.map(|counted| self.names.add(device, counted, samples));
                for error in [link.err(), driver.err(), statistics.err()]
                    .into_iter()
                    .flatten()
                {
                    tell(&mut self.told, device, &error);
                }
            }
            Ok(())
        })
    }
}

/// Many devices have no driver that supports this, and devices may disappear at any time; neither is logged.
fn tell(told: &mut BTreeSet<Vec<u8>>, device: &[u8], error: &io::Error) {
    let gone = rustix::io::Errno::NODEV.raw_os_error();
    let expected = error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(gone);
    if !expected && told.insert(device.to_vec()) {
        let device = String::from_utf8_lossy(device);
        tracing::warn!(%device, %error, "cannot query the driver of a network device");
    }
}

fn add_driver(device: &[u8], driver: &Driver, samples: &mut Samples) {
    samples.gauge(
        "node_ethtool_info",
        "Driver of the network device and its versions, in labels.",
        &[
            ("bus_info", &driver.bus),
            ("device", device),
            ("driver", &driver.name),
            ("expansion_rom_version", &driver.expansion_rom_version),
            ("firmware_version", &driver.firmware_version),
            ("version", &driver.version),
        ],
        1,
    );
}

impl Names {
    fn new(shown: Option<Pattern>) -> Result<Self, BuildError> {
        let word = |pattern| {
            Regex::new(pattern).map_err(|_| BuildError::Pattern {
                flag: METRICS,
                source: PatternError::Size,
            })
        };
        Ok(Self {
            shown,
            received: word("(^|_)rx(_|$)")?,
            transmitted: word("(^|_)tx(_|$)")?,
        })
    }

    /// Adds the statistics of a device's driver. Two counters that would have the same metric name are both left out.
    fn add(&self, device: &[u8], counted: Vec<Statistic>, samples: &mut Samples) {
        // If a name occurs twice, the later value is used.
        let counted: BTreeMap<Vec<u8>, u64> = counted.into_iter().collect();
        let mut metrics: BTreeMap<String, Option<(String, u64)>> = BTreeMap::new();
        for (name, value) in counted.into_iter().filter(|(name, _)| !name.is_empty()) {
            let name = metric_name(&String::from_utf8_lossy(&name));
            if self
                .shown
                .as_ref()
                .is_none_or(|shown| shown.is_match(name.as_bytes()))
            {
                let metric = metrics.entry(self.metric(&name));
                metric
                    .and_modify(|both| *both = None)
                    .or_insert(Some((name, value)));
            }
        }
        for (metric, counter) in metrics {
            let Some((name, value)) = counter.filter(|_| !metric.is_empty()) else {
                continue;
            };
            let usual = USUAL.iter().find(|(usual, ..)| *usual == name);
            let (metric, help) = match usual {
                Some((_, metric, help)) => (*metric, (*help).to_owned()),
                None => (
                    metric.as_str(),
                    format!("Driver statistic {name} of the network device."),
                ),
            };
            samples.add(
                MetricKind::Untyped,
                format!("node_ethtool_{metric}"),
                help,
                &[("device", device)],
                value,
            );
        }
    }

    /// The metric's name, without the common prefix.
    fn metric(&self, name: &str) -> String {
        let name = name.to_lowercase();
        let name = name.trim_start_matches('_');
        let name = self.received.replace_all(name, "${1}received${2}");
        self.transmitted
            .replace_all(&name, "${1}transmitted${2}")
            .into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::spec::compile;

    fn shown(pattern: &str, counted: &[(&str, u64)]) -> Vec<String> {
        let names = Names::new(compile(METRICS, pattern).unwrap()).unwrap();
        let counted = counted
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), *value));
        let mut out = Exposition::default();
        gather(&mut out, |samples| {
            names.add(b"eth0", counted.collect(), samples);
            Ok(())
        })
        .unwrap();
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with("# HELP"));
        samples
            .map(|line| {
                line.replace("node_ethtool_", "")
                    .replace("{device=\"eth0\"}", "")
            })
            .collect()
    }

    #[test]
    fn drivers_names_become_names_of_metrics() {
        let names = Names::new(None).unwrap();
        for (name, metric) in [
            ("port.rx_errors", "port_received_errors"),
            ("rx_errors", "received_errors"),
            ("Queue[0] AllocFails", "queue_0_allocfails"),
            ("Tx LPI entry count", "transmitted_lpi_entry_count"),
            (
                "port.VF_admin_queue_requests",
                "port_vf_admin_queue_requests",
            ),
            ("[3]: tx_bytes", "3_transmitted_bytes"),
            ("     err", "err"),
            ("rx_rx_tx", "received_rx_transmitted"),
            ("prx_q", "prx_q"),
        ] {
            assert_eq!(names.metric(&metric_name(name)), metric);
        }
    }

    #[test]
    fn what_most_drivers_count_has_the_usual_names() {
        assert_eq!(
            shown(
                "",
                &[
                    ("rx_packets", 1_260_062),
                    ("rx_missed", 401),
                    ("", 3),
                    ("tx_bytes", u64::MAX)
                ]
            ),
            [
                "# TYPE received_missed untyped",
                "received_missed 401",
                "# TYPE received_packets_total untyped",
                "received_packets_total 1.260062e+06",
                "# TYPE transmitted_bytes_total untyped",
                "transmitted_bytes_total 1.8446744073709552e+19",
            ]
        );
    }

    #[test]
    fn two_that_would_have_one_name_are_both_left_out() {
        let both = [
            ("duplicate metric", 1),
            ("duplicate_metric", 2),
            ("Duplicate Metric", 3),
            ("a", 4),
            ("a", 5),
        ];
        assert_eq!(shown("", &both), ["# TYPE a untyped", "a 5"]);
    }

    #[test]
    fn counters_are_chosen_by_the_drivers_own_name() {
        let counted = [("rx_packets", 1), ("Rx Queue", 2), ("tx_packets", 3)];
        assert_eq!(
            shown("^rx_", &counted),
            [
                "# TYPE received_packets_total untyped",
                "received_packets_total 1"
            ]
        );
        assert_eq!(
            shown("^Rx", &counted),
            ["# TYPE received_queue untyped", "received_queue 2"]
        );
    }

    #[test]
    fn only_new_failures_are_logged_and_once() {
        let mut told = BTreeSet::new();
        let error = |errno: rustix::io::Errno| io::Error::from(errno);
        tell(&mut told, b"lo", &error(rustix::io::Errno::OPNOTSUPP));
        tell(&mut told, b"eth1", &error(rustix::io::Errno::NODEV));
        assert!(told.is_empty());
        tell(&mut told, b"eth0", &error(rustix::io::Errno::PERM));
        assert_eq!(told.len(), 1);
    }
}
