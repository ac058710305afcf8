//! Reads the generated objects of a resource, and problems in the status of its pods and the events of its DaemonSet. One of
//! the two modules that talk to the API server; it never writes. [`exporters`] asks the exporters themselves.

pub mod api_error;
pub mod certificate_requests;
pub mod children;
pub mod exporters;
pub mod probe;
pub mod samples;
pub mod supplied;

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Event, Pod, Secret},
};
use kube::{Api, Client, Resource, api::ListParams};

use crate::{
    names::{CONTAINER, Owner},
    observe::children::{Child, Observed},
    report::pod_problems::{self, Complaint},
    spec::ValidSpec,
    supplied::{credentials::SuppliedCredentials, reference::ReferencePolicy},
};

/// Reads the generated objects of `owner`. If one cannot be read, the others still are.
pub async fn observe(client: &Client, owner: &Owner) -> Observed {
    let daemon_set = child(client, owner, &owner.workload()).await;
    Observed {
        complaints: match &daemon_set {
            Child::Unknown(_) => None,
            daemon_set => Some(complaints(client, owner, daemon_set.ours()).await),
        },
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

/// Reads and checks the user-supplied Secrets in the spec.
///
/// # Errors
/// The API server did not answer, or refused the request.
pub async fn supplied_credentials(
    client: &Client,
    policy: ReferencePolicy,
    namespace: &str,
    spec: &ValidSpec,
) -> Result<SuppliedCredentials, kube::Error> {
    let password = match &spec.password_secret {
        Some(place) => get::<Secret>(client, namespace, &place.name).await?,
        None => None,
    };
    let users = match &spec.users_secret {
        Some(name) => get::<Secret>(client, namespace, name).await?,
        None => None,
    };
    Ok(SuppliedCredentials::check(
        spec,
        policy,
        password.as_ref(),
        users.as_ref(),
    ))
}

/// Reads the problems of the pods. Only called if not every node has a ready one.
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
    Ok(pod_problems::find(&pods.items, current, CONTAINER))
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
