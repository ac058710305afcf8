//! Defines the flags for clap; those of the collectors come from their table.

use clap::builder::TypedValueParser as _;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use clap::{Arg, ArgAction, Command};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tracing::Level;

use super::known::LEFT_OUT;
use crate::collect::{CollectorSpec, HostNetwork, OptionKind, OptionSpec};
use crate::collectors::TABLE;
use crate::credentials::snapshot::Require;
use crate::log::Format;
use crate::server::listen::ListenAddress;

/// Prometheus gives up a scrape after a minute at most; by then it must be answered.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(50);

pub(super) fn command() -> Command {
    let command = Command::new("secure-exporter")
        .about("Serves the metrics of this host under node_exporter's names, with TLS and authentication.")
        .disable_version_flag(true)
        .no_binary_name(false)
        .max_term_width(110)
        .after_help(crate::commands::overview())
        .arg(switch("version", "Print the version and exit."))
        // kingpin's second form of help.
        .arg(switch("help-long", "").action(ArgAction::Help).hide(true))
        .args(either(
            "collector.disable-defaults",
            "Run only the collectors that are enabled by --collector.NAME.",
        ));
    let command = runtime(host(paths(web(command))));
    let command = command.arg(
        value(
            "collector.timeout",
            "SECONDS",
            "How long a scrape waits for collectors that hang, for example on an unreachable file server; the metrics of the other collectors are returned. If the scraper announces its own timeout, the scrape waits for at most seven tenths of it.",
        )
        .default_value("7")
        .value_parser(collector_timeout),
    );
    let command = TABLE.iter().fold(command, collector);
    // Disabling a collector that does not exist is not an error, because existing manifests do it.
    LEFT_OUT.iter().fold(command, |command, name| {
        command.arg(switch(format!("no-collector.{name}"), "").hide(true))
    })
}

fn web(command: Command) -> Command {
    command
        .arg(
            value(
                "web.listen-address",
                "ADDRESS",
                "Address to listen on, repeatable: :PORT, IP:PORT or [IPv6]:PORT.",
            )
            .action(ArgAction::Append)
            .default_value(":9100")
            .value_parser(listen_address),
        )
        .args(either(
            "web.systemd-socket",
            "Serve on the TCP or unix sockets that systemd passes (LISTEN_FDS); --web.listen-address then has no effect.",
        ))
        .arg(
            value(
                "web.config.file",
                "FILE",
                "Web configuration file, for TLS, authentication and HTTP. [older name: --web.config]",
            )
            .alias("web.config"),
        )
        .arg(
            value(
                "web.require",
                "WHAT",
                "What the web configuration must provide, or the exporter does not start: tls,auth (auth means users, or client certificates that are required and verified).",
            )
            .value_parser(require),
        )
        .arg(
            value(
                "web.telemetry-path",
                "PATH",
                "Path at which the metrics are served.",
            )
            .default_value("/metrics")
            .value_parser(telemetry_path),
        )
        .arg(
            value(
                "web.max-requests",
                "N",
                "Maximum number of parallel scrapes; 0 means no limit.",
            )
            .default_value("40")
            .value_parser(clap::value_parser!(i64)),
        )
        .args(either(
            "web.disable-exporter-metrics",
            "Leave out the process_* metrics of the exporter itself.",
        ))
}

fn paths(command: Command) -> Command {
    let path = |name: &'static str, default: &'static str, help: &'static str| {
        value(name, "DIR", help).default_value(default)
    };
    command
        .arg(path("path.procfs", "/proc", "Mount point of procfs."))
        .arg(path("path.sysfs", "/sys", "Mount point of sysfs."))
        .arg(path(
            "path.rootfs",
            "/",
            "Mount point of the host's root file system.",
        ))
        .arg(path(
            "path.udev.data",
            "/run/udev/data",
            "Directory of udev's database.",
        ))
}

fn host(command: Command) -> Command {
    let network = PossibleValuesParser::new(["shared", "apart"]).map(|name| {
        if name == "apart" {
            HostNetwork::Apart
        } else {
            HostNetwork::Shared
        }
    });
    command
        .arg(
            value(
                "host.network",
                "HOW",
                "Whether this process shares the host's network namespace (shared) or has its own (apart). With apart, the host's network is read through process 1 of --path.procfs, and collectors that can only show this process's own network are left out: conntrack, ethtool, network_route, qdisc, tcpstat, wifi.",
            )
            .default_value("shared")
            .value_parser(network),
        )
        .arg(
            value(
                "host.name",
                "NAME",
                "Host name to show in node_uname_info, for a process that has its own host name, such as in a container.",
            )
            .value_parser(NonEmptyStringValueParser::new()),
        )
}

