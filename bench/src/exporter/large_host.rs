//! The flags that make an exporter read a made-up host.

use std::collections::BTreeSet;

use testbed::comparison::large_host::LargeHost;

use super::{collectors::only, table::Side};

/// The collectors that read only files in the folder.
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

/// Returns the flags that make an exporter read the folder, with the collectors that support it.
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
        // This would read from the kernel of the real host instead of the folder.
        flags.push("--no-collector.netdev.netlink".to_owned());
    }
    flags
}
