//! Every scrape shows the present state of the host, although files stay open and decisions are cached.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

mod changes;

use std::path::{Path, PathBuf};

use changes::CASES;
use secure_exporter::collect::Settings;
use secure_exporter::collectors::TABLE;
use secure_exporter::scrape::Registry;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// A copy of the captured host that may be changed.
struct Host {
    directory: tempfile::TempDir,
    registry: Registry,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        copy(Path::new(FIXTURES), directory.path());
        let at = |name: &str| directory.path().join(name);
        let mut settings = Settings {
            procfs: at("proc"),
            sysfs: at("sys"),
            rootfs: at("root"),
            udev_data: at("udev"),
            options: [
                ("collector.arp.netlink", "false".into()),
                ("collector.cpu.info", "true".into()),
            ]
            .into(),
            ..Settings::default()
        };
        settings.enabled = TABLE.iter().map(|spec| spec.name).collect();
        Self {
            registry: Registry::new(&settings).unwrap(),
            directory,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Replaces a file that may be open.
    fn replace(&self, file: &str, from: &str, to: &str) {
        let content = std::fs::read_to_string(self.path(file)).unwrap();
        assert!(content.contains(from), "{file} has no {from:?}");
        let other = self.path("other");
        std::fs::write(&other, content.replacen(from, to, 1)).unwrap();
        std::fs::rename(other, self.path(file)).unwrap();
    }

    fn scrape(&mut self) -> String {
        let mut body = Vec::new();
        self.registry.scrape(&mut body);
        String::from_utf8(body).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            let points_to = std::fs::read_link(entry.path()).unwrap();
            std::os::unix::fs::symlink(points_to, target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_changed_file_is_seen_by_the_next_scrape() {
    let mut host = Host::new();
    for (file, from, to, expected) in CASES {
        let expected = format!("\n{expected}\n");
        assert!(
            !host.scrape().contains(&expected),
            "{expected} before {file} changed"
        );
        host.replace(file, from, to);
        let after = host.scrape();
        assert!(
            after.contains(&expected),
            "no {expected} after {file} changed"
        );
    }
}

#[test]
fn a_udev_entry_replaced_by_renaming_is_seen() {
    let mut host = Host::new();
    host.scrape();
    std::fs::write(host.path("udev/new"), "E:ID_MODEL=Other\n").unwrap();
    std::fs::rename(host.path("udev/new"), host.path("udev/b8:16")).unwrap();
    let expected =
        "node_disk_info{device=\"sdb\",major=\"8\",minor=\"16\",model=\"Other\",path=\"\",";
    assert!(host.scrape().contains(expected));
}

#[test]
fn energy_is_counted_by_zone_and_read_again() {
    let mut host = Host::new();
    let series = |host: &Host, zone: &str, index: u8| {
        let path = host.path("sys/class/powercap").join(zone);
        let name = if zone.matches(':').count() > 1 {
            "core"
        } else {
            "package"
        };
        let path = path.display();
        format!("\nnode_rapl_{name}_joules_total{{index=\"{index}\",path=\"{path}\"}} ")
    };
    let first = host.scrape();
    assert!(first.contains(&format!(
        "{}240422.366267\n",
        series(&host, "intel-rapl:0", 0)
    )));
    assert!(first.contains(&format!("{}3e-06\n", series(&host, "intel-rapl:1:0", 1))));
    host.replace(
        "sys/class/powercap/intel-rapl:1:0/energy_uj",
        "3",
        "5000000",
    );
    assert!(
        host.scrape()
            .contains(&format!("{}5\n", series(&host, "intel-rapl:1:0", 1)))
    );
}

#[test]
fn hardware_comes_and_goes_while_the_exporter_runs() {
    let mut host = Host::new();
    assert!(
        host.scrape()
            .contains("node_watchdog_info{identity=\"Other\"")
    );
    std::fs::remove_dir_all(host.path("sys/class/watchdog/watchdog1")).unwrap();
    std::fs::create_dir(host.path("sys/class/watchdog/watchdog2")).unwrap();
    std::fs::write(host.path("sys/class/watchdog/watchdog2/identity"), "New\n").unwrap();
    let after = host.scrape();
    assert!(!after.contains("node_watchdog_info{identity=\"Other\""));
    assert!(after.contains("node_watchdog_info{identity=\"New\",name=\"watchdog2\""));
}

#[test]
fn an_unplugged_cpu_disappears_and_returns() {
    let mut host = Host::new();
    let line = "cpu2 1031 2 481 22841 20 0 11 0 100 2\n";
    assert!(host.scrape().contains("cpu=\"2\""));
    host.replace("proc/stat", line, "");
    std::fs::remove_dir_all(host.path("sys/devices/system/cpu/cpu2/thermal_throttle")).unwrap();
    let without = host.scrape();
    assert!(!without.contains("node_cpu_seconds_total{cpu=\"2\""));
    assert!(!without.contains("node_cpu_core_throttles_total{core=\"1\",package=\"1\"}"));
    host.replace("proc/stat", "cpu10 ", "cpu2 1 1 1 1 1 1 1 1 1 1\ncpu10 ");
    assert!(
        host.scrape()
            .contains("\nnode_cpu_seconds_total{cpu=\"2\",mode=\"user\"} 0.01\n")
    );
}

#[test]
fn a_file_that_is_lost_fails_only_its_collectors_until_it_is_back() {
    let mut host = Host::new();
    host.scrape();
    let content = std::fs::read(host.path("proc/loadavg")).unwrap();
    std::fs::write(host.path("proc/loadavg"), "").unwrap();
    let broken = host.scrape();
    assert!(broken.contains("\nnode_scrape_collector_success{collector=\"loadavg\"} 0\n"));
    assert!(broken.contains("\nnode_scrape_collector_success{collector=\"cpu\"} 1\n"));
    assert!(!broken.contains("node_load1"));
    std::fs::write(host.path("proc/loadavg"), content).unwrap();
    assert!(host.scrape().contains("\nnode_load1 0.21\n"));
}

#[test]
fn without_the_first_processs_mounts_its_own_are_read() {
    let mut host = Host::new();
    std::fs::remove_file(host.path("proc/1/mountinfo")).unwrap();
    let list = format!(
        "28 1 8:1 / {} rw - ext4 /dev/own rw\n",
        host.path("root").display()
    );
    std::fs::create_dir_all(host.path("proc/self")).unwrap();
    std::fs::write(host.path("proc/self/mountinfo"), list).unwrap();
    let expected = "node_filesystem_device_error{device=\"/dev/own\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"} 0\n";
    assert!(host.scrape().contains(expected));
}

#[test]
fn an_empty_host_fails_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let root = || directory.path().to_owned();
    let settings = Settings {
        procfs: root(),
        sysfs: root(),
        rootfs: root(),
        udev_data: root(),
        ..Settings::default()
    };
    let mut body = Vec::new();
    Registry::new(&settings).unwrap().scrape(&mut body);
    let text = String::from_utf8(body).unwrap();
    let failed: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("node_scrape_collector_success{collector=\"")?
                .strip_suffix("\"} 0")
        })
        .collect();
    assert_eq!(
        failed,
        [
            "bcachefs",
            "bonding",
            "conntrack",
            "cpu",
            "diskstats",
            "dmi",
            "dmmultipath",
            "entropy",
            "fibrechannel",
            "filefd",
            "filesystem",
            "hwmon",
            "infiniband",
            "ipvs",
            "kernel_hung",
            "loadavg",
            "mdadm",
            "meminfo",
            "netclass",
            "netdev",
            "netstat",
            "nfs",
            "nfsd",
            "nvme",
            "os",
            "powersupplyclass",
            "pressure",
            "rapl",
            "schedstat",
            "softnet",
            "stat",
            "tapestats",
            "udp_queues",
            "vmstat",
            "watchdog",
            "zfs"
        ]
    );
}
