//! The exporter's command line, and `spec.exporter`, which is checked as the exporter checks it.

use std::collections::BTreeSet;

use secure_exporter::{collectors::TABLE, flags};

use crate::{
    api::{ExporterSpec, HostNetwork, LogLevel},
    spec::error::SpecError,
};

/// Log level, collectors and arguments of the exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidExporter {
    /// Its log level.
    pub log_level: LogLevel,
    /// Collectors to run in addition to the default ones, sorted.
    pub enabled_collectors: Vec<String>,
    /// Default collectors that do not run, sorted.
    pub disabled_collectors: Vec<String>,
    /// Additional arguments, in the order of the spec.
    pub extra_args: Vec<String>,
}

/// Mount path of the Secret with certificate, key and users.
pub(crate) const CREDENTIALS_PATH: &str = "/etc/secure-exporter";

/// Environment variable with the node's name, for pods that do not share the node's host name.
pub(crate) const NODE_NAME: &str = "NODE_NAME";

/// How many typing errors a suggested name may differ by.
const MAX_TYPING_ERRORS: usize = 3;

/// Returns the exporter's command line. With `--web.require` the exporter refuses to start with a missing or empty
/// configuration instead of serving without protection.
pub(crate) fn command_line(
    port: u16,
    network: HostNetwork,
    exporter: &ValidExporter,
) -> Vec<String> {
    let fixed = [
        format!("--web.config.file={CREDENTIALS_PATH}/web-config.yml"),
        "--web.require=tls,auth".to_owned(),
        format!("--web.listen-address=:{port}"),
        "--path.procfs=/host/proc".to_owned(),
        "--path.sysfs=/host/sys".to_owned(),
        "--path.rootfs=/host/root".to_owned(),
        // Below the root file system, so that a node without udev needs no mount.
        "--path.udev.data=/host/root/run/udev/data".to_owned(),
        format!("--log.level={}", exporter.log_level.as_flag()),
    ];
    let apart = [
        "--host.network=apart".to_owned(),
        // The kubelet substitutes the value; the kernel's host name would be the pod's name.
        format!("--host.name=$({NODE_NAME})"),
    ];
    let apart = apart.into_iter().filter(|_| network == HostNetwork::Pod);
    let enabled = exporter
        .enabled_collectors
        .iter()
        .map(|name| format!("--collector.{name}"));
    let disabled = exporter
        .disabled_collectors
        .iter()
        .map(|name| format!("--no-collector.{name}"));
    fixed
        .into_iter()
        .chain(apart)
        .chain(enabled)
        .chain(disabled)
        .chain(exporter.extra_args.iter().cloned())
        .collect()
}

/// Validates `spec.exporter`, except for the port.
///
/// # Errors
/// The first invalid collector or argument.
pub(crate) fn exporter(
    spec: &ExporterSpec,
    network: HostNetwork,
) -> Result<ValidExporter, SpecError> {
    let enabled_collectors = collectors("enabled", &spec.collectors.enabled)?;
    let disabled_collectors = collectors("disabled", &spec.collectors.disabled)?;
    if let Some(both) = enabled_collectors
        .iter()
        .find(|name| disabled_collectors.contains(name))
    {
        return Err(SpecError::new(
            "spec.exporter.collectors",
            format!(
                "collector {both} is both enabled and disabled: remove it from one of the lists"
            ),
        ));
    }
    for (index, name) in spec.collectors.enabled.iter().enumerate() {
        if let Some(problem) = cannot_work_in_a_pod(name) {
            return Err(SpecError::new(
                format!("spec.exporter.collectors.enabled[{index}]"),
                problem,
            ));
        }
    }
    for (index, argument) in spec.extra_args.iter().enumerate() {
        check_argument(argument).map_err(|problem| in_argument(index, problem))?;
    }
    let exporter = ValidExporter {
        log_level: spec.log_level,
        enabled_collectors,
        disabled_collectors,
        extra_args: spec.extra_args.clone(),
    };
    check_as_exporter(&exporter, network)?;
    Ok(exporter)
}

/// The reason why a collector shows nothing in the exporters' pods. They have neither the socket of the node's message bus,
/// which gives a process more access to the node than metrics need, nor capabilities.
fn cannot_work_in_a_pod(collector: &str) -> Option<&'static str> {
    match collector {
        "logind" | "systemd" => Some(
            "the collectors systemd and logind cannot work in a pod, because they need the node's message bus, which is not \
             mounted: remove them here, and where you need their metrics, run secure-exporter as a service on the node",
        ),
        "perf" => Some(
            "the collector perf cannot work in a pod, because it needs the capability CAP_PERFMON, which the pods do not \
             have: remove it here, and where you need its metrics, run secure-exporter as a service on the node",
        ),
        _ => None,
    }
}

