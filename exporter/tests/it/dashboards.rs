//! The metrics of stock alerts, recording rules and dashboards exist on the captured host or on this one.

#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use std::collections::BTreeSet;
use std::path::Path;

use secure_exporter::collect::Settings;
use secure_exporter::collectors::TABLE;
use secure_exporter::scrape::Registry;

const NAMES: &str = include_str!("dashboards/names.txt");

/// Names that neither host has, and the reasons.
const ABSENT: [(&str, &str); 9] = [
    // node_exporter 1.12.1 has no such metric either.
    ("node_kernel_hung_tasks", "renamed"),
    ("node_hwmon_temp_crit_hyst_celsius", "of few sensors"),
    ("node_netstat_Tcp_MaxConn", "of --collector.netstat.fields"),
    // Read over the message bus; the collector's own tests use a fake one.
    ("node_systemd_service_restart_total", "bus"),
    ("node_systemd_socket_accepted_connections_total", "bus"),
    ("node_systemd_socket_current_connections", "bus"),
    ("node_systemd_socket_refused_connections_total", "bus"),
    ("node_systemd_unit_state", "bus"),
    ("node_systemd_units", "bus"),
];

#[test]
fn stock_alerts_rules_and_dashboards_find_their_metrics() {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    let captured = Settings {
        procfs: fixtures.join("proc"),
        sysfs: fixtures.join("sys"),
        rootfs: fixtures.join("root"),
        udev_data: fixtures.join("udev"),
        ..Settings::default()
    };
    let mut told = families(captured);
    told.extend(families(Settings::default()));
    // The exporter's own metrics are tested where they are served.
    let asked = NAMES
        .lines()
        .filter(|line| line.starts_with("node_") && *line != "node_exporter_build_info");
    let asked: BTreeSet<&str> = asked.collect();
    assert!(asked.len() > 220, "{}", asked.len());
    let absent: BTreeSet<&str> = ABSENT.iter().map(|(name, _)| *name).collect();
    let missing: BTreeSet<&str> = asked
        .into_iter()
        .filter(|name| !told.contains(*name))
        .collect();
    assert_eq!(missing, absent);
}

fn families(mut settings: Settings) -> BTreeSet<String> {
    settings.enabled = TABLE.iter().map(|spec| spec.name).collect();
    let mut body = Vec::new();
    Registry::new(&settings).unwrap().scrape(&mut body);
    let text = String::from_utf8(body).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    names
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}
