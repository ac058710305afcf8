//! What every pass needs, and what is kept between passes.

use std::{collections::HashMap, sync::Arc};

use kube::Client;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    apply::Writer,
    clock::Clock,
    controller::backoff::PerObject,
    names::Owner,
    observe::samples::Samples,
    rotation::{recall::Memory, timing::Timers},
    spec::policy::Policy,
    supplied::reference::ReferencePolicy,
    telemetry::{events::Events, metrics::Metrics},
};

/// What every pass needs.
pub struct Context {
    /// Client for the API server.
    pub client: Client,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What the author of a resource may put on pods.
    pub policy: Policy,
    /// Which Secrets a resource may reference.
    pub references: ReferencePolicy,
    /// The operator's metrics.
    pub metrics: Arc<Metrics>,
    /// Publishes Kubernetes events.
    pub events: Events,
    /// Consecutive failures of each resource.
    pub backoff: PerObject,
    /// The timers of rotations.
    pub timers: Timers,
    /// The last answers of the exporters.
    pub samples: Samples,
    /// What was last known about each resource, by uid.
    pub remembered: Mutex<HashMap<String, Remembered>>,
}

impl Context {
    /// Forgets a deleted resource: its secrets, its exporters' answers and its metrics.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.metrics.forget(namespace, name);
        self.remembered().retain(|uid, before| {
            let is_gone = before.owner.namespace == namespace && before.owner.name == name;
            if is_gone {
                self.samples.forget(uid);
                self.backoff.succeeded(uid);
                self.events.forget(uid);
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
        self.remembered.lock()
    }
}

/// What was last known about a resource.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// The resource.
    pub(crate) owner: Owner,
    /// What was known.
    pub(crate) memory: Memory,
}
