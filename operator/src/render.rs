//! Renders the generated objects of a resource: a pure function of its spec, its identity and its rotation state. One file
//! per object.
//!
//! The pod template never contains a hash of a credential, because a rotation must not restart the pods.

mod affinity;
pub mod bundle;
mod ca_config_map;
mod certificate_request;
mod credentials;
mod daemon_set;
mod discovery;
mod error;
mod pod_monitor;
mod relabel_config;
mod scrape_config;
mod scrape_secret;
mod secret_data;
mod server_secret;
mod service;
mod service_account;
mod state_secret;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};

use crate::{
    names::Owner,
    rotation::state::State,
    secret_object::SecretObject,
    spec::{ValidSpec, ValidWorkload},
};

use credentials::Credentials;

pub use certificate_request::certificate_request;
pub use discovery::Discovery;
pub use error::RenderError;
pub use pod_monitor::pod_monitor;
pub use state_secret::state_secret;

/// All generated objects except the state's Secret, in the order in which they are applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Children {
    /// ServiceAccount of the exporter's pods.
    pub service_account: ServiceAccount,
    /// Role and RoleBinding of the scrapers; `None` if no service account is listed.
    pub discovery: Option<Discovery>,
    /// The Secret that the exporter's pods mount.
    pub server_secret: SecretObject,
    /// The Secret that Prometheus mounts.
    pub scrape_secret: SecretObject,
    /// The ConfigMap with the public CA bundle.
    pub ca_config_map: ConfigMap,
    /// The headless Service.
    pub service: Service,
    /// The DaemonSet of the exporter; `None` if the settings of its pods are not accepted, and the existing one is kept.
    pub daemon_set: Option<DaemonSet>,
}

/// Renders all generated objects except the state's Secret, which is written before them.
///
/// # Errors
/// [`RenderError`]
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
        server_secret: SecretObject::new(server_secret::server_secret(
            spec,
            owner,
            state,
            &credentials,
        )?),
        scrape_secret: SecretObject::new(scrape_secret::scrape_secret(
            spec,
            owner,
            state,
            &credentials,
        )?),
        ca_config_map: ca_config_map::ca_config_map(owner, state, &credentials),
        service: service::service(spec, owner),
        daemon_set: workload.map(|workload| daemon_set::daemon_set(spec, workload, owner)),
    })
}