fn collectors(list: &str, names: &[String]) -> Result<Vec<String>, SpecError> {
    for (index, name) in names.iter().enumerate() {
        check_collector(name).map_err(|problem| {
            SpecError::new(format!("spec.exporter.collectors.{list}[{index}]"), problem)
        })?;
    }
    Ok(names
        .iter()
        .cloned()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect())
}

fn check_collector(name: &str) -> Result<(), String> {
    let mut known = TABLE.iter().map(|spec| spec.name);
    if known.any(|known| known == name) {
        return Ok(());
    }
    let similar = TABLE
        .iter()
        .map(|spec| (strsim::damerau_levenshtein(spec.name, name), spec.name))
        .min();
    Err(match similar {
        Some((distance, known)) if distance <= MAX_TYPING_ERRORS => {
            format!("unknown collector {name:?}; did you mean {known:?}?")
        }
        _ => format!("unknown collector {name:?}: `secure-exporter --help` lists the collectors"),
    })
}

/// Allows only options of collectors and of the log, because any other flag could open the endpoint or read files of the
/// node, or of the operator when it checks the command line.
fn check_argument(argument: &str) -> Result<(), String> {
    let name = argument.split_once('=').map_or(argument, |(name, _)| name);
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let is_allowed = ["--collector.", "--no-collector.", "--log."]
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix))
        .any(|option| !option.is_empty() && option.chars().all(is_plain));
    if !is_allowed {
        return Err(format!(
            "argument {name:?} is not allowed: use only --collector.*, --no-collector.* and --log.*"
        ));
    }
    if name == "--log.level" {
        return Err("set spec.exporter.logLevel instead".to_owned());
    }
    let collector = name
        .strip_prefix("--collector.")
        .and_then(|option| option.split('.').next());
    match collector.and_then(cannot_work_in_a_pod) {
        Some(problem) => Err(problem.to_owned()),
        None => Ok(()),
    }
}

/// Checks the whole command line as the exporter does at its start. Without additional arguments there is nothing in it that
/// was not checked before.
fn check_as_exporter(exporter: &ValidExporter, network: HostNetwork) -> Result<(), SpecError> {
    let count = exporter.extra_args.len();
    if count == 0 || refusal(exporter, network, count).is_none() {
        return Ok(());
    }
    // An argument more never makes a refused command line valid, so the first wrong one is found by bisection.
    let lengths: Vec<usize> = (1..=count).collect();
    let index = lengths.partition_point(|length| refusal(exporter, network, *length).is_none());
    let said = refusal(exporter, network, index + 1).unwrap_or_default();
    Err(in_argument(
        index,
        format!("the exporters would not start: {said}"),
    ))
}

