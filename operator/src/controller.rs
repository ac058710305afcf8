//! The watches that trigger passes: of the resources, their generated objects and their pods.

pub mod backoff;
pub mod context;
pub mod dependents;
mod feeds;
mod inputs;
pub mod interviewer;
mod pass;
mod pod_monitor;
mod recall;
mod reconcile;
mod rest;
pub mod rests;
mod schedule;
mod scope;
pub mod serving;
mod stand_aside;
mod supervision;
mod telling;
pub mod wakes;

use std::{convert::Infallible, future::ready, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Secret, Service, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Client, Resource,
    api::ListParams,
    core::DeserializeGuard,
    runtime::{
        controller::{self, Action, Controller},
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    api::SecureExporter,
    client::WATCH_SECONDS,
    controller::{
        context::Context, feeds::Feeds, reconcile::reconcile, scope::api, supervision::Supervision,
    },
    names::Owner,
    observe::api_error::{self, Class, class},
    spec::issuer::PlaceKind,
    telemetry::{passes::PASS_DEADLINE, repeats::Repeats},
};

/// How often to look for resources whose deletion triggered no pass, because they had no children.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// How often to look whether a namespace can still be read, after a watch in it failed.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How many refusals in a row mean that a namespace is gone. An API server that has just started refuses for a moment.
const MAX_REFUSALS: u32 = 6;

type Guarded = DeserializeGuard<SecureExporter>;

/// Watches one namespace, or all, and runs passes until the operator stops or the namespace can no longer be read, and the
/// running passes have ended.
pub async fn watch(context: Arc<Context>, namespace: Option<&str>, stop: &CancellationToken) {
    let client = &context.client;
    let ended = stop.child_token();
    let woken = context.wakes.listen(namespace);
    let woken = woken.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    let controller = controller(client, namespace)
        .reconcile_on(woken)
        .reconcile_all_on(context.pod_monitors.changes())
        .graceful_shutdown_on(ended.clone().cancelled_owned());
    let store = controller.store();
    let in_scope = |owner: &Owner| namespace.is_none_or(|namespace| owner.namespace == namespace);
    let is_deleted = |owner: &Owner| in_scope(owner) && !is_present(&store, owner);
    let (failed, repeats) = (Notify::new(), Repeats::default());
    let note_failure = |error: &(dyn std::error::Error + 'static)| {
        failed.notify_one();
        let cause = api_error::within(error);
        let error = cause.map_or_else(|| error.to_string(), api_error::text);
        if !repeats.is_new(&error) {
            return;
        }
        if cause.is_some_and(is_refused) {
            tracing::warn!(
                namespace,
                error,
                "a watch is refused; until it is allowed, changes are only noticed after up to a minute. The chart's Role or ClusterRole allows it: `helm upgrade` restores that"
            );
            // They report what is missing.
            context.wake_all(in_scope);
        } else {
            tracing::warn!(namespace, error, "a watch failed; retrying");
        }
    };

    let current = store.clone();
    let passes = controller
        .run(
            move |resource, context| pass(resource, context, current.clone()),
            |_, never, _| match *never {},
            context.clone(),
        )
        .for_each(|result| {
            match result {
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                // The deletion of a resource triggers no pass. That of its children does, for a resource that is gone.
                Err(controller::Error::ObjectNotFound(gone)) => {
                    context.forget(|owner| owner.name == gone.name && is_deleted(owner));
                }
                Err(error) => note_failure(&error),
            }
            ready(())
        });
    let sweep = async {
        loop {
            sleep(SWEEP_INTERVAL).await;
            context.forget(is_deleted);
            let passes = &context.passes;
            context
                .wakes
                .keep(|namespace, name| passes.knows(namespace, name));
        }
    };
    let lose = async {
        let error = lost(client, namespace, &failed).await;
        let error = api_error::text(&error);
        tracing::warn!(
            namespace,
            error,
            "cannot list SecureExporters any more; reconciling them again when it is possible"
        );
        ended.cancel();
        // For ever, if the first list never succeeded.
        sleep(PASS_DEADLINE).await;
    };
    let pods = context.pods.open(namespace);
    let feeds = Feeds {
        context: &context,
        namespace,
        failed: &|error| note_failure(error),
    };
    tokio::select! {
        () = passes => {}
        () = sweep => {}
        () = lose => {}
        () = feeds.pods(&pods) => {}
        () = feeds.generated::<Secret>() => {}
        () = feeds.generated::<ConfigMap>() => {}
        () = feeds.generated::<ServiceAccount>() => {}
        () = feeds.generated::<Role>() => {}
        () = feeds.generated::<RoleBinding>() => {}
        () = feeds.generated::<Service>() => {}
        () = feeds.generated::<DaemonSet>() => {}
        () = feeds.pod_monitors() => {}
        () = feeds.references::<Secret>(PlaceKind::Secret) => {}
        () = feeds.references::<ConfigMap>(PlaceKind::ConfigMap) => {}
    }
    context.pods.close(namespace);
    context.dependents.close(namespace);
    context.versions.close(namespace);
    context.forget(in_scope);
}

fn controller(client: &Client, namespace: Option<&str>) -> Controller<Guarded> {
    let all = watcher::Config {
        // With several pages, the passes over the resources of the first one would begin before the whole list replaces what the
        // store has, and its end triggers no pass: what was created or changed meanwhile would be missed.
        page_size: None,
        ..watcher::Config::default().timeout(WATCH_SECONDS)
    };
    Controller::new(api::<Guarded>(client, namespace), all).trigger_backoff(backoff::watches())
}

/// Lists the resources of one namespace, or of all, to learn whether that is possible.
///
/// # Errors
/// The API server did not answer, or refused the request.
pub async fn list(client: &Client, namespace: Option<&str>) -> Result<(), kube::Error> {
    let one = ListParams::default().limit(1);
    let listed = api::<Guarded>(client, namespace).list_metadata(&one).await;
    listed.map(drop)
}

/// Whether the API server refused to list a namespace. With a Role in each, one that does not exist is forbidden.
pub fn is_refused(error: &kube::Error) -> bool {
    matches!(class(error), Class::Forbidden | Class::NotFound)
}

/// Waits until the namespace can no longer be read, and returns the API server's refusal. It is only asked after a watch
/// failed.
async fn lost(client: &Client, namespace: Option<&str>, failed: &Notify) -> kube::Error {
    loop {
        failed.notified().await;
        let mut refusals = 0;
        while let Err(error) = list(client, namespace).await
            && is_refused(&error)
        {
            refusals += 1;
            if refusals == MAX_REFUSALS {
                return error;
            }
            sleep(CHECK_INTERVAL).await;
        }
        sleep(CHECK_INTERVAL).await;
    }
}

fn is_present(store: &Store<Guarded>, owner: &Owner) -> bool {
    let found = store.get(&ObjectRef::new(&owner.name).within(&owner.namespace));
    found.is_some_and(|found| found.meta().uid.as_ref() == Some(&owner.uid))
}

/// Runs one pass under its deadline, and returns when the next one is due; `None` if only a change can require one.
pub async fn supervised(
    resource: &SecureExporter,
    owner: &Owner,
    context: &Context,
) -> Option<Duration> {
    let supervision = Supervision {
        passes: &context.passes,
        metrics: &context.metrics,
        backoff: &context.backoff,
        deadline: PASS_DEADLINE,
    };
    // On the heap: a pass is a large future.
    let pass = async |blocking| Box::pin(reconcile(resource, owner, context, &blocking)).await;
    supervision.run(owner, pass).await
}

/// Runs a pass as soon as there is a permit for it.
async fn pass(
    resource: Arc<Guarded>,
    context: Arc<Context>,
    store: Store<Guarded>,
) -> Result<Action, Infallible> {
    let reference = ObjectRef::from_obj(&*resource);
    let Some((_, owner)) = valid(&resource) else {
        return Ok(Action::await_change());
    };
    let waiting = context.passes.wait(&owner);
    let Ok(_permit) = context.permits.acquire().await else {
        // The operator stops.
        return Ok(Action::await_change());
    };
    drop(waiting);
    // It may have changed while it waited.
    let resource = store.get(&reference);
    let Some((resource, owner)) = resource.as_deref().and_then(valid) else {
        return Ok(Action::await_change());
    };
    Ok(supervised(resource, &owner, &context)
        .await
        .map_or_else(Action::await_change, Action::requeue))
}

/// Returns a resource that can be parsed, and its identity.
fn valid(resource: &Guarded) -> Option<(&SecureExporter, Owner)> {
    match &resource.0 {
        Ok(resource) => Some((resource, Owner::of(resource)?)),
        // Only a change of the resource, or another version of the operator, can fix it.
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(name, error = %invalid.error, "cannot parse a SecureExporter");
            None
        }
    }
}
