//! The flags as clap sees them, those of the collectors made from their table.

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

/// A scrape is given up after a minute; by then it must have answered.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(50);

pub(super) fn command() -> Command {
    let command = Command::new("secure-exporter")
        .about("The metrics of this host under node_exporter's names, encrypted and behind authentication.")
        .disable_version_flag(true)
        .no_binary_name(false)
        .max_term_width(110)
        .after_help(crate::commands::overview())
        .arg(switch("version", "Print the version and end."))
        // kingpin's second form of help.
        .arg(switch("help-long", "").action(ArgAction::Help).hide(true))
        .args(either(
            "collector.disable-defaults",
            "Run only the collectors that are named by --collector.NAME.",
        ));
    let command = runtime(host(paths(web(command))));
    let command = command.arg(
        value(
            "collector.timeout",
            "SECONDS",
            "How long a scrape waits for collectors that hang, as in reading a dead file server; the others are answered. For a scraper that says how long it waits, no longer than seven tenths of that.",
        )
        .default_value("7")
        .value_parser(collector_timeout),
    );
    let command = TABLE.iter().fold(command, collector);
    // Turning off what is not there is no mistake: manifests in the field do it.
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
            "Serve on the sockets that systemd hands over (LISTEN_FDS), of TCP or unix; --web.listen-address then has no effect.",
        ))
        .arg(
            value(
                "web.config.file",
                "FILE",
                "Configuration of TLS, authentication and HTTP. [older name: --web.config]",
            )
            .alias("web.config"),
        )
        .arg(
            value(
                "web.require",
                "WHAT",
                "What the configuration file must provide, or nothing is served: tls,auth (auth is users, or a client certificate that is required and verified).",
            )
            .value_parser(require),
        )
        .arg(
            value(
                "web.telemetry-path",
                "PATH",
                "Path under which the metrics are served.",
            )
            .default_value("/metrics")
            .value_parser(telemetry_path),
        )
        .arg(
            value(
                "web.max-requests",
                "N",
                "Scrapes in parallel; 0 is without a limit.",
            )
            .default_value("40")
            .value_parser(clap::value_parser!(i64)),
        )
        .args(either(
            "web.disable-exporter-metrics",
            "Leave process_* out.",
        ))
}

fn paths(command: Command) -> Command {
    let path = |name: &'static str, default: &'static str, help: &'static str| {
        value(name, "DIR", help).default_value(default)
    };
    command
        .arg(path("path.procfs", "/proc", "Where procfs is mounted."))
        .arg(path("path.sysfs", "/sys", "Where sysfs is mounted."))
        .arg(path(
            "path.rootfs",
            "/",
            "Where the host's root file system is mounted.",
        ))
        .arg(path(
            "path.udev.data",
            "/run/udev/data",
            "Where udev keeps its database.",
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
                "Whether this process shares the host's network namespace (shared) or has one of its own (apart). Apart, the host's network is read through process 1 of --path.procfs, and collectors that could only show this process's own network are left out: conntrack, ethtool, network_route, qdisc, tcpstat, wifi.",
            )
            .default_value("shared")
            .value_parser(network),
        )
        .arg(
            value(
                "host.name",
                "NAME",
                "The host's name in node_uname_info, for a process that has a host name of its own, as a container may.",
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
            value("log.level", "LEVEL", "From which level on to log.")
                .default_value("info")
                .ignore_case(true)
                .value_parser(level),
        )
        .arg(
            value("log.format", "FORMAT", "How log lines look.")
                .default_value("logfmt")
                .value_parser(format),
        )
        .arg(
            value(
                "runtime.gomaxprocs",
                "N",
                "Threads that serve connections. Named as in node_exporter.",
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
    // The default stays with the collector: it must see whether the flag was given.
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

/// A switch and its opposite, of which only one may be given.
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

/// Seconds, also as node_exporter writes durations: `7`, `7s`, `0.5`.
fn collector_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero() && *timeout <= LONGEST_TIMEOUT)
        .ok_or_else(|| {
            format!(
                "a number of seconds is needed, of at most {}",
                LONGEST_TIMEOUT.as_secs()
            )
        })
}

fn listen_address(text: &str) -> Result<ListenAddress, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        let mend = match scheme {
            "unix" => "a unix socket comes from a socket unit, with --web.systemd-socket",
            _ => "write :PORT, IP:PORT or [IPv6]:PORT",
        };
        return Err(format!("{scheme}:// is not implemented: {mend}"));
    }
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("no port: write :{text} for a port alone"))?;
    let port: u16 = port
        .parse()
        .map_err(|_| format!("{port:?} is no port number"))?;
    if host.is_empty() {
        return Ok(ListenAddress::Any(port));
    }
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_| format!("{host:?} is no IP address; names are not looked up"))?,
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
                    "{other:?} is not known; write tls, auth or tls,auth"
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
    Err("a path such as /metrics is needed; it starts with / and not with /-/".into())
}