/// Returns the exporter's error for its command line with the first `count` additional arguments; `None` if it accepts it.
fn refusal(exporter: &ValidExporter, network: HostNetwork, count: usize) -> Option<String> {
    let extra_args = exporter.extra_args.iter().take(count).cloned().collect();
    let exporter = ValidExporter {
        extra_args,
        ..exporter.clone()
    };
    let arguments = command_line(9100, network, &exporter);
    let words = std::iter::once("secure-exporter".to_owned()).chain(arguments);
    let refused = flags::check(words.map(Into::into)).err()?.to_string();
    // The message about a regular expression has several lines.
    Some(refused.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn in_argument(index: usize, problem: impl Into<String>) -> SpecError {
    SpecError::new(format!("spec.exporter.extraArgs[{index}]"), problem)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(spec: Value, network: HostNetwork) -> Result<ValidExporter, SpecError> {
        exporter(&serde_json::from_value(spec).unwrap(), network)
    }

    fn refused(spec: Value) -> SpecError {
        parse(spec.clone(), HostNetwork::Host).expect_err(&spec.to_string())
    }

    #[test]
    fn the_exporter_accepts_its_command_line() {
        let every: Vec<&str> = TABLE.iter().map(|spec| spec.name).collect();
        for network in [HostNetwork::Host, HostNetwork::Pod] {
            let exporter = ValidExporter {
                enabled_collectors: every.iter().map(|&name| name.to_owned()).collect(),
                ..parse(json!({}), network).unwrap()
            };
            assert_eq!(refusal(&exporter, network, 0), None);
        }
    }

    #[test]
    fn an_argument_with_which_the_exporter_would_not_start_is_named_with_the_reason() {
        for (arguments, index, words) in [
            (
                json!([
                    "--collector.cpu.info",
                    "--collector.netdev.device-exclude=("
                ]),
                1,
                "regular expression",
            ),
            (
                json!(["--collector.cpuu"]),
                0,
                "did you mean '--collector.cpu'",
            ),
            (json!(["--collector.cpu.infos"]), 0, "no such option"),
            (json!(["--log.format=xml"]), 0, "xml"),
            (json!(["--log.colour"]), 0, "--log.colour"),
            (
                json!(["--collector.textfile.directory"]),
                0,
                "textfile.directory",
            ),
            (
                json!(["--no-collector.vmstat", "--collector.ntp"]),
                1,
                "not implemented",
            ),
            (
                json!(["--collector.cpu", "--collector.os", "--no-collector.cpu"]),
                2,
                "cannot be repeated",
            ),
            (json!(["--collector.timeout=an hour"]), 0, "timeout"),
            // Each is right alone.
            (
                json!([
                    "--collector.netdev.device-exclude=^a",
                    "--collector.arp",
                    "--collector.netdev.device-include=^b"
                ]),
                2,
                "mutually exclusive",
            ),
        ] {
            let error = refused(json!({"extraArgs": arguments}));
            assert_eq!(
                error.field,
                format!("spec.exporter.extraArgs[{index}]"),
                "{error}"
            );
            assert!(
                error.problem.starts_with("the exporters would not start: "),
                "{error}"
            );
            assert!(
                error.problem.contains(words) && !error.problem.contains('\n'),
                "{error}"
            );
        }
    }

    #[test]
    fn arguments_are_checked_together_with_the_other_fields() {
        let spec = json!({"collectors": {"disabled": ["vmstat"]}, "extraArgs": ["--log.format=json", "--collector.vmstat"]});
        assert_eq!(refused(spec).field, "spec.exporter.extraArgs[1]");
        let spec = json!({"extraArgs": ["--collector.arp.netlink"]});
        parse(spec.clone(), HostNetwork::Host).unwrap();
        let error = parse(spec, HostNetwork::Pod).unwrap_err();
        assert!(error.problem.contains("--host.network=shared"), "{error}");
    }

    #[test]
    fn only_options_of_collectors_and_of_the_log_reach_the_exporters_parser() {
        for argument in [
            "@/etc/hostname",
            "--path.procfs=/",
            "--",
            "--help",
            "--version",
            "--web.require=",
            "-h",
            "--collector.",
        ] {
            let error = refused(json!({"extraArgs": [argument]}));
            assert!(error.problem.contains("is not allowed"), "{error}");
        }
        let error = refused(json!({"extraArgs": ["--log.level=debug"]}));
        assert_eq!(error.problem, "set spec.exporter.logLevel instead");
    }

    #[test]
    fn collectors_that_cannot_work_in_a_pod_are_refused_with_the_reason() {
        for (field, spec, reason) in [
            (
                "collectors.enabled[1]",
                json!({"collectors": {"enabled": ["cpu", "systemd"]}}),
                "message bus",
            ),
            (
                "collectors.enabled[0]",
                json!({"collectors": {"enabled": ["logind"]}}),
                "message bus",
            ),
            (
                "collectors.enabled[0]",
                json!({"collectors": {"enabled": ["perf"]}}),
                "CAP_PERFMON",
            ),
            (
                "extraArgs[0]",
                json!({"extraArgs": ["--collector.logind"]}),
                "message bus",
            ),
            (
                "extraArgs[0]",
                json!({"extraArgs": ["--collector.systemd.unit-include=^a"]}),
                "message bus",
            ),
            (
                "extraArgs[0]",
                json!({"extraArgs": ["--collector.perf"]}),
                "CAP_PERFMON",
            ),
        ] {
            let error = refused(spec);
            assert_eq!(error.field, format!("spec.exporter.{field}"));
            assert!(
                error.problem.contains(reason) && error.problem.contains("as a service"),
                "{error}"
            );
        }
        // Manifests of node_exporter say this.
        let spec = json!({"collectors": {"disabled": ["logind"]}, "extraArgs": ["--no-collector.systemd", "--no-collector.ntp"]});
        parse(spec, HostNetwork::Host).unwrap();
    }
}
