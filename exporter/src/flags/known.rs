//! Flags of node_exporter that this exporter does not support.

/// Collectors of node_exporter for Linux that are not in our own table, because it has deprecated them.
pub(super) const LEFT_OUT: [&str; 3] = ["ntp", "runit", "supervisord"];

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
    if LEFT_OUT.contains(&collector) {
        return Some(format!(
            "{flag}: node_exporter's collector {collector} is not implemented here (node_exporter has deprecated it): \
             remove the flag"
        ));
    }
    let mut table = crate::collectors::TABLE.iter();
    let is_ours = table.any(|spec| spec.name == collector);
    (is_ours && option.is_some()).then(|| {
        format!(
            "{flag}: collector {collector} has no such option here (unknown or not implemented), try --help"
        )
    })
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
