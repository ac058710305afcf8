//! What node_exporter understands and this exporter does not.

/// Collectors of node_exporter for Linux. Those in our own table are looked up there first.
pub(super) const NODE_EXPORTER_COLLECTORS: &[&str] = &[
    "arp",
    "bcache",
    "bcachefs",
    "bonding",
    "btrfs",
    "buddyinfo",
    "cgroups",
    "conntrack",
    "cpu",
    "cpu_vulnerabilities",
    "cpufreq",
    "diskstats",
    "dmi",
    "dmmultipath",
    "drbd",
    "drm",
    "edac",
    "entropy",
    "ethtool",
    "fibrechannel",
    "filefd",
    "filesystem",
    "hwmon",
    "infiniband",
    "interrupts",
    "ipvs",
    "kernel_hung",
    "ksmd",
    "lnstat",
    "loadavg",
    "logind",
    "mdadm",
    "meminfo",
    "meminfo_numa",
    "mountstats",
    "netclass",
    "netdev",
    "netstat",
    "network_route",
    "nfs",
    "nfsd",
    "ntp",
    "nvme",
    "nvmesubsystem",
    "os",
    "pcidevice",
    "perf",
    "powersupplyclass",
    "pressure",
    "processes",
    "qdisc",
    "rapl",
    "runit",
    "schedstat",
    "selinux",
    "slabinfo",
    "sockstat",
    "softirqs",
    "softnet",
    "stat",
    "supervisord",
    "swap",
    "sysctl",
    "systemd",
    "tapestats",
    "tcpstat",
    "textfile",
    "thermal_zone",
    "time",
    "timex",
    "udp_queues",
    "uname",
    "vmstat",
    "watchdog",
    "wifi",
    "xfrm",
    "xfs",
    "zfs",
    "zoneinfo",
];

/// Why a flag that node_exporter has is not taken; `None` for one that it has not either.
pub(super) fn refusal(flag: &str) -> Option<String> {
    let name = flag.trim_start_matches('-');
    if let Some(reason) = reason(name) {
        return Some(format!("{flag} is not taken: {reason}"));
    }
    let rest = name
        .strip_prefix("no-")
        .unwrap_or(name)
        .strip_prefix("collector.")?;
    let (collector, option) = rest
        .split_once('.')
        .map_or((rest, None), |(name, option)| (name, Some(option)));
    if !NODE_EXPORTER_COLLECTORS.contains(&collector) {
        return None;
    }
    let implemented = crate::collectors::TABLE
        .iter()
        .any(|spec| spec.name == collector);
    match (implemented, option) {
        (false, _) => Some(format!(
            "{flag}: node_exporter's collector {collector} is not implemented here{}: remove the flag",
            reason_of_collector(collector)
        )),
        (true, Some(_)) => Some(format!(
            "{flag}: collector {collector} has no such option here (unknown or not implemented), try --help"
        )),
        (true, None) => None,
    }
}

/// Of single flags.
fn reason(name: &str) -> Option<&'static str> {
    Some(match name {
        "help-man" => "there is no manual page, try --help",
        "completion-bash" | "completion-script-bash" | "completion-script-zsh" => {
            "there are no completions, try --help"
        }
        "collector.filesystem.mount-timeout" | "collector.filesystem.stat-workers" => {
            "a mount that does not answer is left out by itself; remove the flag"
        }
        "collector.systemd.private" => {
            "systemd is asked over the message bus, which needs no root; remove the flag"
        }
        "collector.qdisc.fixtures" | "collector.wifi.fixtures" => {
            "it serves node_exporter's own tests; remove the flag"
        }
        _ => return None,
    })
}

fn reason_of_collector(collector: &str) -> &'static str {
    match collector {
        "perf" => {
            " (it needs calls for which there is no memory-safe interface, and rights that the exporter does without)"
        }
        "ntp" | "runit" | "supervisord" => " (node_exporter is about to remove it)",
        _ => "",
    }
}
