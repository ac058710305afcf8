//! What node_exporter understands and this exporter does not, yet.

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
    match name {
        "help-man" => return Some(format!("{flag}: there is no manual page, try --help")),
        "completion-bash" | "completion-script-bash" | "completion-script-zsh" => {
            return Some(format!("{flag}: there are no completions, try --help"));
        }
        _ => {}
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
    // The counters of drivers can be had by ioctl alone.
    let reason = match collector {
        "ethtool" => " (it needs calls for which there is no memory-safe interface)",
        _ => "",
    };
    match (implemented, option) {
        (false, _) => Some(format!(
            "{flag}: node_exporter's collector {collector} is not implemented here{reason}: remove the flag"
        )),
        (true, Some(_)) => Some(format!(
            "{flag}: collector {collector} has no such option here (unknown or not implemented), try --help"
        )),
        (true, None) => None,
    }
}
