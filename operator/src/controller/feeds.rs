//! The watches whose events are not each a pass: thousands of them come within minutes while pods are rolled out.

use std::{fmt::Debug, pin::pin, time::Instant};

use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

use crate::{
    client::WATCH_SECONDS,
    controller::{backoff, context::Context, scope::api},
    monitoring::PodMonitor,
    names::{APP_NAME, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL},
    observe::pods::{PodWatch, ReadPod},
    spec::issuer::PlaceKind,
};

/// The watches of one namespace, or of all.
pub(super) struct Feeds<'a> {
    pub(super) context: &'a Context,
    pub(super) namespace: Option<&'a str>,
    /// Called with each failure.
    pub(super) failed: &'a (dyn Fn(&watcher::Error) + Sync),
}

impl Feeds<'_> {
    /// Watches the pods of the exporters, for the passes and for the prober. Never ends.
    pub(super) async fn pods(&self, watch: &PodWatch) {
        let pods = format!("{NAME_LABEL}={APP_NAME}");
        let mut events = pin!(self.events::<ReadPod>(Some(&pods)));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    // There is a pass over every resource when the operator starts.
                    let is_news = watch.was_listed();
                    for (namespace, name) in watch.note(event) {
                        self.context.prober.pods_changed(&namespace, &name);
                        if is_news {
                            self.context.wakes.wake(&namespace, &name);
                        }
                    }
                }
                Err(error) => {
                    watch.failed(Instant::now());
                    (self.failed)(&error);
                }
            }
        }
    }

    /// Watches the metadata of the objects of users of this kind, from the first reference to one on. Never ends.
    pub(super) async fn references<K>(&self, kind: PlaceKind)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let (dependents, namespace) = (&self.context.dependents, self.namespace);
        dependents.wait_for_reference(namespace, kind).await;
        let mut events = pin!(self.events::<PartialObjectMeta<K>>(None));
        while let Some(event) = events.next().await {
            let changed = match event {
                Ok(Event::Init) => {
                    dependents.listed(namespace, kind, false);
                    Vec::new()
                }
                Ok(Event::InitApply(_)) => Vec::new(),
                Ok(Event::InitDone) => {
                    dependents.listed(namespace, kind, true);
                    // Any of them may have changed before.
                    dependents.all(namespace, kind)
                }
                Ok(Event::Apply(object) | Event::Delete(object)) => {
                    let namespace = object.namespace().unwrap_or_default();
                    dependents.of(&namespace, kind, &object.name_any())
                }
                Err(error) => {
                    dependents.failed(namespace, kind);
                    (self.failed)(&error);
                    Vec::new()
                }
            };
            for (namespace, name) in changed {
                self.context.wakes.wake(&namespace, &name);
            }
        }
    }

    /// Watches the metadata of the generated objects of this kind. Never ends. The status of the DaemonSet changes with each of
    /// its pods.
    pub(super) async fn generated<K>(&self)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let (versions, ours) = (
            &self.context.versions,
            format!("{MANAGED_BY_LABEL}={MANAGED_BY}"),
        );
        let mut events = pin!(self.events::<PartialObjectMeta<K>>(Some(&ours)));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    for (namespace, name) in versions.note(self.namespace, event) {
                        self.context.wakes.wake(&namespace, &name);
                    }
                }
                Err(error) => {
                    versions.failed::<K>(self.namespace);
                    (self.failed)(&error);
                }
            }
        }
    }

    /// Watches the metadata of the PodMonitors while the cluster has them. Never ends.
    pub(super) async fn pod_monitors(&self) {
        let monitors = &self.context.pod_monitors;
        loop {
            monitors.wait_until_they_exist(true).await;
            tokio::select! {
                () = self.generated::<PodMonitor>() => {}
                () = monitors.wait_until_they_exist(false) => {}
            }
        }
    }

    fn events<K>(
        &self,
        labels: Option<&str>,
    ) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + use<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let config = watcher::Config {
            label_selector: labels.map(str::to_owned),
            ..watcher::Config::default().timeout(WATCH_SECONDS)
        };
        let objects = api::<K>(&self.context.client, self.namespace);
        watcher::watcher(objects, config).backoff(backoff::watches())
    }
}
