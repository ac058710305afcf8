//! Whether the cluster has PodMonitors, and the one of a resource.

use std::pin::pin;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::watch;

use crate::{
    client::WATCH_SECONDS,
    monitoring::{DEFINITION, StoredMonitor},
    names::Owner,
    observe::{
        api_error::{self, Class},
        children::Child,
    },
    telemetry::repeats::Repeats,
};

/// Whether the cluster has PodMonitors.
#[derive(Default)]
pub struct PodMonitors {
    /// `None` until it is known.
    exist: watch::Sender<Option<bool>>,
}

impl PodMonitors {
    /// Watches their definition, for ever.
    pub async fn keep(&self, client: &Client) {
        let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
        let parameters = watcher::Config::default()
            .fields(&format!("metadata.name={DEFINITION}"))
            .timeout(WATCH_SECONDS);
        let mut events = pin!(watcher(api, parameters).default_backoff());
        let (mut is_listed, repeats) = (false, Repeats::default());
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => is_listed = false,
                Ok(watcher::Event::InitApply(_)) => is_listed = true,
                Ok(watcher::Event::InitDone) => self.set(is_listed),
                Ok(watcher::Event::Apply(_)) => self.set(true),
                Ok(watcher::Event::Delete(_)) => self.set(false),
                Err(error) => {
                    let cause = api_error::within(&error);
                    let text = cause.map_or_else(|| error.to_string(), api_error::text);
                    if !repeats.is_new(&text) {
                        continue;
                    }
                    let is_refused =
                        cause.is_some_and(|it| api_error::class(it) == Class::Forbidden);
                    let outcome = if is_refused {
                        "until it is allowed, PodMonitors are only written where spec.scrape.prometheusOperator.mode is Enabled"
                    } else {
                        "retrying"
                    };
                    tracing::warn!(
                        error = text,
                        "cannot watch the CustomResourceDefinition {DEFINITION}: {outcome}"
                    );
                }
            }
        }
    }

    /// Whether they exist; `None` while it is not known.
    pub fn exist(&self) -> Option<bool> {
        *self.exist.borrow()
    }

    /// Waits until they exist, or until they do not.
    pub async fn wait_until_they_exist(&self, exist: bool) {
        let mut receiver = self.exist.subscribe();
        // The sender lives as long as this.
        let _ = receiver.wait_for(|now| *now == Some(exist)).await;
    }

    /// An item whenever it changes whether they exist.
    pub fn changes(&self) -> impl Stream<Item = ()> + Send + Sync + 'static {
        stream::unfold(self.exist.subscribe(), |mut exist| async move {
            exist.changed().await.ok().map(|()| ((), exist))
        })
    }

    fn set(&self, exist: bool) {
        self.exist
            .send_if_modified(|before| before.replace(exist) != Some(exist));
    }
}

/// Reads the PodMonitor of a resource. A restored one counts as ours without being adopted, because it
/// contains nothing that could be planted or lost.
pub async fn pod_monitor(client: &Client, owner: &Owner) -> Child<StoredMonitor> {
    let api: Api<StoredMonitor> = Api::namespaced(client.clone(), &owner.namespace);
    Child::of(api.get_opt(&owner.workload()).await, owner, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_change_is_told() {
        let monitors = PodMonitors::default();
        let mut changes = pin!(monitors.changes());
        assert_eq!(monitors.exist(), None);
        monitors.set(true);
        assert_eq!(changes.next().await, Some(()));
        monitors.set(true);
        assert_eq!(futures::poll!(changes.next()), std::task::Poll::Pending);
        monitors.set(false);
        assert_eq!(changes.next().await, Some(()));
        assert_eq!(monitors.exist(), Some(false));
    }
}
