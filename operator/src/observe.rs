//! Reads the generated objects of a resource, and problems in the status of its pods and the events of its DaemonSet. It
//! never writes. [`prober`] asks the exporters themselves.

pub mod agenda;
pub mod api_error;
pub mod certificate_requests;
pub mod children;
pub mod pod_monitors;
pub mod pods;
pub mod probe;
pub mod prober;
pub mod supplied;
pub mod versions;
pub mod watch_health;

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Event, Secret},
};
use kube::{Api, Client, Resource, api::ListParams};

use crate::{
    names::Owner,
    observe::{
        children::{Child, Complaints, Observed},
        pods::Pods,
    },
    report::{
        pod_problems::{self, Complaint},
        problem::Reading,
    },
    secret_object::SecretObject,
    spec::ValidSpec,
    supplied::{credentials::SuppliedCredentials, reference::ReferencePolicy},
};

/// Reads the generated objects of `owner`, all at the same time: if each read waited for the one before, a slow API server
/// would use up the deadline of the pass. If one cannot be read, the others still are. `adopts`: restored objects count as those
/// of `owner`.
pub async fn observe(client: &Client, pods: &Pods, owner: &Owner, adopts: bool) -> Observed {
    let reads = Reads {
        client,
        pods,
        owner,
        adopts,
    };
    let (state, server, scrape) = (
        owner.state_secret(),
        owner.server_secret(),
        owner.scrape_secret(),
    );
    let (authority, discovery) = (owner.ca_config_map(), owner.discovery());
    let workload = owner.workload();
    let (
        (daemon_set, complaints),
        state,
        server,
        scrape,
        authority,
        service_account,
        role,
        role_binding,
        service,
    ) = tokio::join!(
        reads.daemon_set(&workload),
        reads.child(&state),
        reads.child(&server),
        reads.child(&scrape),
        reads.child(&authority),
        reads.child(&workload),
        reads.child(&discovery),
        reads.child(&discovery),
        reads.child(&workload),
    );
    Observed {
        state,
        server,
        scrape,
        authority,
        service_account,
        role,
        role_binding,
        service,
        daemon_set,
        complaints,
    }
}

/// The reads of the generated objects.
struct Reads<'a> {
    client: &'a Client,
    pods: &'a Pods,
    owner: &'a Owner,
    adopts: bool,
}

impl Reads<'_> {
    async fn child<K>(&self, name: &str) -> Child<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let read = get(self.client, &self.owner.namespace, name).await;
        Child::of(read, self.owner, self.adopts)
    }

    /// The DaemonSet, and then the problems of its pods.
    async fn daemon_set(&self, name: &str) -> (Child<DaemonSet>, Option<Complaints>) {
        let daemon_set = self.child(name).await;
        let complaints = match &daemon_set {
            Child::Unknown(_) => None,
            known => Some(Box::pin(self.complaints(known.ours())).await),
        };
        (daemon_set, complaints)
    }

    /// Reads the problems of the pods, unless every node has a ready one. While the watch fails, this shows whether the pods
    /// can be read at all.
    async fn complaints(&self, daemon_set: Option<&DaemonSet>) -> Complaints {
        let is_failing = self.pods.is_failing(self.owner);
        let Some(set) = daemon_set.filter(|set| is_failing || !has_ready_pods(set)) else {
            return Complaints::default();
        };
        let mut unread = Vec::new();
        let pods = self.pods.read(self.client, self.owner).await;
        let pods = pods.unwrap_or_else(|error| {
            unread.push((Reading::Pods, error));
            Vec::new()
        });
        let mut found: BTreeSet<Complaint> =
            pods.iter().flat_map(|pod| pod.complaints.clone()).collect();
        let alive = pods.iter().filter(|pod| !pod.is_terminating).count();
        let reads_events = unread.is_empty() && pod_problems::is_short_of_pods(alive, set);
        if reads_events {
            match self.events().await {
                Ok(events) => found.extend(pod_problems::refusal(&events, set)),
                Err(error) => unread.push((Reading::Events, error)),
            }
        }
        Complaints {
            found: found.into_iter().collect(),
            unread,
            reads_events,
        }
    }

    /// The events of the DaemonSet.
    async fn events(&self) -> Result<Vec<Event>, kube::Error> {
        let of_daemon_set = format!(
            "involvedObject.kind=DaemonSet,involvedObject.name={}",
            self.owner.workload()
        );
        let events = Api::<Event>::namespaced(self.client.clone(), &self.owner.namespace);
        let about = ListParams::default().fields(&of_daemon_set);
        Ok(events.list(&about).await?.items)
    }
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
    let (password, users) = (spec.password_secret.as_ref(), spec.users_secret.as_deref());
    let (password, users) = tokio::try_join!(
        secret(client, namespace, password.map(|place| place.name.as_str())),
        secret(client, namespace, users),
    )?;
    Ok(SuppliedCredentials::check(
        spec,
        policy,
        password.as_deref(),
        users.as_deref(),
    ))
}

async fn secret(
    client: &Client,
    namespace: &str,
    name: Option<&str>,
) -> Result<Option<SecretObject>, kube::Error> {
    let Some(name) = name else {
        return Ok(None);
    };
    let read = get::<Secret>(client, namespace, name).await?;
    Ok(read.map(SecretObject::new))
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
