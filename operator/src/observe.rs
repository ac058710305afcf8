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
    names::Owner,
    observe::children::{Child, Complaints, Observed},
    report::{pod_problems, problem::Reading},
    secret_object::SecretObject,
    spec::ValidSpec,
    supplied::{credentials::SuppliedCredentials, reference::ReferencePolicy},
};

/// Reads the generated objects of `owner`. If one cannot be read, the others still are. `adopts`: restored objects count as
/// those of `owner`.
pub async fn observe(client: &Client, owner: &Owner, adopts: bool) -> Observed {
    let daemon_set = child(client, owner, &owner.workload(), adopts).await;
    Observed {
        complaints: match &daemon_set {
            Child::Unknown(_) => None,
            daemon_set => Some(complaints(client, owner, daemon_set.ours()).await),
        },
        state: child(client, owner, &owner.state_secret(), adopts).await,
        server: child(client, owner, &owner.server_secret(), adopts).await,
        scrape: child(client, owner, &owner.scrape_secret(), adopts).await,
        authority: child(client, owner, &owner.ca_config_map(), adopts).await,
        service_account: child(client, owner, &owner.workload(), adopts).await,
        role: child(client, owner, &owner.discovery(), adopts).await,
        role_binding: child(client, owner, &owner.discovery(), adopts).await,
        service: child(client, owner, &owner.workload(), adopts).await,
        daemon_set,
    }
}

async fn child<K>(client: &Client, owner: &Owner, name: &str, adopts: bool) -> Child<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    Child::of(get(client, &owner.namespace, name).await, owner, adopts)
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
    let password = password.map(SecretObject::new);
    let users = match &spec.users_secret {
        Some(name) => get::<Secret>(client, namespace, name).await?,
        None => None,
    };
    let users = users.map(SecretObject::new);
    Ok(SuppliedCredentials::check(
        spec,
        policy,
        password.as_deref(),
        users.as_deref(),
    ))
}

/// Reads the problems of the pods, unless every node has a ready one.
async fn complaints(client: &Client, owner: &Owner, daemon_set: Option<&DaemonSet>) -> Complaints {
    let Some(set) = daemon_set.filter(|set| !has_ready_pods(set)) else {
        return Complaints::default();
    };
    let mut unread = Vec::new();
    let pods = Api::<Pod>::namespaced(client.clone(), &owner.namespace)
        .list(&ListParams::default().labels(&owner.selector_query()))
        .await;
    let pods = pods
        .map_err(|error| unread.push((Reading::Pods, error)))
        .ok();
    let fields = format!(
        "involvedObject.kind=DaemonSet,involvedObject.name={}",
        owner.workload()
    );
    let events = Api::<Event>::namespaced(client.clone(), &owner.namespace)
        .list(&ListParams::default().fields(&fields))
        .await;
    let events = events
        .map_err(|error| unread.push((Reading::Events, error)))
        .ok();
    let pods = pods.map(|list| list.items);
    let events = events.map(|list| list.items).unwrap_or_default();
    let found = pod_problems::find(pods.as_deref(), &events, set);
    Complaints { found, unread }
}

/// Whether every node has a ready pod. A DaemonSet whose controller has not looked at it yet has no problems either.
fn has_ready_pods(set: &DaemonSet) -> bool {
    set.status.as_ref().is_none_or(|status| {
        let desired = status.desired_number_scheduled;
        status.number_ready >= desired && desired > 0
    })
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
