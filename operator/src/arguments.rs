//! The command line.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::{api::parse_duration, rotation::timing::Timers};

/// Reconciles SecureExporter resources: encrypted, authenticated and verified node metrics.
#[derive(Parser, Debug)]
#[command(name = "secure-exporter-operator", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Watch SecureExporters and keep what they ask for
    Run(Box<RunArguments>),
    /// Print the CustomResourceDefinition
    Crd,
}

/// How to run.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Image of the exporter where a SecureExporter names none
    #[arg(long, env = "SECURE_EXPORTER_IMAGE")]
    pub exporter_image: String,

    /// Further repositories (prefixes, separated by commas) from which a SecureExporter may take its image
    #[arg(long, env = "SECURE_EXPORTER_ALLOWED_IMAGES", value_delimiter = ',')]
    pub allowed_images: Vec<String>,

    /// Namespaces to watch, separated by commas; `*` watches all
    #[arg(
        long,
        env = "SECURE_EXPORTER_WATCH_NAMESPACES",
        value_delimiter = ',',
        default_value = "*"
    )]
    pub watch_namespaces: Vec<String>,

    /// Address of /livez, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen_address: SocketAddr,

    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Which log lines are written: a level, or a filter such as `info,kube=debug`
    #[arg(long, default_value = "info")]
    pub log_level: String,

    /// How many resources are reconciled at once
    #[arg(long, default_value_t = 4)]
    pub concurrency: u16,

    /// How long running work may take to end after a signal to stop, in seconds
    #[arg(long, default_value = "20", value_parser = seconds)]
    pub shutdown_deadline: Duration,

    /// The waits of a rotation
    #[command(flatten)]
    pub timers: TimerArguments,
}

/// The waits of a rotation, with which its safety stands and falls. The defaults hold for every kubelet; shorter ones are
/// for tests.
#[derive(Args, Debug)]
#[command(next_help_heading = "Waits of a rotation (such as 15m or 30s)")]
pub struct TimerArguments {
    /// How long scrapers are told to trust a new authority before it signs
    #[arg(long, default_value = "15m", value_parser = wait)]
    pub trust_soak: SignedDuration,

    /// How long every exporter must have accepted a new password before scrapers are told it
    #[arg(long, default_value = "30s", value_parser = wait)]
    pub accept_soak: SignedDuration,

    /// After how long an exporter that cannot be asked is believed to have followed, where its node is ready
    #[arg(long, default_value = "15m", value_parser = wait)]
    pub blind_wait: SignedDuration,

    /// For how long nobody may have used an old password before it is dropped
    #[arg(long, default_value = "1h", value_parser = wait)]
    pub unused_for: SignedDuration,

    /// Shortest spec.rotation.clientOverlap that takes effect
    #[arg(long, default_value = "10m", value_parser = wait)]
    pub minimum_overlap: SignedDuration,

    /// How often exporters are asked while a rotation waits for them
    #[arg(long, default_value = "15s", value_parser = wait)]
    pub probe_interval: SignedDuration,

    /// How often exporters are asked otherwise
    #[arg(long, default_value = "10m", value_parser = wait)]
    pub sample_interval: SignedDuration,

    /// How long after an issuer's first refusal it is asked for a certificate anew; each further refusal doubles it
    #[arg(long, default_value = "1m", value_parser = wait)]
    pub request_retry: SignedDuration,
}

impl TimerArguments {
    /// The waits as the machine takes them.
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

/// How log lines are written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Which namespaces are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace.
    Cluster,
    /// These, sorted, each once.
    Namespaces(Vec<String>),
}

impl RunArguments {
    /// Which namespaces are watched: all as soon as one entry is `*`.
    pub fn scope(&self) -> Scope {
        let mut names: Vec<String> = self
            .watch_namespaces
            .iter()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
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

fn wait(text: &str) -> Result<SignedDuration, String> {
    parse_duration(text).map_err(|error| error.to_string())
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
    fn waits_that_are_not_set_are_those_of_the_machine() {
        assert_eq!(run(&[]).timers.timers(), Timers::default());
        let short = run(&["--trust-soak=2s"]).timers.timers();
        assert_eq!(short.trust_soak, SignedDuration::from_secs(2));
    }

    #[test]
    fn a_star_anywhere_watches_everything_and_a_list_is_kept_apart() {
        assert_eq!(scope("*"), Scope::Cluster);
        assert_eq!(scope("a,*"), Scope::Cluster);
        assert_eq!(
            scope("b, a,b"),
            Scope::Namespaces(vec!["a".into(), "b".into()])
        );
    }
}
