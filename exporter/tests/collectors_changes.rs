//! Every scrape shows the host of its own moment, although files stay open and decisions are remembered.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use std::path::{Path, PathBuf};

use secure_exporter::collectors::{Registry, Settings};

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
        let settings = Settings {
            procfs: at("proc"),
            sysfs: at("sys"),
            rootfs: at("root"),
            udev_data: at("udev"),
            ..Settings::default()
        };
        Self {
            registry: Registry::new(&settings).unwrap(),
            directory,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let content = std::fs::read_to_string(self.path(file)).unwrap();
        assert!(content.contains(from), "{file} has no {from:?}");
        std::fs::write(self.path(file), content.replacen(from, to, 1)).unwrap();
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
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_changed_file_is_seen_by_the_next_scrape() {
    let cases = [
        (
            "proc/stat",
            "cpu1 1010",
            "cpu1 2010",
            "node_cpu_seconds_total{cpu=\"1\",mode=\"user\"} 20.1",
        ),
        (
            "proc/stat",
            "ctxt 38014093",
            "ctxt 38014099",
            "node_context_switches_total 3.8014099e+07",
        ),
        ("proc/loadavg", "0.21", "3.5", "node_load1 3.5"),
        (
            "proc/meminfo",
            "MemFree:          440324",
            "MemFree: 1",
            "node_memory_MemFree_bytes 1024",
        ),
        (
            "proc/diskstats",
            "sdb 326552",
            "sdb 326553",
            "node_disk_reads_completed_total{device=\"sdb\"} 326553",
        ),
        (
            "proc/net/dev",
            "eth0:68210035552",
            "eth0:5",
            "node_network_receive_bytes_total{device=\"eth0\"} 5",
        ),
        (
            "proc/vmstat",
            "oom_kill 7",
            "oom_kill 8",
            "node_vmstat_oom_kill 8",
        ),
        (
            "proc/1/mountinfo",
            "/ rw,relatime",
            "/ ro,relatime",
            "node_filesystem_readonly{device=\"/dev/nvme0n1p1\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"} 1",
        ),
        (
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "tsc",
            "hpet",
            "node_time_clocksource_current_info{clocksource=\"hpet\",device=\"0\"} 1",
        ),
        (
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
            "5",
            "6",
            "node_cpu_core_throttles_total{core=\"0\",package=\"0\"} 6",
        ),
        (
            "sys/class/net/eth0/statistics/rx_nohandler",
            "12",
            "13",
            "node_network_receive_nohandler_total{device=\"eth0\"} 13",
        ),
        (
            "udev/b8:0",
            "ROTATION_RATE_RPM=7200",
            "ROTATION_RATE_RPM=5400",
            "node_disk_ata_rotation_rate_rpm{device=\"sda\"} 5400",
        ),
    ];
    let mut host = Host::new();
    for (file, from, to, expected) in cases {
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
    std::fs::create_dir(host.path("proc/self")).unwrap();
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
            "cpu",
            "diskstats",
            "filesystem",
            "loadavg",
            "meminfo",
            "netdev",
            "stat",
            "vmstat"
        ]
    );
}
