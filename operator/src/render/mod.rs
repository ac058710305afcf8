//! Renders the children of a resource: a pure function of its spec, its identity and its rotation state. One file per
//! object.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};

use crate::api::ValidSpec;
use crate::names::Owner;
use crate::rotation::state::State;

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
    /// The exporter.
    pub daemon_set: DaemonSet,
}

/// By which scrapers find the pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    /// May get, list and watch pods of this namespace.
    pub role: Role,
    /// Gives the role to the listed service accounts.
    pub role_binding: RoleBinding,
}

/// Why nothing was rendered: publishing it would have opened the endpoint or refused every scraper.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// No password in the state.
    #[error("the state holds no password: refusing to publish a configuration without users")]
    NoUsers,
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

/// Renders every child but the state's Secret.
pub fn children(spec: &ValidSpec, owner: &Owner, state: &State) -> Result<Children, RenderError> {
    let _ = (spec, owner, state);
    todo!()
}

/// The Secret with the state, which is written before anything that is rendered from it.
pub fn state_secret(owner: &Owner, state: &State) -> Secret {
    let _ = (owner, state);
    todo!()
}
