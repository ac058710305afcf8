//! What every pass needs, and what is kept between passes.

use std::{collections::HashMap, sync::Arc};

use kube::Client;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Semaphore;

use crate::{
    api::HostNetwork,
    apply::{Writer, repairs::Repairs, verified::Verified},
    clock::Clock,
    controller::{backoff::PerObject, dependents::Dependents, rests::Rests, wakes::Wakes},
    lease::Leases,
    names::Owner,
    observe::{pod_monitors::PodMonitors, pods::Pods, prober::Prober, versions::Versions},
    rotation::{recall::Memory, timing::Timers},
    spec::policy::Policy,
    supplied::reference::ReferencePolicy,
    telemetry::{events::Events, metrics::Metrics, passes::Passes, repeats::Reported},
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
    /// The Leases by which only one release serves a namespace.
    pub leases: Arc<Leases>,
    /// Publishes Kubernetes events.
    pub events: Events,
    /// Which passes run and which are due.
    pub passes: Arc<Passes>,
    /// How many passes may run at the same time, in all namespaces together. Closed when the operator stops.
    pub permits: Semaphore,
    /// Consecutive failures of each resource.
    pub backoff: PerObject,
    /// The problems that were logged.
    pub logged: Reported,
    /// The repairs of generated objects that were tried.
    pub repairs: Repairs,
    /// What need not be applied again.
    pub verified: Verified,
    /// The timers of rotations.
    pub timers: Timers,
    /// Whether the cluster has PodMonitors.
    pub pod_monitors: PodMonitors,
    /// The watched pods of the exporters.
    pub pods: Arc<Pods>,
    /// The watched versions of the generated objects.
    pub versions: Versions,
    /// The resources for which nothing is left to do.
    pub rests: Rests,
    /// Asks the exporters in the background.
    pub prober: Prober,
    /// Which resources reference which objects of users.
    pub dependents: Dependents,
    /// Asks for passes.
    pub wakes: Arc<Wakes>,
    /// What was last known about each resource, by uid.
    pub remembered: Arc<Mutex<HashMap<String, Remembered>>>,
}

impl Context {
    /// Forgets everything about the deleted resources: their secrets, their failures, their exporters' answers and their
    /// metrics.
    pub fn forget(&self, is_deleted: impl Fn(&Owner) -> bool) {
        for owner in self.passes.remove(is_deleted) {
            self.remembered().remove(&owner.uid);
            self.prober.forget(&owner.uid);
            self.dependents.forget(&owner.uid);
            self.rests.end(&owner.uid);
            self.verified.forget(&owner);
            self.repairs.restorations.forget(&owner.uid);
            self.backoff.succeeded(&owner.uid);
            self.events.forget(&owner.uid);
            self.logged.forget(&owner.uid);
            // Unless there is another one of this name by now.
            if !self.passes.knows(&owner.namespace, &owner.name) {
                self.metrics.forget(&owner.namespace, &owner.name);
                self.wakes.forget(&owner);
            }
        }
    }

    /// Forgets what is known about a resource that another release serves: it would be outdated when this one serves it again.
    pub(crate) fn leave(&self, owner: &Owner) {
        self.remembered().remove(&owner.uid);
        self.prober.forget(&owner.uid);
        self.dependents.forget(&owner.uid);
        self.rests.end(&owner.uid);
        // What the other release writes must not be reported as a change by another client.
        self.verified.forget(owner);
        self.repairs.restorations.forget(&owner.uid);
        self.backoff.succeeded(&owner.uid);
        self.metrics.forget(&owner.namespace, &owner.name);
    }

