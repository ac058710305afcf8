//! What every pass needs, and what is remembered between passes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use kube::Client;

use crate::{
    apply::Writer,
    clock::Clock,
    controller::{backoff::PerObject, samples::Samples},
    names::Owner,
    rotation::{order::LeafRequest, state::State, timing::Timers},
    spec::image_policy::ImagePolicy,
    telemetry::{events::Events, metrics::Metrics},
};

/// What every pass needs.
pub struct Context {
    /// How to reach the API server.
    pub client: Client,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Which images may run.
    pub images: ImagePolicy,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is told.
    pub events: Events,
    /// Failures in a row.
    pub backoff: PerObject,
    /// The waits of the rotation.
    pub timers: Timers,
    /// What the exporters said last.
    pub samples: Samples,
    /// What was last known of each resource, by uid.
    pub remembered: Mutex<HashMap<String, Remembered>>,
}

impl Context {
    /// Forgets a resource that is gone: its secrets, its answers, its metrics.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.metrics.forget(namespace, name);
        self.remembered().retain(|uid, before| {
            let is_gone = before.owner.namespace == namespace && before.owner.name == name;
            if is_gone {
                self.samples.forget(uid);
            }
            !is_gone
        });
    }

    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer {
            client: &self.client,
            metrics: &self.metrics,
        }
    }

    pub(crate) fn remembered(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was last known of a resource.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Whose it is.
    pub(crate) owner: Owner,
    /// Its state: what brings a deleted state Secret back as it was.
    pub(crate) state: State,
    /// What an issuer outside is asked for.
    pub(crate) request: Option<LeafRequest>,
    /// When that was asked for last.
    pub(crate) asked: Option<Timestamp>,
    /// How often the clock had jumped by then.
    pub(crate) clock_jumps: u64,
}
