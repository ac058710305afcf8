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

/// What stands under the name of a child.
pub enum Child<K> {
    /// Nothing.
    Absent,
    /// An object that is made from this resource.
    Ours(K),
    /// An object that is not: it is never touched, and its name is taken.
    Foreign,
    /// An object that the garbage collector is about to remove: it is being deleted, or belongs to a deleted resource of the
    /// same name.
    Leftover,
    /// It could not be read.
    Unknown(kube::Error),
}

impl<K> Child<K> {
    /// The object, where it is made from this resource.
    pub fn ours(&self) -> Option<&K> {
        match self {
            Self::Ours(object) => Some(object),
            Self::Absent | Self::Foreign | Self::Leftover | Self::Unknown(_) => None,
        }
    }
}

impl<K: Resource> Child<K> {
    fn of(read: Result<Option<K>, kube::Error>, owner: &Owner) -> Self {
        match read {
            Err(error) => Self::Unknown(error),
            Ok(None) => Self::Absent,
            Ok(Some(object)) if is_leftover(object.meta(), owner) => Self::Leftover,
            Ok(Some(object)) => {
                let is_ours = controllers(object.meta()).any(|it| it.uid == owner.uid);
                if is_ours {
                    Self::Ours(object)
                } else {
                    Self::Foreign
                }
            }
        }
    }
}

/// Whether it is neither ours nor another's any more: it is on its way out, or its owner is.
fn is_leftover(object: &ObjectMeta, owner: &Owner) -> bool {
    let is_earlier = |reference: &OwnerReference| {
        reference.kind == SecureExporter::kind(&())
            && reference.name == owner.name
            && reference.uid != owner.uid
    };
    object.deletion_timestamp.is_some() || controllers(object).any(is_earlier)
}

/// The children of one resource as they are, and complaints.
pub struct Observed {
    /// The Secret with the rotation state.
    pub state: Child<Secret>,
    /// What the exporters mount.
    pub server: Child<Secret>,
    /// What Prometheus mounts.
    pub scrape: Child<Secret>,
    /// The public bundle.
    pub authority: Child<ConfigMap>,
    /// ServiceAccount of the pods.
    pub service_account: Child<ServiceAccount>,
    /// For discovery.
    pub role: Child<Role>,
    /// For discovery.
    pub role_binding: Child<RoleBinding>,
    /// The headless Service.
    pub service: Child<Service>,
    /// The exporter.
    pub daemon_set: Child<DaemonSet>,
    /// What stands in the way of its pods.
    pub complaints: Result<Vec<Complaint>, kube::Error>,
}

impl Observed {
    /// Whether what is generated stands there exactly as in `children`: it was read back, and not only sent. A ConfigMap of
    /// another's has no readers who would have to be waited for.
    pub fn shows(&self, children: &Children) -> bool {
        let data = |secret: &Child<Secret>| secret.ours().and_then(|it| it.data.clone());
        let shows_bundle = match &self.authority {
            Child::Foreign => true,
            authority => {
                let data = authority.ours().and_then(|it| it.data.as_ref());
                data == children.ca_config_map.data.as_ref()
            }
        };
        data(&self.server) == children.server_secret.data
            && data(&self.scrape) == children.scrape_secret.data
            && shows_bundle
    }

    /// What the state can be made again from.
    pub fn published(&self) -> Published<'_> {
        Published {
            server: self.server.ours(),
            scrape: self.scrape.ours(),
            bundle: self.authority.ours(),
        }
    }
}

fn controllers(object: &ObjectMeta) -> impl Iterator<Item = &OwnerReference> {
    object
        .owner_references
        .iter()
        .flatten()
        .filter(|reference| reference.controller == Some(true))
}

/// Reads the children of `owner`. One that cannot be read hides none of the others.
pub async fn observe(client: &Client, owner: &Owner) -> Observed {
    let daemon_set = child(client, owner, &owner.workload()).await;
    Observed {
        complaints: complaints(client, owner, daemon_set.ours()).await,
        state: child(client, owner, &owner.state_secret()).await,
        server: child(client, owner, &owner.server_secret()).await,
        scrape: child(client, owner, &owner.scrape_secret()).await,
        authority: child(client, owner, &owner.ca_config_map()).await,
        service_account: child(client, owner, &owner.workload()).await,
        role: child(client, owner, &owner.discovery()).await,
        role_binding: child(client, owner, &owner.discovery()).await,
        service: child(client, owner, &owner.workload()).await,
        daemon_set,
    }
}

async fn child<K>(client: &Client, owner: &Owner, name: &str) -> Child<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    Child::of(get(client, &owner.namespace, name).await, owner)
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
