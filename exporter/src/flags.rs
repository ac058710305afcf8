//! The command line: node_exporter's flags and some additional ones.
//!
//! A flag of node_exporter that is not supported here is refused with an error message rather than ignored, because the
//! user expects it to have an effect.

mod arguments_file;
mod build;
mod error;
mod known;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use tracing::Level;

pub use self::error::FlagError;
use crate::collect::{HostNetwork, OptionKind, Settings};
use crate::collectors::TABLE;
use crate::credentials::snapshot::Require;
use crate::log::Format;
use crate::scrape::Registry;
use crate::server::listen::{Listen, ListenAddress};
use crate::version;

/// What a command line requests.
#[derive(Debug)]
pub enum Invocation {
    /// Print this text and exit successfully.
    Print(String),
    /// Serve.
    Run(Box<Flags>),
}

/// A parsed command line.
#[derive(Debug, Clone)]
pub struct Flags {
    /// Where connections come in.
    pub listen: Listen,
    /// The web configuration file.
    pub config_file: Option<PathBuf>,
    /// What the web configuration must provide, both at the start and after each reload.
    pub require: Require,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// Maximum number of parallel scrapes; `None` means no limit.
    pub max_requests: Option<usize>,
    /// Whether `process_*` is left out.
    pub disable_exporter_metrics: bool,
    /// The settings of the collectors.
    pub collectors: Settings,
    /// Number of threads that serve connections.
    pub worker_threads: usize,
    /// The minimum level of log lines.
    pub log_level: Level,
    /// Format of log lines.
    pub log_format: Format,
}

/// Parses a command line, which starts with the program's name.
///
/// # Errors
/// The first unknown or invalid flag.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, FlagError> {
    match build::command().try_get_matches_from(arguments_file::expand(arguments)?) {
        Ok(matches) if matches.get_flag("version") => Ok(Invocation::Print(version::long())),
        Ok(matches) => Ok(Invocation::Run(Box::new(understand(&matches)?))),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            Ok(Invocation::Print(error.to_string()))
        }
        Err(error) => Err(refusal(&error)),
    }
}

/// Checks a command line as the exporter does when it starts, for programs that generate one. Files and devices named by
/// options are not read.
///
/// # Errors
/// The first unknown or invalid flag, or an option with which a collector cannot be built.
pub fn check(arguments: impl IntoIterator<Item = OsString>) -> Result<(), FlagError> {
    match parse(arguments)? {
        Invocation::Print(_) => Err(FlagError(
            "the arguments ask for the help or the version, so nothing would be served".into(),
        )),
        Invocation::Run(flags) => Registry::new(&flags.collectors)
            .map(drop)
            .map_err(|error| FlagError(error.to_string())),
    }
}

fn understand(matches: &ArgMatches) -> Result<Flags, FlagError> {
    let path = |name: &str| matches.get_one::<String>(name).map(PathBuf::from);
    let flags = Flags {
        listen: listen(matches),
        config_file: path("web.config.file").filter(|path| !path.as_os_str().is_empty()),
        require: matches
            .get_one::<Require>("web.require")
            .copied()
            .unwrap_or_default(),
        telemetry_path: matches
            .get_one::<String>("web.telemetry-path")
            .cloned()
            .unwrap_or_default(),
        max_requests: matches
            .get_one::<i64>("web.max-requests")
            .and_then(|limit| usize::try_from(*limit).ok())
            .filter(|limit| *limit > 0),
        disable_exporter_metrics: matches.get_flag("web.disable-exporter-metrics"),
        collectors: collectors(matches),
        worker_threads: matches
            .get_one::<usize>("runtime.gomaxprocs")
            .copied()
            .unwrap_or(1)
            .max(1),
        log_level: matches
            .get_one::<Level>("log.level")
            .copied()
            .unwrap_or(Level::INFO),
        log_format: matches
            .get_one::<Format>("log.format")
            .copied()
            .unwrap_or(Format::Logfmt),
    };
    if flags.require != Require::default() && flags.config_file.is_none() {
        return Err(FlagError(
            "--web.require is set but no configuration file is given: add --web.config.file=FILE"
                .into(),
        ));
    }
    Ok(flags)
}

