//! The command line.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use jiff::SignedDuration;

use crate::{
    api::parse_duration,
    rotation::timing::Timers,
    spec::{
        image_policy::ImagePolicy,
        pod_policy::{PodPolicy, PodRules},
        policy::{Policy, PolicyError},
    },
    supplied::reference::ReferencePolicy,
    telemetry::log_filter::LogFilter,
};

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

    /// Namespace and name of this release, such as `monitoring/secure-exporter`. The operator holds a Lease by this name in
    /// each namespace with SecureExporters, so that two releases do not serve the same namespace
    #[arg(long, env = "SECURE_EXPORTER_RELEASE", value_parser = release)]
    pub release: String,
    /// What resources may put on pods, and what they may reference
    #[command(flatten)]
    pub author: AuthorArguments,

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

/// What the author of a resource may put on the exporters' pods, and which Secrets a resource may reference.
#[derive(Args, Debug)]
#[command(next_help_heading = "What the author of a SecureExporter may do")]
pub struct AuthorArguments {
    /// Prefixes of the labels that spec.workload.podLabels may set, separated by commas: `example.com/` or `team`; `*` for all.
    /// Empty: none
    #[arg(long, value_delimiter = ',')]
    pub allowed_pod_label_prefixes: Vec<String>,

    /// Prefixes of the annotations that spec.workload.podAnnotations may set, separated by commas; `*` for all. Empty: none
    #[arg(long, value_delimiter = ',')]
    pub allowed_pod_annotation_prefixes: Vec<String>,

    /// Priority classes that spec.workload.priorityClassName may name, separated by commas; `*` for all. Empty: none
    #[arg(long, value_delimiter = ',')]
    pub allowed_priority_classes: Vec<String>,

    /// Upper bounds of the requests and limits in spec.workload.resources, separated by commas. A resource that is not in the
    /// list cannot be set
    #[arg(long, value_delimiter = ',', default_value = "cpu=1,memory=512Mi")]
    pub max_exporter_resources: Vec<String>,

    /// Only let resources reference Secrets with the label `secureexporter.dev/usable: "true"`
    #[arg(long)]
    pub require_reference_label: bool,
}

/// The timers of rotations. Rotations are only safe if these are long enough. The defaults are, with every kubelet; shorter
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

    /// How soon an exporter that blocks a rotation is asked again; the interval grows while nothing about it changes
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub probe_interval: SignedDuration,

    /// How often the other exporters are asked, and the maximum of all intervals
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
    /// Returns what the author of a resource may put on pods.
    ///
    /// # Errors
    /// [`PolicyError`] names the flag.
    pub fn policy(&self) -> Result<Policy, PolicyError> {
        let author = &self.author;
        Ok(Policy {
            images: ImagePolicy::new(&self.exporter_image, &self.allowed_images)?,
            pods: PodPolicy::new(&PodRules {
                label_prefixes: author.allowed_pod_label_prefixes.clone(),
                annotation_prefixes: author.allowed_pod_annotation_prefixes.clone(),
                priority_classes: author.allowed_priority_classes.clone(),
                max_resources: author.max_exporter_resources.clone(),
            })?,
        })
    }

    /// Returns which Secrets a resource may reference.
    pub fn references(&self) -> ReferencePolicy {
        if self.author.require_reference_label {
            ReferencePolicy::Labelled
        } else {
            ReferencePolicy::AnyFitting
        }
    }

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

fn release(text: &str) -> Result<String, String> {
    let is_whole = |part: &str| !part.is_empty() && !part.contains('/');
    match text.split_once('/') {
        Some((namespace, name)) if is_whole(namespace) && is_whole(name) => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?} is not of the form namespace/name; for example monitoring/secure-exporter"
        )),
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
        let words = ["operator", "run", "--exporter-image=x", "--release=a/b"];
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
    fn a_release_has_a_namespace_and_a_name() {
        assert_eq!(release("a/b"), Ok("a/b".to_owned()));
        for invalid in ["", "a", "a/", "/b", "a/b/c"] {
            let error = release(invalid).unwrap_err();
            assert!(error.contains("monitoring/secure-exporter"), "{error}");
        }
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
            let words = [
                "operator",
                "run",
                "--exporter-image=x",
                "--release=a/b",
                flag,
            ];
            let error = Arguments::try_parse_from(words)
                .expect_err(flag)
                .to_string();
            let (name, _) = flag.split_once('=').unwrap();
            assert!(error.contains(name) && error.contains(fix), "{error}");
        }
    }

    #[test]
    fn the_flags_about_authors_reach_the_policy() {
        let policy = |more: &[&str]| run(more).policy().map_err(|error| error.to_string());
        let default = policy(&[]).unwrap();
        let one = PodRules {
            max_resources: vec!["cpu=1".into(), "memory=512Mi".into()],
            ..PodRules::default()
        };
        assert_eq!(default.pods, PodPolicy::new(&one).unwrap());
        assert_eq!(run(&[]).references(), ReferencePolicy::AnyFitting);
        let every = run(&[
            "--allowed-pod-label-prefixes=team,example.com/",
            "--allowed-pod-annotation-prefixes=*",
            "--allowed-priority-classes=high,higher",
            "--max-exporter-resources=cpu=2",
            "--require-reference-label",
        ]);
        let rules = PodRules {
            label_prefixes: vec!["team".into(), "example.com/".into()],
            annotation_prefixes: vec!["*".into()],
            priority_classes: vec!["high".into(), "higher".into()],
            max_resources: vec!["cpu=2".into()],
        };
        assert_eq!(
            every.policy().unwrap().pods,
            PodPolicy::new(&rules).unwrap()
        );
        assert_eq!(every.references(), ReferencePolicy::Labelled);
        // An empty text, as of an unset variable, allows nothing.
        let empty = policy(&[
            "--allowed-pod-label-prefixes=",
            "--allowed-priority-classes=",
        ]);
        assert_eq!(empty.unwrap(), default);
        let error = policy(&["--max-exporter-resources=cpu"]).unwrap_err();
        assert!(error.contains("--max-exporter-resources"), "{error}");
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
