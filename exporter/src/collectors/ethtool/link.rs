//! The link capabilities of a network device, from the bits that its driver returns by ioctl.

use secure_exporter_ethtool_ioctl::Link;

use crate::collect::samples::Samples;

/// `ETHTOOL_LINK_MODE_Autoneg_BIT` and related bits, as numbered in `linux/ethtool.h`.
const AUTONEGOTIATION: u32 = 6;
const PAUSE: u32 = 13;
const ASYMMETRIC_PAUSE: u32 = 14;

/// Types of ports.
const PORTS: [(u32, &str); 6] = [
    (7, "TP"),
    (8, "AUI"),
    (9, "MII"),
    (10, "FIBRE"),
    (11, "BNC"),
    (16, "Backplane"),
];

/// Speeds in megabits per second, and their modes. This request does not return the bits above 31, which newer hardware
/// uses.
const SPEEDS: [(u32, u32, &str, &str); 22] = [
    (0, 10, "half", "T"),
    (1, 10, "full", "T"),
    (2, 100, "half", "T"),
    (3, 100, "full", "T"),
    (4, 1000, "half", "T"),
    (5, 1000, "full", "T"),
    (12, 10_000, "full", "T"),
    (17, 1000, "full", "KX"),
    (18, 10_000, "full", "KX4"),
    (19, 10_000, "full", "KR"),
    (20, 10_000, "full", "R_FEC"),
    (21, 20_000, "full", "MLD2"),
    (22, 20_000, "full", "KR2"),
    (23, 40_000, "full", "KR4"),
    (24, 40_000, "full", "CR4"),
    (25, 40_000, "full", "SR4"),
    (26, 40_000, "full", "LR4"),
    (27, 56_000, "full", "KR4"),
    (28, 56_000, "full", "CR4"),
    (29, 56_000, "full", "SR4"),
    (30, 56_000, "full", "LR4"),
    (31, 25_000, "full", "CR"),
];
const BYTES_PER_MEGABIT: f64 = 125_000.0;

/// The metrics of the modes that a device supports, and of those that it advertises.
struct Words {
    speed: (&'static str, &'static str),
    autonegotiation: (&'static str, &'static str),
    pause: (&'static str, &'static str),
    asymmetric_pause: (&'static str, &'static str),
}

const SUPPORTED: Words = Words {
    speed: (
        "node_network_supported_speed_bytes",
        "Link speed that the device supports, in bytes per second, by mode.",
    ),
    autonegotiation: (
        "node_network_autonegotiate_supported",
        "Whether the device supports autonegotiation.",
    ),
    pause: (
        "node_network_pause_supported",
        "Whether the device supports pause frames.",
    ),
    asymmetric_pause: (
        "node_network_asymmetricpause_supported",
        "Whether the device supports asymmetric pause frames.",
    ),
};

const ADVERTISED: Words = Words {
    speed: (
        "node_network_advertised_speed_bytes",
        "Link speed that the device advertises, in bytes per second, by mode.",
    ),
    autonegotiation: (
        "node_network_autonegotiate_advertised",
        "Whether the device advertises autonegotiation.",
    ),
    pause: (
        "node_network_pause_advertised",
        "Whether the device advertises pause frames.",
    ),
    asymmetric_pause: (
        "node_network_asymmetricpause_advertised",
        "Whether the device advertises asymmetric pause frames.",
    ),
};

/// Adds everything known about a device's link.
pub(super) fn add_link(device: &[u8], link: Link, samples: &mut Samples) {
    let of = ("device", device);
    for (_, kind) in PORTS.iter().filter(|(bit, _)| has(link.supported, *bit)) {
        samples.gauge(
            "node_network_supported_port_info",
            "Port type that the device supports.",
            &[of, ("type", kind.as_bytes())],
            1,
        );
    }
    add_modes(of, &SUPPORTED, link.supported, samples);
    add_modes(of, &ADVERTISED, link.advertised, samples);
    samples.gauge(
        "node_network_autonegotiate",
        "Whether the device uses autonegotiation.",
        &[of],
        u64::from(link.autonegotiation),
    );
}

fn add_modes(of: (&'static str, &[u8]), words: &Words, modes: u32, samples: &mut Samples) {
    for (_, megabits, duplex, medium) in SPEEDS.iter().filter(|(bit, ..)| has(modes, *bit)) {
        let mode = format!("{megabits}base{medium}");
        let labels = [of, ("duplex", duplex.as_bytes()), ("mode", mode.as_bytes())];
        let speed = f64::from(*megabits) * BYTES_PER_MEGABIT;
        samples.gauge(words.speed.0, words.speed.1, &labels, speed);
    }
    for ((name, help), bit) in [
        (words.autonegotiation, AUTONEGOTIATION),
        (words.pause, PAUSE),
        (words.asymmetric_pause, ASYMMETRIC_PAUSE),
    ] {
        samples.gauge(name, help, &[of], u64::from(has(modes, bit)));
    }
}

fn has(modes: u32, bit: u32) -> bool {
    modes >> bit & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::samples::gather;
    use crate::exposition::Exposition;

    #[test]
    fn bits_become_speeds_ports_and_abilities() {
        let link = Link {
            supported: 0b0011_0010_1110_1111,
            advertised: 1 << 31 | 1 << 14,
            autonegotiation: 1,
        };
        let mut out = Exposition::default();
        gather(&mut out, |samples| {
            add_link(b"eth0", link, samples);
            Ok(())
        })
        .unwrap();
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        let samples = text
            .lines()
            .filter_map(|line| line.strip_prefix("node_network_"));
        let samples: Vec<String> = samples
            .map(|line| line.replace("device=\"eth0\"", ""))
            .collect();
        assert_eq!(
            samples,
            [
                "advertised_speed_bytes{,duplex=\"full\",mode=\"25000baseCR\"} 3.125e+09",
                "asymmetricpause_advertised{} 1",
                "asymmetricpause_supported{} 0",
                "autonegotiate{} 1",
                "autonegotiate_advertised{} 0",
                "autonegotiate_supported{} 1",
                "pause_advertised{} 0",
                "pause_supported{} 1",
                "supported_port_info{,type=\"MII\"} 1",
                "supported_port_info{,type=\"TP\"} 1",
                "supported_speed_bytes{,duplex=\"full\",mode=\"10000baseT\"} 1.25e+09",
                "supported_speed_bytes{,duplex=\"full\",mode=\"1000baseT\"} 1.25e+08",
                "supported_speed_bytes{,duplex=\"full\",mode=\"100baseT\"} 1.25e+07",
                "supported_speed_bytes{,duplex=\"full\",mode=\"10baseT\"} 1.25e+06",
                "supported_speed_bytes{,duplex=\"half\",mode=\"100baseT\"} 1.25e+07",
                "supported_speed_bytes{,duplex=\"half\",mode=\"10baseT\"} 1.25e+06",
            ]
        );
    }
}
