//! A device that disappears while it is read has no sample: an unread value is neither 0 nor "down".
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use std::os::unix::fs::symlink;
use std::path::Path;

use secure_exporter::collect::Settings;
use secure_exporter::scrape::Registry;

/// A file that can be opened but not read, like an attribute of a device that has just disappeared.
const UNREADABLE: &str = "/proc/self/mem";

/// The collector, a device's directory without its name, and attributes with values.
type Class = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// Classes of devices.
const CLASSES: [Class; 12] = [
    (
        "netclass",
        "class/net/{}",
        &[
            ("operstate", "up"),
            ("flags", "0x1003"),
            ("mtu", "1500"),
            ("address", "02:00:00:00:00:07"),
            ("carrier", "1"),
        ],
    ),
    (
        "powersupplyclass",
        "class/power_supply/{}",
        &[("type", "Battery"), ("status", "Full"), ("capacity", "98")],
    ),
    (
        "thermal_zone",
        "class/thermal/thermal_zone{}",
        &[("temp", "49925"), ("type", "cpu")],
    ),
    (
        "thermal_zone",
        "class/thermal/cooling_device{}",
        &[("cur_state", "1"), ("max_state", "3"), ("type", "Fan")],
    ),
    (
        "watchdog",
        "class/watchdog/{}",
        &[("identity", "soft"), ("state", "active")],
    ),
    (
        "nvme",
        "class/nvme/nvme{}",
        &[("model", "m"), ("state", "live")],
    ),
    (
        "nvmesubsystem",
        "class/nvme-subsystem/nvme-subsys{}",
        &[("subsysnqn", "nqn.2014-08.org.example:a"), ("model", "m")],
    ),
    (
        "drm",
        "class/drm/card{}/device",
        &[("uevent", "DRIVER=amdgpu"), ("gpu_busy_percent", "3")],
    ),
    (
        "mdadm",
        "block/md{}/md",
        &[("level", "raid1"), ("raid_disks", "2"), ("degraded", "1")],
    ),
    (
        "tapestats",
        "class/scsi_tape/st{}/stats",
        &[("in_flight", "1"), ("read_cnt", "3")],
    ),
    (
        "fibrechannel",
        "class/fc_host/host{}",
        &[("port_state", "Online"), ("speed", "16 Gbit")],
    ),
    (
        "infiniband",
        "class/infiniband/mlx{}",
        &[("board_id", "b"), ("fw_ver", "1"), ("hca_type", "t")],
    ),
];

fn samples(root: &Path, collector: &'static str) -> Vec<String> {
    let settings = Settings {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        enabled: [collector].into(),
        ..Settings::default()
    };
    let mut body = Vec::new();
    Registry::new(&settings).unwrap().scrape(&mut body);
    let text = String::from_utf8(body).unwrap();
    let shown = text.lines().filter(|line| !line.starts_with('#'));
    shown.map(str::to_owned).collect()
}

#[test]
fn a_device_that_vanishes_has_no_samples_and_costs_no_other() {
    for (collector, directory, attributes) in CLASSES {
        let host = tempfile::tempdir().unwrap();
        std::fs::create_dir(host.path().join("proc")).unwrap();
        std::fs::write(host.path().join("proc/mdstat"), "Personalities :\n").unwrap();
        let (sound, gone, link) = ("7", "41", "83");
        for name in [sound, gone] {
            let device = host.path().join("sys").join(directory.replace("{}", name));
            std::fs::create_dir_all(&device).unwrap();
            if collector == "infiniband" {
                std::fs::create_dir(device.join("ports")).unwrap();
            }
            for (attribute, value) in attributes {
                match name == sound {
                    true => std::fs::write(device.join(attribute), value).unwrap(),
                    false => symlink(UNREADABLE, device.join(attribute)).unwrap(),
                }
            }
        }
        // It disappeared between the listing and the first read.
        let class = Path::new(directory).components().take(2);
        let class = host
            .path()
            .join("sys")
            .join(class.collect::<std::path::PathBuf>());
        if directory.starts_with("class/") {
            let name = Path::new(directory).components().nth(2).unwrap();
            let name = name.as_os_str().to_str().unwrap().replace("{}", link);
            symlink("nowhere", class.join(name)).unwrap();
        }
        let samples = samples(host.path(), collector);
        let of = |name: &str| {
            let device = |line: &&String| line.contains(&format!("{name}\""));
            samples.iter().filter(device).count()
        };
        assert!(of(sound) > 0, "{directory}: {samples:#?}");
        assert_eq!((of(gone), of(link)), (0, 0), "{directory}: {samples:#?}");
        let success = format!("node_scrape_collector_success{{collector=\"{collector}\"}} 1");
        assert!(samples.contains(&success), "{directory}: {samples:#?}");
    }
}