fn listen(matches: &ArgMatches) -> Listen {
    if matches.get_flag("web.systemd-socket") {
        return Listen::SystemdSockets;
    }
    let addresses = matches.get_many::<ListenAddress>("web.listen-address");
    Listen::Addresses(addresses.into_iter().flatten().copied().collect())
}

fn collectors(matches: &ArgMatches) -> Settings {
    let path = |name: &str| {
        matches
            .get_one::<String>(name)
            .map(PathBuf::from)
            .unwrap_or_default()
    };
    let defaults = !matches.get_flag("collector.disable-defaults");
    let mut settings = Settings {
        procfs: path("path.procfs"),
        sysfs: path("path.sysfs"),
        rootfs: path("path.rootfs"),
        udev_data: path("path.udev.data"),
        host_network: matches
            .get_one::<HostNetwork>("host.network")
            .copied()
            .unwrap_or_default(),
        host_name: matches.get_one::<String>("host.name").cloned(),
        ..Settings::default()
    };
    if let Some(timeout) = matches.get_one::<Duration>("collector.timeout") {
        settings.timeout = *timeout;
    }
    settings.enabled.clear();
    for spec in TABLE {
        let on = matches.get_flag(&format!("collector.{}", spec.name));
        let off = matches.get_flag(&format!("no-collector.{}", spec.name));
        if on || (defaults && spec.default_enabled && !off) {
            settings.enabled.insert(spec.name);
        }
        for option in spec.options {
            if let Some(value) = option_value(matches, option.flag, option.kind) {
                settings.options.insert(option.flag, value);
            }
        }
    }
    settings
}

fn option_value(matches: &ArgMatches, flag: &str, kind: OptionKind) -> Option<String> {
    if kind != OptionKind::Switch {
        let values = matches.get_many::<String>(flag)?;
        let lines: Vec<&str> = values.map(String::as_str).collect();
        return Some(lines.join("\n"));
    }
    match (
        matches.get_flag(flag),
        matches.get_flag(&format!("no-{flag}")),
    ) {
        (true, _) => Some("true".to_owned()),
        (_, true) => Some("false".to_owned()),
        _ => None,
    }
}

