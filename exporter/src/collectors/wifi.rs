//! `wifi`: wireless interfaces, the networks that they are connected to, and their stations.

mod nl80211;

use self::nl80211::{Interface, Network, Station, Wireless};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::MetricKind::{self, Counter, Gauge};
use crate::exposition::{Exposition, Value};
use crate::sources::{Deadline, hardware_address};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "wifi",
    default_enabled: false,
    summary: "Wireless interfaces and their stations.",
    options: &[],
    build,
};

struct Wifi {
    wireless: Wireless,
}

/// An interface and its data.
struct Device {
    interface: Interface,
    network: Option<Network>,
    stations: Vec<Station>,
}

type Column = fn(&Station) -> Value;
/// The metrics of each station: the end of the name, the help text, the type, and the value.
const COLUMNS: [(&str, &str, MetricKind, Column); 12] = [
    (
        "beacon_loss_total",
        "Times that the beacon of a station was lost.",
        Counter,
        |station| u64::from(station.beacon_losses).into(),
    ),
    (
        "connected_seconds_total",
        "Seconds since a station connected.",
        Counter,
        |station| u64::from(station.connected_seconds).into(),
    ),
    (
        "inactive_seconds",
        "Seconds since a station was last active.",
        Gauge,
        |station| seconds(station.inactive_milliseconds).into(),
    ),
    (
        "receive_bits_per_second",
        "Rate at which packets are received from a station.",
        Gauge,
        |station| station.receive_bits_per_second.into(),
    ),
    (
        "receive_bytes_total",
        "Bytes received from a station.",
        Counter,
        |station| station.received_bytes.into(),
    ),
    (
        "received_packets_total",
        "Packets received from a station.",
        Counter,
        |station| u64::from(station.received_packets).into(),
    ),
    (
        "signal_dbm",
        "Signal strength of a station, in decibel-milliwatts (dBm).",
        Gauge,
        |station| f64::from(station.signal_dbm).into(),
    ),
    (
        "transmit_bits_per_second",
        "Rate at which packets are sent to a station.",
        Gauge,
        |station| station.transmit_bits_per_second.into(),
    ),
    (
        "transmit_bytes_total",
        "Bytes sent to a station.",
        Counter,
        |station| station.transmitted_bytes.into(),
    ),
    (
        "transmit_failed_total",
        "Packets that could not be sent to a station.",
        Counter,
        |station| u64::from(station.transmit_failures).into(),
    ),
    (
        "transmit_retries_total",
        "Packets retransmitted to a station.",
        Counter,
        |station| u64::from(station.transmit_retries).into(),
    ),
    (
        "transmitted_packets_total",
        "Packets sent to a station.",
        Counter,
        |station| u64::from(station.transmitted_packets).into(),
    ),
];

fn build(_: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let wireless = Wireless::default();
    Ok(Box::new(Wifi { wireless }))
}

impl Collector for Wifi {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let Some(interfaces) = self.wireless.interfaces(deadline)? else {
            let reason = "this kernel has no wireless devices";
            return Err(CollectError::NoData(reason.to_owned()));
        };
        let mut devices = Vec::new();
        for interface in interfaces {
            devices.push(Device {
                network: self.wireless.network(interface.index)?,
                stations: self.wireless.stations(interface.index)?,
                interface,
            });
        }
        write(&devices, out);
        Ok(())
    }
}

fn write(devices: &[Device], out: &mut Exposition) {
    let help = "Frequency of a wireless interface.";
    let mut family = out.family(&["node_wifi_interface_frequency_hertz"], &[help], Gauge);
    for device in devices {
        let hertz = u64::from(device.interface.megahertz) * 1_000_000;
        family.sample(&[("device", &device.interface.name)], hertz);
    }
    drop(family);
    write_networks(devices, out);
    for (name, help, kind, value) in COLUMNS {
        let mut family = out.family(&["node_wifi_station_", name], &[help], kind);
        for device in devices {
            for station in &device.stations {
                let address = hardware_address(&station.address);
                family.sample(
                    &[
                        ("device", &device.interface.name),
                        ("mac_address", address.as_bytes()),
                    ],
                    value(station),
                );
            }
        }
    }
}

fn write_networks(devices: &[Device], out: &mut Exposition) {
    let joined = |device: &Device| {
        let network = device.network.as_ref()?;
        Some((
            hardware_address(&network.id),
            device.interface.name.clone(),
            mode(network.status),
            printable(&network.name),
        ))
    };
    let mut rows: Vec<_> = devices.iter().filter_map(joined).collect();
    rows.sort_unstable();
    let help = "Network that a wireless interface is connected to; the value is always 1.";
    let mut family = out.family(&["node_wifi_station_info"], &[help], Gauge);
    for (id, device, mode, name) in &rows {
        family.sample(
            &[
                ("bssid", id.as_bytes()),
                ("device", device),
                ("mode", mode.as_bytes()),
                ("ssid", name.as_bytes()),
            ],
            1,
        );
    }
}

/// How an interface takes part in a network, by the network's status.
fn mode(status: u32) -> &'static str {
    match status {
        // Authenticated, or associated as well.
        0 | 1 => "client",
        2 => "ad-hoc",
        _ => "unknown",
    }
}

/// A network's name, which may be any bytes. Each invalid byte is replaced, as in node_exporter, which elsewhere replaces
/// each run of them.
fn printable(name: &[u8]) -> String {
    let mut printable = String::new();
    for chunk in name.utf8_chunks() {
        printable.push_str(chunk.valid());
        printable.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    printable
}

/// The order in which Go computes seconds affects the last digit.
fn seconds(milliseconds: u32) -> f64 {
    let nanoseconds = f64::from(milliseconds % 1000) * 1e6;
    f64::from(milliseconds / 1000) + nanoseconds / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_become_families() {
        let device = |name: &str, network, stations| Device {
            interface: Interface {
                index: 1,
                name: name.into(),
                megahertz: 2412,
            },
            network,
            stations,
        };
        let network = Network {
            id: vec![0, 1, 2, 3, 4, 0xab],
            name: b"h\xff\xfeme".to_vec(),
            status: 1,
        };
        let station = Station {
            address: vec![1; 6],
            inactive_milliseconds: 1400,
            signal_dbm: -52,
            ..Station::default()
        };
        let mut out = Exposition::default();
        let devices = [
            device("wlan0", Some(network), vec![station]),
            device("wlan1", None, Vec::new()),
        ];
        write(&devices, &mut out);
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        for line in [
            "node_wifi_interface_frequency_hertz{device=\"wlan1\"} 2.412e+09",
            "node_wifi_station_info{bssid=\"00:01:02:03:04:ab\",device=\"wlan0\",mode=\"client\",ssid=\"h\u{fffd}\u{fffd}me\"} 1",
            "node_wifi_station_inactive_seconds{device=\"wlan0\",mac_address=\"01:01:01:01:01:01\"} 1.4",
            "node_wifi_station_signal_dbm{device=\"wlan0\",mac_address=\"01:01:01:01:01:01\"} -52",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
        }
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples, 2 + 1 + COLUMNS.len());
    }

    #[test]
    fn modes_follow_from_the_status() {
        assert_eq!(
            [0, 1, 2, 3].map(mode),
            ["client", "client", "ad-hoc", "unknown"]
        );
    }
}
