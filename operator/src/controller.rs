//! The watches that trigger passes: of the resources, their generated objects and their pods.

pub mod backoff;
pub mod context;
mod pass;
mod recall;
pub mod reconcile;
mod schedule;
mod telling;

use std::{convert::Infallible, fmt::Debug, future::Future, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::DeserializeGuard,
    runtime::{
        controller::{self, Action, Controller},
        reflector::ObjectRef,
        watcher,
    },
};
use serde::de::DeserializeOwned;

use crate::{
    api::SecureExporter,
    controller::{context::Context, reconcile::reconcile},
    names::{APP_NAME, INSTANCE_LABEL, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL},
};

type Guarded = DeserializeGuard<SecureExporter>;

/// Watches one namespace, or all, and runs passes until `stop` completes and the running ones have ended.
pub async fn watch(
    context: Arc<Context>,
    namespace: Option<&str>,
    concurrency: u16,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let client = &context.client;
    let ours = || watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let pods = watcher::Config::default().labels(&format!("{NAME_LABEL}={APP_NAME}"));
    let controller = Controller::new(
        api::<Guarded>(client, namespace),
        watcher::Config::default(),
    )
    .with_config(controller::Config::default().concurrency(concurrency))
    .trigger_backoff(backoff::watches())
    .owns(api::<Secret>(client, namespace), ours())
    .owns(api::<ConfigMap>(client, namespace), ours())
    .owns(api::<ServiceAccount>(client, namespace), ours())
    .owns(api::<Role>(client, namespace), ours())
    .owns(api::<RoleBinding>(client, namespace), ours())
    .owns(api::<Service>(client, namespace), ours())
    .owns(api::<DaemonSet>(client, namespace), ours())
    .watches(api::<Pod>(client, namespace), pods, |pod| owner_of(&pod))
    .graceful_shutdown_on(stop);
    let forgetting = context.clone();
    controller
        .run(pass, |_, never, _| match *never {}, context)
        .for_each(|result| {
            match result {
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                // The deletion of a resource triggers no pass. That of its children does, for a resource that is gone.
                Err(controller::Error::ObjectNotFound(gone)) => {
                    forgetting.forget(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                }
                Err(error) => tracing::warn!(%error, "a watch failed; retrying"),
            }
            futures::future::ready(())
        })
        .await;
}

/// Waits until resources can be listed, in one namespace or in all.
pub async fn wait_until_listed(client: &Client, namespace: Option<&str>) {
    let resources = api::<Guarded>(client, namespace);
    while let Err(error) = resources
        .list_metadata(&ListParams::default().limit(1))
        .await
    {
        tracing::warn!(?namespace, %error, "cannot list SecureExporters; retrying");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn pass(resource: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Infallible> {
    match &resource.0 {
        Ok(resource) => reconcile(Arc::new(resource.clone()), context).await,
        // Only a change of the resource, or another version of the operator, can fix it.
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(name, error = %invalid.error, "cannot parse a SecureExporter");
            Ok(Action::await_change())
        }
    }
}

/// Returns the resource of a pod by the pod's labels, because the pod's owner is the DaemonSet.
fn owner_of(pod: &Pod) -> Option<ObjectRef<Guarded>> {
    let name = pod.labels().get(INSTANCE_LABEL)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
