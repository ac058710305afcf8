//! Flags of node_exporter that this exporter does not support.

/// node_exporter's collectors for Linux. Those in our own table are looked up there first.
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

/// Why a flag of node_exporter is not supported; `None` for a flag that node_exporter does not have either.
pub(super) fn refusal(flag: &str) -> Option<String> {
    let name = flag.trim_start_matches('-');
    if let Some(reason) = reason(name) {
        return Some(format!("{flag} is not supported: {reason}"));
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

/// The reasons for individual flags.
fn reason(name: &str) -> Option<&'static str> {
    Some(match name {
        "help-man" => "there is no manual page, try --help",
        "completion-bash" | "completion-script-bash" | "completion-script-zsh" => {
            "there are no completions, try --help"
        }
        "collector.filesystem.mount-timeout" | "collector.filesystem.stat-workers" => {
            "mounts that do not respond are left out automatically; remove the flag"
        }
        "collector.systemd.private" => {
            "systemd is queried over the message bus, which does not need root; remove the flag"
        }
        "collector.qdisc.fixtures" | "collector.wifi.fixtures" => {
            "it exists for node_exporter's own tests; remove the flag"
        }
        _ => return None,
    })
}

fn reason_of_collector(collector: &str) -> &'static str {
    match collector {
        "perf" => {
            " (it needs system calls without a memory-safe interface, and privileges that the exporter does not have)"
        }
        "ntp" | "runit" | "supervisord" => " (node_exporter has deprecated it)",
        _ => "",
    }
}
