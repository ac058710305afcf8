//! The command line.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use jiff::SignedDuration;

use crate::{api::parse_duration, rotation::timing::Timers, telemetry::log_filter::LogFilter};

/// Kubernetes operator for SecureExporter resources: encrypted, authenticated and verified node metrics.
#[derive(Parser, Debug)]
#[command(name = "secure-exporter-operator", version)]
pub struct Arguments {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the operator
    Run(Box<RunArguments>),
    /// Print the CustomResourceDefinition
    Crd,
}

/// Options of `run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Default exporter image, used where spec.image of a SecureExporter is unset
    #[arg(long, env = "SECURE_EXPORTER_IMAGE")]
    pub exporter_image: String,

    /// Additional image repositories that spec.image may name, as prefixes separated by commas
    #[arg(long, env = "SECURE_EXPORTER_ALLOWED_IMAGES", value_delimiter = ',')]
    pub allowed_images: Vec<String>,

    /// Namespaces to watch, separated by commas; `*` for all namespaces
    #[arg(
        long,
        env = "SECURE_EXPORTER_WATCH_NAMESPACES",
        value_delimiter = ',',
        default_value = "*",
        value_parser = namespace
    )]
    pub watch_namespaces: Vec<String>,

    /// Address and port of /livez, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen_address: SocketAddr,

    /// Format of the log
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Log level: error, warn, info, debug or trace. Other levels for modules may follow: `info,kube=debug`
    #[arg(long, default_value = "info")]
    pub log_level: LogFilter,

    /// Maximum number of resources that are reconciled concurrently, in all namespaces together
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(1..))]
    pub concurrency: u16,

    /// How long running reconciliations may take to end after a stop signal, in seconds
    #[arg(long, default_value = "20", value_parser = seconds)]
    pub shutdown_deadline: Duration,

    /// The timers of rotations
    #[command(flatten)]
    pub timers: TimerArguments,
}

/// The timers of rotations. Rotations are only safe if these are long enough: the defaults are, for every kubelet; shorter
/// ones are for tests.
#[derive(Args, Debug)]
#[command(
    next_help_heading = "Timers of rotations (for example 15m or 30s; shorter than the defaults only for tests)"
)]
pub struct TimerArguments {
    /// How long a new CA must have been in the CA bundle before it signs certificates
    #[arg(long, default_value = "15m", value_parser = duration)]
    pub trust_soak: SignedDuration,

    /// How long exporters must have accepted a new password before it is published for the scrapers
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub accept_soak: SignedDuration,

    /// How long until an exporter that cannot be asked is assumed to be up to date, if its pod is ready
    #[arg(long, default_value = "15m", value_parser = duration)]
    pub blind_wait: SignedDuration,

    /// How long no client may have used an old password before it is dropped
    #[arg(long, default_value = "1h", value_parser = duration)]
    pub unused_for: SignedDuration,

    /// Minimum of spec.rotation.clientOverlap; shorter values are raised to it
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub minimum_overlap: SignedDuration,

    /// How often the exporters are asked while a rotation waits for them
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub probe_interval: SignedDuration,

    /// How often the exporters are asked otherwise
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub sample_interval: SignedDuration,

    /// How long until a certificate is requested again after cert-manager refused one; doubles with each further refusal
    #[arg(long, default_value = "1m", value_parser = duration)]
    pub request_retry: SignedDuration,
}

impl TimerArguments {
    /// Converts the options.
    pub fn timers(&self) -> Timers {
        Timers {
            trust_soak: self.trust_soak,
            accept_soak: self.accept_soak,
            blind_wait: self.blind_wait,
            unused_for: self.unused_for,
            minimum_overlap: self.minimum_overlap,
            probe_interval: self.probe_interval,
            sample_interval: self.sample_interval,
            request_retry: self.request_retry,
        }
    }
}

/// Format of the log.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text
    Text,
    /// One JSON object per line
    Json,
}

/// Which namespaces are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace.
    Cluster,
    /// These namespaces, sorted, each once.
    Namespaces(Vec<String>),
}

impl RunArguments {
    /// Returns which namespaces are watched: all if one of the entries is `*` or there is none.
    pub fn scope(&self) -> Scope {
        let mut names: Vec<String> = self
            .watch_namespaces
            .iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        if names.is_empty() || names.iter().any(|name| name == "*") {
            Scope::Cluster
        } else {
            Scope::Namespaces(names)
        }
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn namespace(text: &str) -> Result<String, String> {
    let name = text.trim();
    let is_allowed = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    let is_label = name.len() <= 63
        && name.chars().all(is_allowed)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if name == "*" || is_label {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "{name:?} is not a namespace: use lower-case letters, digits and hyphens, or * for all namespaces"
        ))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| format!("{text:?} is not a whole number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(more: &[&str]) -> RunArguments {
        let words = ["operator", "run", "--exporter-image=x"];
        match Arguments::parse_from(words.iter().chain(more)).command {
            Command::Run(run) => *run,
            Command::Crd => panic!("asked for run"),
        }
    }

    fn scope(namespaces: &str) -> Scope {
        run(&["--watch-namespaces", namespaces]).scope()
    }

    #[test]
    fn the_default_timers_are_those_of_rotations() {
        assert_eq!(run(&[]).timers.timers(), Timers::default());
        let short = run(&["--trust-soak=2s"]).timers.timers();
        assert_eq!(short.trust_soak, SignedDuration::from_secs(2));
    }

    #[test]
    fn an_invalid_value_is_an_error_that_names_the_flag() {
        for (flag, fix) in [
            (
                "--log-level=verbose",
                "use error, warn, info, debug or trace",
            ),
            ("--concurrency=0", "1..=65535"),
            (
                "--watch-namespaces=monitoring,Prod",
                "\"Prod\" is not a namespace",
            ),
        ] {
            let words = ["operator", "run", "--exporter-image=x", flag];
            let error = Arguments::try_parse_from(words)
                .expect_err(flag)
                .to_string();
            let (name, _) = flag.split_once('=').unwrap();
            assert!(error.contains(name) && error.contains(fix), "{error}");
        }
    }

    #[test]
    fn a_star_anywhere_in_the_list_watches_all_namespaces() {
        assert_eq!(scope("*"), Scope::Cluster);
        assert_eq!(scope("a,*"), Scope::Cluster);
        assert_eq!(
            scope("b, a,b"),
            Scope::Namespaces(vec!["a".into(), "b".into()])
        );
    }
}