/// The messages of kingpin, which users and scripts know from node_exporter.
fn refusal(error: &clap::Error) -> FlagError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let argument = text(ContextKind::InvalidArg);
    let flag = argument.split([' ', '=']).next().unwrap_or_default();
    FlagError(match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') && !flag.starts_with("--") => {
            format!("unknown short flag '{flag}', try --help")
        }
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            known::refusal(flag).unwrap_or_else(|| match text(ContextKind::SuggestedArg) {
                near if near.is_empty() => format!("unknown long flag '{flag}', try --help"),
                near => format!("unknown long flag '{flag}', did you mean '{near}'? try --help"),
            })
        }
        ErrorKind::UnknownArgument => format!("unexpected {argument}, try --help"),
        ErrorKind::ArgumentConflict => format!(
            "flag '{}' cannot be repeated, try --help",
            flag.trim_start_matches('-')
        ),
        _ => {
            let whole = error.to_string();
            let first = whole.lines().next().unwrap_or_default();
            format!(
                "{}, try --help",
                first.strip_prefix("error: ").unwrap_or(first)
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Flags {
        match parse(
            std::iter::once("secure-exporter")
                .chain(arguments.iter().copied())
                .map(OsString::from),
        ) {
            Ok(Invocation::Run(flags)) => *flags,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    fn refused(arguments: &[&str]) -> String {
        parse(
            std::iter::once("secure-exporter")
                .chain(arguments.iter().copied())
                .map(OsString::from),
        )
        .unwrap_err()
        .to_string()
    }

    #[test]
    fn without_arguments_all_is_as_with_node_exporter() {
        let flags = run(&[]);
        assert_eq!(
            flags.listen,
            Listen::Addresses(vec![ListenAddress::Any(9100)])
        );
        assert_eq!(flags.collectors, Settings::default());
        assert_eq!((flags.config_file, flags.max_requests), (None, Some(40)));
        assert_eq!(flags.telemetry_path, "/metrics");
    }

    #[test]
    fn the_operators_command_line_is_understood() {
        let flags = run(&[
            "--web.config.file=/etc/secure-exporter/web-config.yml",
            "--web.require=tls,auth",
            "--web.listen-address=:9101",
            "--path.procfs=/host/proc",
            "--path.sysfs=/host/sys",
            "--path.rootfs=/host/root",
            "--path.udev.data=/host/root/run/udev/data",
            "--log.level=info",
            "--no-collector.vmstat",
            "--collector.filesystem.mount-points-exclude=^/x$",
        ]);
        assert_eq!(
            flags.config_file,
            Some("/etc/secure-exporter/web-config.yml".into())
        );
        assert_eq!(
            flags.require,
            Require {
                tls: true,
                auth: true
            }
        );
        assert_eq!(
            flags.listen,
            Listen::Addresses(vec![ListenAddress::Any(9101)])
        );
        assert_eq!(flags.collectors.procfs, PathBuf::from("/host/proc"));
        assert!(
            !flags.collectors.enabled.contains("vmstat")
                && flags.collectors.enabled.contains("cpu")
        );
        assert_eq!(
            flags.collectors.options["collector.filesystem.mount-points-exclude"],
            "^/x$"
        );
    }

    #[test]
    fn a_pod_with_its_own_network_gets_flags_for_its_host() {
        let flags = run(&["--host.network=apart", "--host.name=node-7"]).collectors;
        assert_eq!(flags.host_network, HostNetwork::Apart);
        assert_eq!(flags.host_name.as_deref(), Some("node-7"));
        assert!(refused(&["--host.network=none"]).contains("host.network"));
        // The value of `--host.name=$NODE_NAME` if the variable is not set.
        assert!(refused(&["--host.name="]).contains("host.name"));
    }

    #[test]
    fn how_long_collectors_may_take() {
        let timeout = |flag: &str| run(&[flag]).collectors.timeout;
        assert_eq!(timeout("--collector.timeout=2s"), Duration::from_secs(2));
        assert_eq!(
            timeout("--collector.timeout=0.5"),
            Duration::from_millis(500)
        );
        for bad in ["0", "-1", "51", "5m", ""] {
            let reason = refused(&[&format!("--collector.timeout={bad}")]);
            assert!(reason.contains("collector.timeout"), "{reason}");
        }
    }

    #[test]
    fn a_command_line_is_checked_with_the_options_of_the_collectors_that_would_run() {
        let checked = |arguments: &[&str]| {
            let words = std::iter::once("secure-exporter").chain(arguments.iter().copied());
            check(words.map(OsString::from)).map_err(|error| error.to_string())
        };
        checked(&[
            "--collector.pcidevice",
            "--collector.pcidevice.idsfile=/does/not/exist",
        ])
        .unwrap();
        let error = checked(&["--collector.netdev.device-exclude=("]).unwrap_err();
        assert!(
            error.contains("--collector.netdev.device-exclude"),
            "{error}"
        );
        // This one starts nevertheless.
        checked(&[
            "--no-collector.netdev",
            "--collector.netdev.device-exclude=(",
        ])
        .unwrap();
        assert!(checked(&["--collector.cpuu"]).is_err());
    }

    #[test]
    fn the_older_name_of_the_configuration_flag_works() {
        assert_eq!(
            run(&["--web.config=a.yml"]).config_file,
            Some("a.yml".into())
        );
        assert!(refused(&["--web.config=a.yml", "--web.config.file=b.yml"]).contains("cannot be"));
    }

    #[test]
    fn explicit_collectors_win_over_disabled_defaults() {
        let flags = run(&["--collector.disable-defaults", "--collector.cpu"]);
        assert_eq!(
            flags.collectors.enabled.into_iter().collect::<Vec<_>>(),
            ["cpu"]
        );
    }

    #[test]
    fn addresses() {
        let flags = run(&[
            "--web.listen-address=127.0.0.1:0",
            "--web.listen-address",
            "[::1]:9100",
            "--web.listen-address=localhost:1",
        ]);
        let one = |text: &str| ListenAddress::One(text.parse().unwrap());
        assert_eq!(
            flags.listen,
            Listen::Addresses(vec![
                one("127.0.0.1:0"),
                one("[::1]:9100"),
                one("127.0.0.1:1")
            ])
        );
        assert!(refused(&["--web.listen-address=unix:///x"]).contains("--web.systemd-socket"));
        assert!(
            refused(&["--web.listen-address=vsock://:9100"])
                .contains("vsock:// is not implemented")
        );
        let sockets = run(&["--web.systemd-socket", "--web.listen-address=:1"]);
        assert_eq!(sockets.listen, Listen::SystemdSockets);
        assert!(refused(&["--web.listen-address=node7:9100"]).contains("IP address"));
        assert!(refused(&["--web.listen-address=9100"]).contains(":9100"));
    }

    #[test]
    fn what_node_exporter_has_and_we_do_not_is_refused_by_name() {
        let cases = [
            ("--collector.runit", "runit"),
            ("--collector.ntp.server=a", "ntp"),
        ];
        for (flag, name) in cases {
            let message = refused(&[flag]);
            assert!(
                message.contains(name) && message.contains("not implemented"),
                "{message}"
            );
        }
        assert!(refused(&["--collector.perf.cpu=1"]).contains("no such option"));
        for (flag, reason) in [
            (
                "--collector.filesystem.mount-timeout=5s",
                "left out automatically",
            ),
            ("--collector.systemd.private", "message bus"),
            ("--collector.qdisc.fixtures=x", "tests"),
        ] {
            let message = refused(&[flag]);
            assert!(message.contains(reason), "{message}");
        }
        // It is off anyway, and existing manifests set it.
        run(&["--no-collector.ntp", "--no-collector.wifi"]);
    }

    #[test]
    fn arguments_come_from_files_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("arguments");
        std::fs::write(
            &file,
            "# from here on\n--web.listen-address\n:1\n\n--log.level=DEBUG\n",
        )
        .unwrap();
        let flags = run(&[&format!("@{}", file.display()), "--web.max-requests=-1"]);
        assert_eq!(flags.listen, Listen::Addresses(vec![ListenAddress::Any(1)]));
        assert_eq!((flags.log_level, flags.max_requests), (Level::DEBUG, None));
        assert!(refused(&["@/does/not/exist"]).contains("/does/not/exist"));
    }

    #[test]
    fn switches_can_be_turned_off_and_not_twice() {
        for name in [
            "web.systemd-socket",
            "web.disable-exporter-metrics",
            "collector.disable-defaults",
            "collector.cpu.guest",
        ] {
            let (on, off) = (format!("--{name}"), format!("--no-{name}"));
            run(&[&on]);
            let flags = run(&[&off]);
            assert_eq!(
                flags.listen,
                Listen::Addresses(vec![ListenAddress::Any(9100)])
            );
            assert!(!flags.disable_exporter_metrics && flags.collectors.enabled.len() > 1);
            assert!(
                refused(&[&on, &off]).contains("cannot be repeated"),
                "{name}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!(refused(&["--collector.cpuu"]).starts_with("unknown long flag '--collector.cpuu'"));
        assert_eq!(
            refused(&["--collector.cpu", "--no-collector.cpu"])
                .split(',')
                .next(),
            Some("flag 'collector.cpu' cannot be repeated")
        );
        assert!(refused(&["--web.require=tls"]).contains("--web.config.file"));
        assert!(refused(&["--web.require=tsl", "--web.config.file=x"]).contains("tls"));
        assert!(refused(&["--log.level=loud"]).contains("loud"));
        assert!(refused(&["stray"]).contains("stray"));
        assert!(refused(&["-x"]).starts_with("unknown short flag '-x'"));
        assert!(refused(&["--web.telemetry-path=metrics"]).contains("/metrics"));
    }

    #[test]
    fn help_and_version_are_printed() {
        let print = |flag: &str| match parse([OsString::from("x"), OsString::from(flag)]) {
            Ok(Invocation::Print(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(print("--version").starts_with("secure-exporter, version "));
        let help = print("--help");
        assert!(print("-h") == help && print("--help-long") == help);
        for flag in ["--help-man", "--completion-script-bash"] {
            assert!(refused(&[flag]).starts_with(&format!("{flag} is not supported: there ")));
        }
        assert!(
            help.contains("--collector.filesystem.mount-points-exclude")
                && help.contains("--web.require")
        );
    }
}