fn runtime(command: Command) -> Command {
    let level =
        PossibleValuesParser::new(["debug", "info", "warn", "error"]).map(|name| {
            match name.to_ascii_lowercase().as_str() {
                "debug" => Level::DEBUG,
                "warn" => Level::WARN,
                "error" => Level::ERROR,
                _ => Level::INFO,
            }
        });
    let format = PossibleValuesParser::new(["logfmt", "json"]).map(|name| {
        if name == "json" {
            Format::Json
        } else {
            Format::Logfmt
        }
    });
    command
        .arg(
            value(
                "log.level",
                "LEVEL",
                "Minimum level of the messages to log.",
            )
            .default_value("info")
            .ignore_case(true)
            .value_parser(level),
        )
        .arg(
            value("log.format", "FORMAT", "Format of log lines.")
                .default_value("logfmt")
                .value_parser(format),
        )
        .arg(
            value(
                "runtime.gomaxprocs",
                "N",
                "Number of threads that serve connections; named after node_exporter's flag.",
            )
            .env("GOMAXPROCS")
            .hide_env(true)
            .default_value("1")
            .value_parser(clap::value_parser!(usize)),
        )
}

fn collector(command: Command, spec: &CollectorSpec) -> Command {
    let name = format!("collector.{}", spec.name);
    let default = if spec.default_enabled {
        "enabled"
    } else {
        "disabled"
    };
    let help = format!(
        "{} (default: {default}; --no-{name} turns it off)",
        spec.summary
    );
    let command = command.args(either(&name, help));
    spec.options.iter().fold(command, option)
}

fn option(command: Command, option: &OptionSpec) -> Command {
    let help = match option.default {
        "" => option.help.to_owned(),
        default => format!("{} [default: {default}]", option.help),
    };
    let hidden = option.deprecated_by.is_some();
    // The collector applies the default itself, because it must know whether the flag was given.
    let (placeholder, action) = match option.kind {
        OptionKind::Pattern => ("REGEXP", ArgAction::Set),
        OptionKind::Texts => ("TEXT", ArgAction::Append),
        OptionKind::List => ("NAMES", ArgAction::Set),
        OptionKind::Number => ("NUMBER", ArgAction::Set),
        OptionKind::Switch => {
            let [on, off] = either(option.flag, help);
            return command.arg(on.hide(hidden)).arg(off);
        }
    };
    command.arg(
        value(option.flag, placeholder, help)
            .action(action)
            .hide(hidden),
    )
}

/// A switch and its opposite, which are mutually exclusive.
fn either(name: &str, help: impl Into<String>) -> [Arg; 2] {
    let off = switch(format!("no-{name}"), "").hide(true);
    [switch(name, help), off.conflicts_with(name.to_owned())]
}

fn switch(name: impl Into<String>, help: impl Into<String>) -> Arg {
    let name = name.into();
    Arg::new(name.clone())
        .long(name)
        .help(help.into())
        .action(ArgAction::SetTrue)
}

fn value(name: &'static str, placeholder: &'static str, help: impl Into<String>) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(placeholder)
        .help(help.into())
        .allow_hyphen_values(true)
}

/// Parses seconds, also in node_exporter's format for durations: `7`, `7s`, `0.5`.
fn collector_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero() && *timeout <= LONGEST_TIMEOUT)
        .ok_or_else(|| {
            format!(
                "expected a number of seconds, at most {}",
                LONGEST_TIMEOUT.as_secs()
            )
        })
}

fn listen_address(text: &str) -> Result<ListenAddress, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        let fix = match scheme {
            "unix" => "use --web.systemd-socket with a socket unit",
            _ => "write :PORT, IP:PORT or [IPv6]:PORT",
        };
        return Err(format!("{scheme}:// is not implemented: {fix}"));
    }
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("no port: write :{text} to give only a port"))?;
    let port: u16 = port
        .parse()
        .map_err(|_| format!("{port:?} is not a port number"))?;
    if host.is_empty() {
        return Ok(ListenAddress::Any(port));
    }
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_| format!("{host:?} is not an IP address; host names are not resolved"))?,
    };
    Ok(ListenAddress::One(SocketAddr::new(ip, port)))
}

fn require(text: &str) -> Result<Require, String> {
    let mut require = Require::default();
    for part in text.split(',') {
        match part.trim() {
            "tls" => require.tls = true,
            "auth" => require.auth = true,
            other => {
                return Err(format!(
                    "unknown value {other:?}; use tls, auth or tls,auth"
                ));
            }
        }
    }
    Ok(require)
}

fn telemetry_path(text: &str) -> Result<String, String> {
    if text.starts_with('/')
        && !text.contains(['?', '#', ' ', '"', '<', '>', '&'])
        && !text.starts_with("/-/")
    {
        return Ok(text.to_owned());
    }
    Err("expected a path such as /metrics, which starts with / but not with /-/".into())
}
