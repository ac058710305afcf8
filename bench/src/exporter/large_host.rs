//! What makes an exporter read a made-up host.

use std::collections::BTreeSet;

use testbed::comparison::large_host::LargeHost;

use super::{collectors::only, table::Side};

/// Those that read nothing but the folder.
const COLLECTORS: [&str; 11] = [
    "cpu",
    "cpufreq",
    "diskstats",
    "filefd",
    "loadavg",
    "meminfo",
    "netclass",
    "netdev",
    "schedstat",
    "softnet",
    "vmstat",
];

/// What makes an exporter read it, with those of the collectors that can.
pub fn flags(host: &LargeHost, collectors: &BTreeSet<String>, side: Side) -> Vec<String> {
    let able = collectors
        .iter()
        .filter(|name| COLLECTORS.contains(&name.as_str()));
    let mut flags = only(able);
    for (flag, folder) in [
        ("procfs", "proc"),
        ("sysfs", "sys"),
        ("rootfs", "."),
        ("udev.data", "udev"),
    ] {
        let path = host.folder().join(folder);
        flags.push(format!("--path.{flag}={}", path.display()));
    }
    if side == Side::Theirs {
        // It would ask the kernel of the real host, past the folder.
        flags.push("--no-collector.netdev.netlink".to_owned());
    }
    flags
}