    /// Returns the other resources whose exporters use this port of the nodes, sorted.
    pub(crate) fn port_rivals(&self, owner: &Owner, port: u16) -> Vec<Owner> {
        let remembered = self.remembered();
        let is_rival = |other: &&Remembered| {
            let state = other.memory.stored.state.as_ref();
            let spec = state.and_then(|state| state.accepted.as_ref());
            other.owner.uid != owner.uid
                && spec.is_some_and(|it| it.port == port && it.network == HostNetwork::Host)
        };
        let rivals = remembered.values().filter(is_rival);
        let mut rivals: Vec<Owner> = rivals.map(|other| other.owner.clone()).collect();
        rivals.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        rivals
    }

    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer {
            client: &self.client,
            metrics: &self.metrics,
            repairs: &self.repairs,
            verified: &self.verified,
        }
    }

    /// Asks for passes over these resources.
    pub(crate) fn wake_all(&self, is_meant: impl Fn(&Owner) -> bool) {
        for Remembered { owner, .. } in self.remembered().values().filter(|it| is_meant(&it.owner))
        {
            self.wakes.wake(&owner.namespace, &owner.name);
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
    /// The generation of the resource for which every object was written; `None` if one could not be.
    pub(crate) written_for: Option<i64>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::Config;

    use super::*;
    use crate::{
        clock::SystemClock,
        controller::interviewer::prober,
        lease::Intervals,
        spec::{
            image_policy::ImagePolicy,
            pod_policy::{PodPolicy, PodRules},
        },
    };

    fn context() -> Context {
        let nowhere = "http://127.0.0.1:9".parse().expect("is a URL");
        let client = Client::try_from(Config::new(nowhere)).expect("is valid");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let metrics = Arc::<Metrics>::default();
        let leases = Leases::new(
            client.clone(),
            "a/b".to_owned(),
            clock.clone(),
            metrics.clone(),
            Intervals::default(),
        );
        let pods = Arc::<Pods>::default();
        let wakes = Arc::<Wakes>::default();
        let remembered = Arc::default();
        Context {
            events: Events::new(client.clone()),
            prober: prober(
                &client,
                &pods,
                &wakes,
                &remembered,
                &clock,
                &Timers::default(),
            ),
            pods,
            dependents: Dependents::default(),
            versions: Versions::default(),
            rests: Rests::default(),
            wakes,
            client,
            clock,
            policy: Policy {
                images: ImagePolicy::new("localhost/secure-exporter:dev", &[]).expect("is valid"),
                pods: PodPolicy::new(&PodRules::default()).expect("is valid"),
            },
            references: ReferencePolicy::AnyFitting,
            metrics,
            leases: Arc::new(leases),
            passes: Arc::new(Passes::new(1)),
            permits: Semaphore::new(1),
            backoff: PerObject::default(),
            logged: Reported::default(),
            repairs: Repairs::default(),
            pod_monitors: PodMonitors::default(),
            verified: Verified::default(),
            timers: Timers::default(),
            remembered,
        }
    }

    #[tokio::test]
    async fn a_deleted_resource_leaves_nothing_even_if_no_pass_ever_succeeded() {
        let context = context();
        let owner = |name: &str| Owner {
            name: name.to_owned(),
            namespace: "monitoring".to_owned(),
            uid: format!("uid-of-{name}"),
        };
        let failed = Duration::from_secs(5);
        for owner in [owner("gone"), owner("kept")] {
            context.passes.begin(&owner).end(Some(failed));
            context.metrics.begun(&owner, context.clock.now());
            while context.backoff.failed(&owner.uid) < failed {}
        }
        context.forget(|owner| owner.name == "gone");
        assert!(context.backoff.failed("uid-of-gone") < failed);
        assert!(context.backoff.failed("uid-of-kept") > failed);
        let metrics = context.metrics.text();
        assert!(!metrics.contains("gone") && metrics.contains("kept"));
        assert!(!context.passes.knows("monitoring", "gone"));
    }

    #[tokio::test]
    async fn the_series_of_a_resource_that_was_created_again_stay() {
        let context = context();
        let owner = |uid: &str| Owner {
            name: "nodes".to_owned(),
            namespace: "monitoring".to_owned(),
            uid: uid.to_owned(),
        };
        for owner in [owner("old"), owner("new")] {
            context.passes.begin(&owner).end(None);
            context.metrics.begun(&owner, context.clock.now());
        }
        context.forget(|owner| owner.uid == "old");
        assert!(context.metrics.text().contains("nodes"));
        context.forget(|owner| owner.uid == "new");
        assert!(!context.metrics.text().contains("nodes"));
    }
}
