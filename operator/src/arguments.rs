//! The command line.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    Run(RunArguments),
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

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| format!("{text:?} is not a whole number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(namespaces: &str) -> Scope {
        let words = [
            "operator",
            "run",
            "--exporter-image=x",
            "--watch-namespaces",
            namespaces,
        ];
        match Arguments::parse_from(words).command {
            Command::Run(run) => run.scope(),
            Command::Crd => panic!("asked for run"),
        }
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
