//! The spec after every check: the only form in which the rest of the operator sees it.

mod certificate;
mod credentials;
pub mod image_policy;
pub mod issuer;
pub mod methods;
mod served;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Affinity, Toleration};

use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString};
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        Advance, ExporterSpec, HostNetwork, KNOWN_COLLECTORS, LogLevel, MinTlsVersion,
        PasswordSecretRef, PullPolicy, Resources, RotationState, ScrapeServiceAccount, ScrapeSpec,
        SecureExporterSpec, Stragglers, UpdateStrategy, WorkloadSpec, parse_duration,
    },
    names::{MAX_NAME_LENGTH, Owner},
    spec::{
        certificate::certificate,
        credentials::{basic_auth, check_own_secrets, rotation},
        image_policy::ImagePolicy,
        issuer::ValidIssuer,
        methods::Methods,
    },
};
use secure_exporter_pki::LeafParameters;

/// Shortest certificate, in seconds. Short ones are for tests.
const MIN_DURATION: SignedDuration = SignedDuration::from_mins(1);
/// Longest certificate: half the life of the authority, so that no leaf is ever cut short by it in its first half.
const MAX_DURATION: SignedDuration = SignedDuration::from_hours(43_800);

/// A spec in which every value was checked and every default resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedSpec {
    /// What credentials, certificates and the scrape configuration follow from.
    pub spec: ValidSpec,
    /// What the pods are made of, or why the operator's policy forbids it. That concerns the DaemonSet alone.
    pub workload: Result<ValidWorkload, SpecError>,
}

/// The part of a spec that credentials, certificates and the scrape configuration follow from. Once accepted it is stored
/// with the state, so that they can be renewed while the resource asks for something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidSpec {
    /// TCP port of the exporters, from 1.
    pub port: u16,
    /// Whose network the pods use.
    pub network: HostNetwork,
    /// Lowest TLS version.
    pub min_tls_version: MinTlsVersion,
    /// The name that scrapers verify; also the first DNS name of the certificate.
    pub server_name: String,
    /// Who signs.
    pub issuer: ValidIssuer,
    /// What certificates are issued like, and when they are renewed.
    pub certificate: ValidCertificate,
    /// What a scraper must show.
    pub methods: Methods,
    /// User name of basic authentication, and common name of the client certificate.
    pub username: String,
    /// Cost of the bcrypt hash.
    pub bcrypt_cost: u32,
    /// Where the user-supplied password is; `None` where it is generated.
    pub password_secret: Option<PasswordSecretRef>,
    /// Name of the Secret with additional users; `None` where there are none.
    pub users_secret: Option<String>,
    /// How the CA and the password are replaced.
    pub rotation: ValidRotation,
    /// The scrape configuration.
    pub scrape: ValidScrape,
}

/// What the pods are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidWorkload {
    /// The image that runs.
    pub image: ValidImage,
    /// Log and collectors.
    pub exporter: ValidExporter,
    /// Node labels that the pods need.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    pub tolerations: Vec<Toleration>,
    /// Affinity of the pods.
    pub affinity: Option<Affinity>,
    /// PriorityClass of the pods.
    pub priority_class_name: Option<String>,
    /// Resources of the container.
    pub resources: Resources,
    /// How a new version reaches the nodes.
    pub update_strategy: UpdateStrategy,
    /// Labels of the pods, none of them the operator's own.
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    pub pod_annotations: BTreeMap<String, String>,
}

/// The image that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidImage {
    /// The whole reference, as a container has it.
    pub reference: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// Names of the Secrets with which it is pulled.
    pub pull_secrets: Vec<String>,
}

/// Log and collectors of the exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidExporter {
    /// How much it logs.
    pub log_level: LogLevel,
    /// Collectors to run besides the default ones, sorted.
    pub enabled_collectors: Vec<String>,
    /// Default collectors not to run, sorted.
    pub disabled_collectors: Vec<String>,
    /// Further arguments, in the order of the spec.
    pub extra_args: Vec<String>,
}

/// What certificates are issued like, and when they are renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidCertificate {
    /// What the certificate is issued with.
    pub parameters: LeafParameters,
    /// At which remaining part of its life, in percent, a certificate is renewed.
    pub renew_before_percentage: u8,
}

/// How authority and password are followed by the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidRotation {
    /// How long old credentials go on working.
    pub client_overlap: SignedDuration,
    /// How often the password is followed by a new one; `None` is never.
    pub password_interval: Option<SignedDuration>,
    /// What a rotation goes on by.
    pub advance: Advance,
    /// What happens to stragglers.
    pub on_stragglers: Stragglers,
    /// Whether anything rotates.
    pub state: RotationState,
}

/// The scrape configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidScrape {
    /// Value of the label `job`.
    pub job_label: String,
    /// The unique name of the scrape job.
    pub job_name: String,
    /// How often each node is scraped.
    pub interval: SignedDuration,
    /// After how long a scrape is given up.
    pub timeout: SignedDuration,
    /// Who may discover the pods, sorted.
    pub service_accounts: Vec<ScrapeServiceAccount>,
}

