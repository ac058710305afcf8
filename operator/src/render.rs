//! Renders the children of a resource: a pure function of its spec, its identity and its rotation state. One file per
//! object.
//!
//! Nothing here hashes a credential into the pod template: a rotation must not roll the DaemonSet.

pub mod bundle;
mod ca_config_map;
mod certificate_request;
mod daemon_set;
mod discovery;
mod scrape_config;
mod scrape_secret;
mod server_secret;
mod service;
mod service_account;
mod state_secret;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};

use crate::{
    names::Owner,
    rotation::state::{Client, State},
    spec::{ValidSpec, ValidWorkload},
};
use secure_exporter_pki::secret_text::SecretText;

use bundle::bundle;

pub use certificate_request::certificate_request;
pub use state_secret::state_secret;

/// All children but the state's Secret, in the order in which they are applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Children {
    /// ServiceAccount of the exporter's pods.
    pub service_account: ServiceAccount,
    /// Role and RoleBinding of the scrapers; `None` when no service account is listed, and then neither may exist.
    pub discovery: Option<Discovery>,
    /// What the exporter's pods mount.
    pub server_secret: Secret,
    /// What Prometheus mounts.
    pub scrape_secret: Secret,
    /// The public trust bundle.
    pub ca_config_map: ConfigMap,
    /// The headless Service.
    pub service: Service,
    /// The exporter; `None` while nothing is known that its pods may be made of, and then it is left as it is.
    pub daemon_set: Option<DaemonSet>,
}

/// By which scrapers find the pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    /// May get, list and watch pods of this namespace.
    pub role: Role,
    /// Gives the role to the listed service accounts.
    pub role_binding: RoleBinding,
}

/// Renders every child but the state's Secret, which is written before them.
///
/// # Errors
/// As [`RenderError`] says.
pub fn children(
    spec: &ValidSpec,
    workload: Option<&ValidWorkload>,
    owner: &Owner,
    state: &State,
) -> Result<Children, RenderError> {
    let credentials = Credentials::of(spec, state)?;
    Ok(Children {
        service_account: service_account::service_account(owner),
        discovery: discovery::discovery(&spec.scrape, owner),
        server_secret: server_secret::server_secret(spec, owner, state, &credentials)?,
        scrape_secret: scrape_secret::scrape_secret(spec, owner, state, &credentials)?,
        ca_config_map: ca_config_map::ca_config_map(owner, state, &credentials),
        service: service::service(spec, owner),
        daemon_set: workload.map(|workload| daemon_set::daemon_set(spec, workload, owner)),
    })
}

/// Why nothing was rendered: publishing it would have opened the endpoint or refused every scraper.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// No password in the state.
    #[error("the state holds no password: refusing to publish a configuration without users")]
    NoUsers,
    /// No client certificate in the state.
    #[error("the state holds no client certificate: refusing to ask for one that no scraper has")]
    NoClientCertificate,
    /// No certificate authority in the state.
    #[error("the state holds no certificate authority: refusing to publish an empty trust bundle")]
    EmptyBundle,
    /// The active generation of something is not there.
    #[error("the state has no {what} of generation {generation}")]
    MissingGeneration {
        /// Password or authority.
        what: &'static str,
        /// The generation that is active.
        generation: u64,
    },
    /// A hash that the exporter would refuse.
    #[error("the hash of password generation {generation} is not one of bcrypt")]
    BadHash {
        /// Generation of the password.
        generation: u64,
    },
    /// The scrape configuration could not be written.
    #[error("the scrape configuration could not be written: {0}")]
    Yaml(String),
}

/// The parts of the state that are published, present and not empty.
struct Credentials<'a> {
    bundle: String,
    /// `None` where none is asked for.
    password: Option<&'a SecretText>,
    /// `None` where none is asked for.
    client: Option<&'a Client>,
}

impl<'a> Credentials<'a> {
    fn of(spec: &ValidSpec, state: &'a State) -> Result<Self, RenderError> {
        let password = spec.methods.ask_password().then(|| password(state));
        let client = spec.methods.ask_certificate().then(|| client(state));
        let bundle = bundle(&state.authorities);
        if bundle.trim().is_empty() {
            return Err(RenderError::EmptyBundle);
        }
        if !state
            .authorities
            .contains_key(&state.leaf.authority_generation)
        {
            return Err(RenderError::MissingGeneration {
                what: "authority",
                generation: state.leaf.authority_generation,
            });
        }
        Ok(Self {
            bundle,
            password: password.transpose()?,
            client: client.transpose()?,
        })
    }
}

fn password(state: &State) -> Result<&SecretText, RenderError> {
    if state.passwords.is_empty() {
        return Err(RenderError::NoUsers);
    }
    let active = state.passwords.get(&state.active_password);
    active
        .and_then(|active| active.password.as_ref())
        .ok_or(RenderError::MissingGeneration {
            what: "password",
            generation: state.active_password,
        })
}

fn client(state: &State) -> Result<&Client, RenderError> {
    let client = state
        .client
        .as_ref()
        .ok_or(RenderError::NoClientCertificate)?;
    if state.authorities.contains_key(&client.authority_generation) {
        return Ok(client);
    }
    // Nobody who is told of the authorities in the bundle would let it in.
    Err(RenderError::MissingGeneration {
        what: "authority",
        generation: client.authority_generation,
    })
}

/// Data of a Secret.
fn secret_data<'a>(
    entries: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, ByteString> {
    entries
        .into_iter()
        .map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())))
        .collect()
}
