//! What node_exporter understands and this exporter does not.

/// Collectors of node_exporter for Linux that are not in our own table, because it is about to remove them.
pub(super) const LEFT_OUT: [&str; 3] = ["ntp", "runit", "supervisord"];

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
    if LEFT_OUT.contains(&collector) {
        return Some(format!(
            "{flag}: node_exporter's collector {collector} is not implemented here (node_exporter is about to remove it): \
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
