//! The validated spec: the only form in which the rest of the operator sees it.

mod certificate;
mod client;
mod credentials;
mod error;
pub(crate) mod exporter;
pub mod image_policy;
pub mod issuer;
pub mod methods;
pub mod pod_policy;
pub mod policy;
pub(crate) mod quantity;
mod relabelings;
mod scrape;
mod served;
mod values;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};

use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString};
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        ExporterSpec, HostNetwork, MinTlsVersion, PasswordSecretRef, PullPolicy, Resources,
        SecureExporterSpec, UpdateStrategy, WorkloadSpec,
    },
    names::{MAX_NAME_LENGTH, Owner},
    spec::{
        certificate::certificate,
        credentials::{basic_auth, check_supplied_secrets, rotation},
        exporter::exporter,
        issuer::ValidIssuer,
        methods::Methods,
        policy::Policy,
        scrape::scrape,
        values::{dns_name, is_dns_label},
    },
};

pub use certificate::ValidCertificate;
pub use credentials::ValidRotation;
pub use error::SpecError;
pub use exporter::ValidExporter;
pub use scrape::ValidScrape;

/// A spec with every value validated and every default resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedSpec {
    /// The part that credentials, certificates and the scrape configuration depend on.
    pub spec: ValidSpec,
    /// The part that the pods depend on, or why the operator's policy forbids it. That only affects the DaemonSet, which stays
    /// as it is.
    pub workload: Result<ValidWorkload, SpecError>,
}

/// The part of a spec that credentials, certificates and the scrape configuration depend on. The accepted spec is stored
/// with the state, so that they can be renewed while the spec of the resource is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidSpec {
    /// TCP port of the exporters, from 1.
    pub port: u16,
    /// Which network the pods use.
    pub network: HostNetwork,
    /// Lowest TLS version.
    pub min_tls_version: MinTlsVersion,
    /// The name that scrapers verify; also the first DNS name of the certificate.
    pub server_name: String,
    /// Who signs the serving certificate.
    pub issuer: ValidIssuer,
    /// The parameters of certificates, and when they are renewed.
    pub certificate: ValidCertificate,
    /// How scrapers authenticate.
    pub methods: Methods,
    /// User name of basic authentication, and common name of the client certificate.
    pub username: String,
    /// Cost of the bcrypt hash.
    pub bcrypt_cost: u32,
    /// Whether the operator chose the cost, because the resource sets none. Then another one only applies to the next
    /// password, so that a new version of the operator changes nothing that is in use.
    #[serde(default)]
    pub has_default_bcrypt_cost: bool,
    /// Where the user-supplied password is; `None` where it is generated.
    pub password_secret: Option<PasswordSecretRef>,
    /// Name of the Secret with additional users; `None` where there are none.
    pub users_secret: Option<String>,
    /// How the CA and the password are rotated.
    pub rotation: ValidRotation,
    /// The scrape configuration.
    pub scrape: ValidScrape,
}

/// The part of a spec that the pods depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidWorkload {
    /// The image that runs.
    pub image: ValidImage,
    /// Log level, collectors and arguments.
    pub exporter: ValidExporter,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    pub tolerations: Vec<Toleration>,
    /// Affinity of the pods.
    pub affinity: Option<Affinity>,
    /// PriorityClass of the pods.
    pub priority_class_name: Option<String>,
    /// Resources of the container.
    pub resources: Resources,
    /// How the pods are updated.
    pub update_strategy: UpdateStrategy,
    /// Additional labels of the pods, without the operator's own.
    pub pod_labels: BTreeMap<String, String>,
    /// Additional annotations of the pods.
    pub pod_annotations: BTreeMap<String, String>,
}

/// The image that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidImage {
    /// The complete reference, as in a container.
    pub reference: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// Names of the Secrets with registry credentials.
    pub pull_secrets: Vec<String>,
}

impl ParsedSpec {
    /// Validates a spec and resolves its defaults. A spec is accepted as a whole or not at all.
    ///
    /// The API server has validated most of it already. It is validated again, because a resource may be older than the
    /// rules of the installed CustomResourceDefinition.
    ///
    /// # Errors
    /// The first invalid field. What only the operator's policy forbids is reported in `workload` instead.
    pub fn parse(
        spec: &SecureExporterSpec,
        owner: &Owner,
        policy: &Policy,
    ) -> Result<Self, SpecError> {
        Ok(Self {
            spec: ValidSpec::parse(spec, owner)?,
            workload: ValidWorkload::parse(spec, policy)?,
        })
    }
}

impl ValidSpec {
    /// Validates the part that credentials depend on.
    ///
    /// # Errors
    /// The first invalid field.
    pub fn parse(spec: &SecureExporterSpec, owner: &Owner) -> Result<Self, SpecError> {
        check_name(&owner.name)?;
        let server_name = server_name(spec, owner)?;
        let certificate = certificate(&spec.tls.certificate, &server_name, owner)?;
        let (username, bcrypt_cost) = basic_auth(&spec.authentication)?;
        check_supplied_secrets(&spec.authentication, owner)?;
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
            bcrypt_cost: bcrypt_cost.cost,
            has_default_bcrypt_cost: bcrypt_cost.is_default,
            password_secret: basic_auth.password_secret_ref.clone(),
            users_secret: users.map(|users| users.name.clone()),
            rotation: rotation(&spec.rotation, &spec.authentication)?,
            scrape: scrape(&spec.scrape, owner)?,
        })
    }
}

impl ValidWorkload {
    /// Validates the part that the pods depend on. The inner error is what the operator's policy forbids.
    fn parse(
        spec: &SecureExporterSpec,
        policy: &Policy,
    ) -> Result<Result<Self, SpecError>, SpecError> {
        check_workload(&spec.workload)?;
        let exporter = exporter(&spec.exporter, spec.host_access.network)?;
        let workload = &spec.workload;
        let pull_secrets = spec.image.pull_secrets.iter();
        let image = policy.images.resolve(&spec.image);
        let allowed = image.and_then(|image| policy.pods.check(workload).map(|()| image));
        Ok(allowed.map(|reference| Self {
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
    /// Whether credentials come from user-supplied Secrets. Those do not carry our labels, so they are not watched.
    pub fn has_supplied_secrets(&self) -> bool {
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
            "{name:?} is not a DNS-1035 label of at most {MAX_NAME_LENGTH} characters: use \
             lower-case letters, digits and '-', starting with a letter"
        ),
    ))
}

fn check_workload(spec: &WorkloadSpec) -> Result<(), SpecError> {
    if let Some(label) = spec
        .pod_labels
        .keys()
        .find(|key| key.starts_with("app.kubernetes.io/"))
    {
        return Err(SpecError::new(
            format!("spec.workload.podLabels[{label}]"),
            "labels under app.kubernetes.io/ are reserved for the operator: use another prefix",
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
        "must be a number of at least 1, or a percentage from 1% to 100%",
    ))
}

/// What the exporter needs according to measurements, with a reserve. There is no CPU limit, because it would throttle the
/// scrape of a node with many devices.
fn default_resources() -> Resources {
    let quantity = |name: &str, amount: &str| (name.to_owned(), Quantity(amount.to_owned()));
    Resources {
        requests: BTreeMap::from([quantity("cpu", "10m"), quantity("memory", "24Mi")]),
        limits: BTreeMap::from([quantity("memory", "64Mi")]),
    }
}

#[cfg(test)]
mod tests;
