//! What wakes the operator: the resources, their children, and their pods.

use std::{fmt::Debug, future::Future, sync::Arc};

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
    backoff,
    health::Health,
    names::{APP_NAME, INSTANCE_LABEL, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL},
    reconcile::{Context, ReconcileError, after_failure, reconcile},
};

type Guarded = DeserializeGuard<SecureExporter>;

/// Watches one namespace, or all, and runs passes until `stop` is done and the running ones have ended.
pub async fn watch(
    context: Arc<Context>,
    health: Arc<Health>,
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
    .trigger_backoff(backoff::Watches::default())
    .owns(api::<Secret>(client, namespace), ours())
    .owns(api::<ConfigMap>(client, namespace), ours())
    .owns(api::<ServiceAccount>(client, namespace), ours())
    .owns(api::<Role>(client, namespace), ours())
    .owns(api::<RoleBinding>(client, namespace), ours())
    .owns(api::<Service>(client, namespace), ours())
    .owns(api::<DaemonSet>(client, namespace), ours())
    .watches(api::<Pod>(client, namespace), pods, |pod| owner_of(&pod))
    .graceful_shutdown_on(stop);
    let store = controller.store();
    let listed = health.clone();
    tokio::spawn(async move {
        if store.wait_until_ready().await.is_ok() {
            listed.ready();
        }
    });
    controller
        .run(pass, failed, context)
        .for_each(|result| {
            if let Err(error) = &result
                && !matches!(
                    error,
                    controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)
                )
            {
                tracing::warn!(%error, "a watch failed and is tried again");
            }
            futures::future::ready(())
        })
        .await;
}

async fn pass(resource: Arc<Guarded>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    match &resource.0 {
        Ok(resource) => reconcile(Arc::new(resource.clone()), context).await,
        // A change of the resource, or of the operator, is the only mend.
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(name, error = %invalid.error, "this SecureExporter cannot be read");
            Ok(Action::await_change())
        }
    }
}

fn failed(resource: Arc<Guarded>, error: &ReconcileError, context: Arc<Context>) -> Action {
    resource.0.as_ref().map_or_else(
        |_| Action::await_change(),
        |resource| after_failure(resource, error, &context),
    )
}

/// The resource that a pod belongs to, by its labels: its owner is the DaemonSet, not the resource.
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