/// A value of the spec that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecError {
    /// Path of the field, such as `spec.scrape.timeout`.
    pub field: String,
    /// What is wrong, and how to mend it.
    pub problem: String,
}

impl SpecError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl ParsedSpec {
    /// Checks a spec and resolves its defaults: a spec is accepted whole or not at all.
    ///
    /// The API server has checked most of it already; it is checked again, because a resource may be older than the
    /// rules of the installed CustomResourceDefinition.
    ///
    /// # Errors
    /// The first field that cannot be accepted. What only the operator's image policy forbids is no such error.
    pub fn parse(
        spec: &SecureExporterSpec,
        owner: &Owner,
        images: &ImagePolicy,
    ) -> Result<Self, SpecError> {
        Ok(Self {
            spec: ValidSpec::parse(spec, owner)?,
            workload: ValidWorkload::parse(spec, images)?,
        })
    }
}

impl ValidSpec {
    /// Checks the part that credentials follow from.
    ///
    /// # Errors
    /// The first field that cannot be accepted.
    pub fn parse(spec: &SecureExporterSpec, owner: &Owner) -> Result<Self, SpecError> {
        check_name(&owner.name)?;
        let server_name = server_name(spec, owner)?;
        let certificate = certificate(&spec.tls.certificate, &server_name, owner)?;
        let (username, bcrypt_cost) = basic_auth(&spec.authentication)?;
        check_own_secrets(&spec.authentication, owner)?;
        let basic_auth = &spec.authentication.basic_auth;
        let users = basic_auth.users_secret_ref.as_ref();
        Ok(Self {
            port: port(&spec.exporter)?,
            network: spec.host_access.network,
            min_tls_version: spec.tls.min_version,
            server_name,
            issuer: ValidIssuer::parse(spec, owner)?,
            certificate,
            methods: Methods::parse(&spec.authentication.methods)?,
            username,
            bcrypt_cost,
            password_secret: basic_auth.password_secret_ref.clone(),
            users_secret: users.map(|users| users.name.clone()),
            rotation: rotation(&spec.rotation, &spec.authentication)?,
            scrape: scrape(&spec.scrape, owner)?,
        })
    }
}

impl ValidWorkload {
    /// Checks the part that the pods follow from. The inner error is that the image is not allowed.
    fn parse(
        spec: &SecureExporterSpec,
        images: &ImagePolicy,
    ) -> Result<Result<Self, SpecError>, SpecError> {
        check_workload(&spec.workload)?;
        let exporter = exporter(&spec.exporter)?;
        let workload = &spec.workload;
        let pull_secrets = spec.image.pull_secrets.iter();
        Ok(images.resolve(&spec.image).map(|reference| Self {
            image: ValidImage {
                reference,
                pull_policy: spec.image.pull_policy,
                pull_secrets: pull_secrets.map(|secret| secret.name.clone()).collect(),
            },
            exporter,
            node_selector: workload.node_selector.clone(),
            tolerations: workload.tolerations.clone(),
            affinity: workload.affinity.clone(),
            priority_class_name: workload.priority_class_name.clone(),
            resources: workload.resources.clone().unwrap_or_else(default_resources),
            update_strategy: workload.update_strategy.clone(),
            pod_labels: workload.pod_labels.clone(),
            pod_annotations: workload.pod_annotations.clone(),
        }))
    }
}

fn server_name(spec: &SecureExporterSpec, owner: &Owner) -> Result<String, SpecError> {
    match &spec.tls.server_name {
        Some(name) => dns_name("spec.tls.serverName", name),
        None => Ok(format!("{}.{}.svc", owner.name, owner.namespace)),
    }
}

fn port(spec: &ExporterSpec) -> Result<u16, SpecError> {
    u16::try_from(spec.port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| SpecError::new("spec.exporter.port", "must be between 1 and 65535"))
}

impl ValidSpec {
    /// Whether credentials come from Secrets of the user's own. They carry none of our labels, so nothing tells of a change.
    pub fn names_own_secrets(&self) -> bool {
        self.password_secret.is_some() || self.users_secret.is_some()
    }
}

fn check_name(name: &str) -> Result<(), SpecError> {
    let is_legal = name.len() <= MAX_NAME_LENGTH
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && is_dns_label(name);
    if is_legal {
        return Ok(());
    }
    Err(SpecError::new(
        "metadata.name",
        format!(
            "{name:?} is not a DNS-1035 label of at most {MAX_NAME_LENGTH} characters: \
             lower-case letters, digits and '-', beginning with a letter"
        ),
    ))
}

