//! The whole scrape of a captured host, compared with a text that was checked against node_exporter's.

#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use std::path::Path;

use secure_exporter::collect::Settings;
use secure_exporter::scrape::Registry;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// Metrics that depend on the machine and the time rather than on the captured files: only their value, or also their
/// labels.
const VOLATILE_VALUE: [&str; 8] = [
    "node_filesystem_avail_bytes{",
    "node_filesystem_files{",
    "node_filesystem_files_free{",
    "node_filesystem_free_bytes{",
    "node_filesystem_size_bytes{",
    "node_scrape_collector_duration_seconds{",
    "node_time_seconds ",
    "node_timex_",
];
const VOLATILE_LABELS: [&str; 4] = [
    "node_rapl_core_joules_total{",
    "node_rapl_package_joules_total{",
    "node_time_zone_offset_seconds{",
    "node_uname_info{",
];

fn settings() -> Settings {
    let fixtures = Path::new(FIXTURES);
    Settings {
        procfs: fixtures.join("proc"),
        sysfs: fixtures.join("sys"),
        rootfs: fixtures.join("root"),
        udev_data: fixtures.join("udev"),
        // Netlink would show this machine instead.
        options: [("collector.arp.netlink", "false".into())].into(),
        ..Settings::default()
    }
}

fn masked(text: &str) -> String {
    let mask = |line: &str| {
        if let Some(name) = VOLATILE_LABELS.iter().find(|name| line.starts_with(**name)) {
            return format!("{}_}} _\n", name);
        }
        match line.rsplit_once(' ') {
            Some((series, _)) if VOLATILE_VALUE.iter().any(|name| line.starts_with(name)) => {
                format!("{series} _\n")
            }
            _ => format!("{line}\n"),
        }
    };
    text.lines().map(mask).collect()
}

#[test]
fn the_captured_host_gives_the_golden_text() {
    assert_golden(&settings(), "golden.txt");
}

#[test]
fn what_is_optional_about_hardware_and_memory_gives_its_golden_text() {
    let mut settings = settings();
    settings.enabled = [
        "buddyinfo",
        "cgroups",
        "cpu",
        "cpu_vulnerabilities",
        "cpufreq",
        "drbd",
        "drm",
        "ksmd",
        "meminfo_numa",
        "mountstats",
        "nvmesubsystem",
        "pcidevice",
        "slabinfo",
        "swap",
        "sysctl",
        "zoneinfo",
    ]
    .into();
    let names = "kernel.threads-max\nfs.file-nr\nfs.file-nr:total,current,max";
    settings
        .options
        .insert("collector.sysctl.include", names.into());
    settings.options.insert(
        "collector.sysctl.include-info",
        "kernel.seccomp.actions_avail".into(),
    );
    for (flag, value) in [
        ("collector.cpu.info.bugs-include", "spectre"),
        ("collector.cpu.info.flags-include", "^(aes|avx2?|hwp)"),
        ("collector.pcidevice.names", "true"),
    ] {
        settings.options.insert(flag, value.into());
    }
    assert_golden(&settings, "golden-optional.txt");
}

fn assert_golden(settings: &Settings, file: &str) {
    let mut registry = Registry::new(settings).unwrap();
    let mut body = Vec::new();
    registry.scrape(&mut body);
    let found = masked(std::str::from_utf8(&body).unwrap());
    let golden = Path::new(FIXTURES).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap();
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(
            found,
            expected,
            "line {} of {file} (UPDATE_GOLDEN=1 rewrites it)",
            number + 1
        );
    }
    assert_eq!(found.lines().count(), expected.lines().count());

    let mut again = Vec::new();
    registry.scrape(&mut again);
    assert_eq!(
        masked(std::str::from_utf8(&again).unwrap()),
        found,
        "the second scrape reuses every buffer"
    );
}

