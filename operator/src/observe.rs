//! Reads what there is: the children of a resource, and what its pods and the events of its DaemonSet complain about.
//! One of the two modules that talk to the API server; it never writes. The exporters themselves are asked in
//! [`exporters`].

pub mod certificate_requests;
pub mod exporters;
pub mod sample;
pub mod status_request;
pub mod supply;

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Event, Pod, Secret, Service, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, Client, Resource, api::ListParams};

use crate::{
    api::{SecureExporter, ValidSpec},
    complaints::{self, Complaint},
    names::{CONTAINER, Owner},
    own_credentials::OwnCredentials,
    render::Children,
    rotation::rebuild::Published,
};

/// The children of one resource as they are, each where it exists, and complaints.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Secret with the rotation state.
    pub state: Option<Secret>,
    /// What the exporters mount.
    pub server: Option<Secret>,
    /// What Prometheus mounts.
    pub scrape: Option<Secret>,
    /// The public bundle.
    pub authority: Option<ConfigMap>,
    /// ServiceAccount of the pods.
    pub service_account: Option<ServiceAccount>,
    /// For discovery.
    pub role: Option<Role>,
    /// For discovery.
    pub role_binding: Option<RoleBinding>,
    /// The headless Service.
    pub service: Option<Service>,
    /// The exporter.
    pub daemon_set: Option<DaemonSet>,
    /// What stands in the way of its pods.
    pub complaints: Vec<Complaint>,
}

impl Observed {
    /// The first child whose name is taken by an object of somebody else, as `Kind name`.
    pub fn foreign(&self, owner: &Owner) -> Option<String> {
        self.first(|object| !controllers(object).any(|reference| reference.uid == owner.uid))
    }

    /// The first child that is on its way out, or belongs to a deleted resource of the same name: the garbage collector
    /// comes for it, and until then it is neither ours nor a stranger's.
    pub fn leftover(&self, owner: &Owner) -> Option<String> {
        let kind = SecureExporter::kind(&());
        self.first(|object| {
            object.deletion_timestamp.is_some()
                || controllers(object).any(|reference| {
                    reference.kind == kind
                        && reference.name == owner.name
                        && reference.uid != owner.uid
                })
        })
    }

    /// Whether what is generated stands there exactly as in `children`: it was read back, and not only sent.
    pub fn shows(&self, children: &Children) -> bool {
        let data = |secret: &Option<Secret>| secret.as_ref().and_then(|it| it.data.clone());
        data(&self.server) == children.server_secret.data
            && data(&self.scrape) == children.scrape_secret.data
            && self.authority.as_ref().and_then(|it| it.data.as_ref())
                == children.ca_config_map.data.as_ref()
    }

    /// What the state can be made again from.
    pub fn published(&self) -> Published<'_> {
        Published {
            server: self.server.as_ref(),
            scrape: self.scrape.as_ref(),
            bundle: self.authority.as_ref(),
        }
    }

    fn first(&self, is_it: impl Fn(&ObjectMeta) -> bool) -> Option<String> {
        let children = [
            ("Secret", self.state.as_ref().map(Resource::meta)),
            ("Secret", self.server.as_ref().map(Resource::meta)),
            ("Secret", self.scrape.as_ref().map(Resource::meta)),
            ("ConfigMap", self.authority.as_ref().map(Resource::meta)),
            (
                "ServiceAccount",
                self.service_account.as_ref().map(Resource::meta),
            ),
            ("Role", self.role.as_ref().map(Resource::meta)),
            (
                "RoleBinding",
                self.role_binding.as_ref().map(Resource::meta),
            ),
            ("Service", self.service.as_ref().map(Resource::meta)),
            ("DaemonSet", self.daemon_set.as_ref().map(Resource::meta)),
        ];
        children
            .into_iter()
            .filter_map(|(kind, object)| Some((kind, object?)))
            .find(|(_, object)| is_it(object))
            .map(|(kind, object)| format!("{kind} {}", object.name.as_deref().unwrap_or_default()))
    }
}

fn controllers(object: &ObjectMeta) -> impl Iterator<Item = &OwnerReference> {
    object
        .owner_references
        .iter()
        .flatten()
        .filter(|reference| reference.controller == Some(true))
}

/// Reads the children of `owner`.
///
/// # Errors
/// The API server did not answer, or refused.
pub async fn observe(client: &Client, owner: &Owner) -> Result<Observed, kube::Error> {
    let namespace = owner.namespace.as_str();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let daemon_set = Api::<DaemonSet>::namespaced(client.clone(), namespace)
        .get_opt(&owner.workload())
        .await?;
    let complaints = complaints(client, owner, daemon_set.as_ref()).await?;
    Ok(Observed {
        state: secrets.get_opt(&owner.state_secret()).await?,
        server: secrets.get_opt(&owner.server_secret()).await?,
        scrape: secrets.get_opt(&owner.scrape_secret()).await?,
        authority: get(client, namespace, &owner.ca_config_map()).await?,
        service_account: get(client, namespace, &owner.workload()).await?,
        role: get(client, namespace, &owner.discovery()).await?,
        role_binding: get(client, namespace, &owner.discovery()).await?,
        service: get(client, namespace, &owner.workload()).await?,
        daemon_set,
        complaints,
    })
}

/// Reads the Secrets of the user's own that the spec names, and checks them.
///
/// # Errors
/// The API server did not answer, or refused.
pub async fn own_credentials(
    client: &Client,
    namespace: &str,
    spec: &ValidSpec,
) -> Result<OwnCredentials, kube::Error> {
    let password = match &spec.password_secret {
        Some(place) => get::<Secret>(client, namespace, &place.name).await?,
        None => None,
    };
    let users = match &spec.users_secret {
        Some(name) => get::<Secret>(client, namespace, name).await?,
        None => None,
    };
    Ok(OwnCredentials::check(
        spec,
        password.as_ref(),
        users.as_ref(),
    ))
}

/// What stands in the way of pods. Asked only where not every node has a ready one.
async fn complaints(
    client: &Client,
    owner: &Owner,
    daemon_set: Option<&DaemonSet>,
) -> Result<Vec<Complaint>, kube::Error> {
    let Some(status) = daemon_set.and_then(|set| set.status.as_ref()) else {
        return Ok(Vec::new());
    };
    if status.number_ready >= status.desired_number_scheduled && status.desired_number_scheduled > 0
    {
        return Ok(Vec::new());
    }
    let pods = Api::<Pod>::namespaced(client.clone(), &owner.namespace)
        .list(&ListParams::default().labels(&owner.selector_query()))
        .await?;
    let events = Api::<Event>::namespaced(client.clone(), &owner.namespace)
        .list(&ListParams::default().fields(&format!(
            "involvedObject.kind=DaemonSet,involvedObject.name={}",
            owner.workload()
        )))
        .await?;
    let uid = daemon_set.and_then(|set| set.metadata.uid.as_deref());
    let current = events
        .items
        .iter()
        .filter(|event| event.involved_object.uid.as_deref() == uid);
    Ok(complaints::find(&pods.items, current, CONTAINER))
}

async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    Api::<K>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
}