fn exporter(spec: &ExporterSpec) -> Result<ValidExporter, SpecError> {
    let enabled_collectors = collectors("enabled", &spec.collectors.enabled)?;
    let disabled_collectors = collectors("disabled", &spec.collectors.disabled)?;
    if let Some(both) = enabled_collectors
        .iter()
        .find(|name| disabled_collectors.contains(name))
    {
        return Err(SpecError::new(
            "spec.exporter.collectors",
            format!("{both} is both enabled and disabled: remove it from one of the lists"),
        ));
    }
    for (index, argument) in spec.extra_args.iter().enumerate() {
        check_argument(argument).map_err(|problem| {
            SpecError::new(format!("spec.exporter.extraArgs[{index}]"), problem)
        })?;
    }
    Ok(ValidExporter {
        log_level: spec.log_level,
        enabled_collectors,
        disabled_collectors,
        extra_args: spec.extra_args.clone(),
    })
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
    if KNOWN_COLLECTORS.contains(&name) {
        return Ok(());
    }
    Err(format!(
        "there is no collector {name:?}; there are {}",
        KNOWN_COLLECTORS.join(", ")
    ))
}

/// Only options of collectors and of the log: every other flag could open the endpoint or read files of the node. An
/// unknown collector is refused here, because the exporter would refuse to start with it.
fn check_argument(argument: &str) -> Result<(), String> {
    let name = argument.split_once('=').map_or(argument, |(name, _)| name);
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let option = ["--collector.", "--no-collector."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    match option {
        Some("disable-defaults") => Ok(()),
        None if name == "--log.level" => Err("set spec.exporter.logLevel instead".to_owned()),
        Some(option) if option.chars().all(is_plain) => check_collector(
            option
                .split_once('.')
                .map_or(option, |(collector, _)| collector),
        ),
        None if name
            .strip_prefix("--log.")
            .is_some_and(|o| !o.is_empty() && o.chars().all(is_plain)) =>
        {
            Ok(())
        }
        _ => Err(format!(
            "{name:?} is not allowed: only --collector.*, --no-collector.* and --log.* are"
        )),
    }
}

fn scrape(spec: &ScrapeSpec, owner: &Owner) -> Result<ValidScrape, SpecError> {
    let second = SignedDuration::from_secs(1);
    let day = SignedDuration::from_hours(24);
    let interval = duration("spec.scrape.interval", &spec.interval, second, day)?;
    let timeout = duration("spec.scrape.timeout", &spec.timeout, second, day)?;
    if timeout > interval {
        return Err(SpecError::new(
            "spec.scrape.timeout",
            format!(
                "{} is longer than the interval {}",
                spec.timeout, spec.interval
            ),
        ));
    }
    if spec.job_name.is_empty() {
        return Err(SpecError::new("spec.scrape.jobName", "must not be empty"));
    }
    let mut service_accounts = spec.service_accounts.clone();
    service_accounts.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    service_accounts.dedup();
    Ok(ValidScrape {
        job_label: spec.job_name.clone(),
        job_name: format!("secureexporter/{}/{}", owner.namespace, owner.name),
        interval,
        timeout,
        service_accounts,
    })
}

fn check_workload(spec: &WorkloadSpec) -> Result<(), SpecError> {
    if let Some(label) = spec
        .pod_labels
        .keys()
        .find(|key| key.starts_with("app.kubernetes.io/"))
    {
        return Err(SpecError::new(
            format!("spec.workload.podLabels[{label}]"),
            "labels under app.kubernetes.io/ are the operator's own: choose another name",
        ));
    }
    let is_share = match &spec.update_strategy.max_unavailable {
        IntOrString::Int(number) => *number >= 1,
        IntOrString::String(text) => text
            .strip_suffix('%')
            .and_then(|number| number.parse::<u8>().ok())
            .is_some_and(|percent| (1..=100).contains(&percent)),
    };
    if is_share {
        return Ok(());
    }
    Err(SpecError::new(
        "spec.workload.updateStrategy.maxUnavailable",
        "must be a number from 1, or a percentage from 1% to 100%",
    ))
}

fn duration(
    field: &str,
    text: &str,
    min: SignedDuration,
    max: SignedDuration,
) -> Result<SignedDuration, SpecError> {
    let duration =
        parse_duration(text).map_err(|error| SpecError::new(field, error.to_string()))?;
    if (min..=max).contains(&duration) {
        return Ok(duration);
    }
    Err(SpecError::new(
        field,
        format!(
            "{text} is not between {}s and {}h",
            min.as_secs(),
            max.as_hours()
        ),
    ))
}

fn dns_name(field: &str, name: &str) -> Result<String, SpecError> {
    if name.len() <= 253 && name.split('.').all(is_dns_label) {
        return Ok(name.to_owned());
    }
    Err(SpecError::new(
        field,
        format!("{name:?} is not a DNS name in lower case"),
    ))
}

fn is_dns_label(label: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    label.len() <= 63
        && label.starts_with(alphanumeric)
        && label.ends_with(alphanumeric)
        && label.chars().all(|c| alphanumeric(c) || c == '-')
}

/// What the exporter was measured to need, with room to spare. There is no CPU limit: it would throttle the scrape of a
/// node with many devices.
fn default_resources() -> Resources {
    let quantity = |name: &str, amount: &str| (name.to_owned(), Quantity(amount.to_owned()));
    Resources {
        requests: BTreeMap::from([quantity("cpu", "10m"), quantity("memory", "24Mi")]),
        limits: BTreeMap::from([quantity("memory", "64Mi")]),
    }
}

#[cfg(test)]
mod tests;