#[test]
fn flags_of_hardware_reach_their_collectors() {
    let scrape = |flags: &[(&'static str, &str)]| {
        let mut settings = settings();
        let flags = flags
            .iter()
            .map(|(flag, value)| (*flag, (*value).to_owned()));
        settings.options.extend(flags);
        settings.enabled.insert("slabinfo");
        let mut body = Vec::new();
        Registry::new(&settings).unwrap().scrape(&mut body);
        String::from_utf8(body).unwrap()
    };
    let all = scrape(&[]);
    for (flag, value, gone) in [
        (
            "collector.hwmon.chip-exclude",
            "^hwmon0_",
            "chip=\"hwmon0_device\"",
        ),
        (
            "collector.hwmon.chip-include",
            "^hwmon0_",
            "chip=\"nct6779\"",
        ),
        (
            "collector.hwmon.sensor-exclude",
            "^nct6779;fan2$",
            "node_hwmon_fan_rpm{",
        ),
        ("collector.hwmon.sensor-include", "temp", "node_hwmon_pwm{"),
        (
            "collector.powersupply.ignored-supplies",
            "^BAT",
            "power_supply=\"BAT0\"",
        ),
        ("collector.tapestats.ignored-devices", "st", "node_tape_"),
        (
            "collector.slabinfo.slabs-exclude",
            "^tw_",
            "slab=\"tw_sock_TCP\"",
        ),
        (
            "collector.slabinfo.slabs-include",
            "^dma",
            "slab=\"tw_sock_TCP\"",
        ),
    ] {
        assert!(all.contains(gone), "{gone} without --{flag}");
        assert!(
            !scrape(&[(flag, value)]).contains(gone),
            "{gone} with --{flag}={value}"
        );
    }
    for (flag, there) in [
        (
            "collector.rapl.enable-zone-label",
            "rapl_zone=\"package\"} 240422.366267\n",
        ),
        (
            "collector.bcache.priorityStats",
            "\nnode_bcache_priority_stats_unused_percent{",
        ),
    ] {
        assert!(!all.contains(there), "{there} without --{flag}");
        assert!(
            scrape(&[(flag, "true")]).contains(there),
            "no {there} with --{flag}"
        );
    }
}

#[test]
fn a_scrape_is_appended_to_what_is_there() {
    let mut body = b"before\n".to_vec();
    Registry::new(&settings()).unwrap().scrape(&mut body);
    assert!(body.starts_with(b"before\n# HELP node_arp_entries "));
}

#[test]
fn families_are_whole_unique_and_in_order() {
    let mut live = Registry::new(&Settings::default()).unwrap();
    let mut body = Vec::new();
    live.scrape(&mut body);
    let text = String::from_utf8(body).unwrap();
    let mut family = "";
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("# HELP ") {
            family = header.split(' ').next().unwrap();
            families.push(family);
        } else if let Some(header) = line.strip_prefix("# TYPE ") {
            assert_eq!(header.split(' ').next(), Some(family));
        } else {
            assert_eq!(line.split(['{', ' ']).next(), Some(family), "{line}");
        }
    }
    assert!(families.is_sorted_by(|a, b| a < b), "{families:?}");
    assert!(
        families.len() > 100,
        "this machine's own scrape has {} families",
        families.len()
    );
}

#[test]
fn switches_and_patterns_reach_their_collectors() {
    let mut settings = settings();
    settings
        .options
        .insert("collector.cpu.guest", "false".into());
    settings
        .options
        .insert("collector.stat.softirq", "true".into());
    settings
        .options
        .insert("collector.vmstat.fields", "^thp_".into());
    settings
        .options
        .insert("collector.netdev.device-exclude", "^veth".into());
    settings
        .options
        .insert("collector.diskstats.device-include", "^ram".into());
    settings.options.insert(
        "collector.filesystem.mount-points-exclude",
        "^/data$".into(),
    );
    settings.options.insert(
        "collector.filesystem.fs-types-exclude",
        "^(ext4|tmpfs|overlay|proc|sysfs)$".into(),
    );
    let mut body = Vec::new();
    Registry::new(&settings).unwrap().scrape(&mut body);
    let text = String::from_utf8(body).unwrap();
    assert!(!text.contains("node_cpu_guest_seconds_total"));
    assert!(text.contains("\nnode_softirqs_total{vector=\"block\"} 186066\n"));
    assert!(
        text.contains("\nnode_vmstat_thp_fault_alloc 0\n") && !text.contains("node_vmstat_pgpgin")
    );
    assert!(text.contains("device=\"lo\"") && !text.contains("veth"));
    assert!(
        text.contains("node_disk_io_now{device=\"ram0\"} 0\n") && !text.contains("device=\"sda\"")
    );
    assert!(!text.contains("node_filesystem_"));
}

#[test]
fn only_enabled_collectors_run() {
    let mut settings = settings();
    settings.enabled.retain(|name| *name == "loadavg");
    let mut body = Vec::new();
    Registry::new(&settings).unwrap().scrape(&mut body);
    let text = String::from_utf8(body).unwrap();
    let samples: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("duration"))
        .collect();
    assert_eq!(
        samples,
        [
            "node_load1 0.21",
            "node_load15 0.39",
            "node_load5 12.37",
            "node_scrape_collector_success{collector=\"loadavg\"} 1"
        ]
    );
}

#[test]
fn a_wrong_option_refuses_to_build_and_names_the_flag() {
    let mut settings = settings();
    settings
        .options
        .insert("collector.netdev.device-exclude", "(".into());
    let error = Registry::new(&settings).unwrap_err().to_string();
    assert!(
        error.starts_with("--collector.netdev.device-exclude is not a valid regular expression"),
        "{error}"
    );
}
