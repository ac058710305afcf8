//! The operator's own metrics at `/metrics`.

use std::{borrow::Cow, sync::atomic::AtomicU64};

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::{
    api::{CertificateStatus, SecureExporterStatus},
    names::Owner,
    report::{
        conditions::{self, ROTATION_BLOCKED},
        exporters::Census,
        seen::Seen,
    },
};

/// States of an exporter.
const STATES: [&str; 4] = ["verified", "outdated", "refused", "unreachable"];
/// States of a node that should run an exporter.
const NODE_STATES: [&str; 3] = ["desired", "ready", "updated"];
/// Values of a condition.
const CONDITION_STATUSES: [&str; 3] = ["True", "False", "Unknown"];
/// What is rotated in stages.
const SUBJECTS: [&str; 2] = ["authority", "password"];

/// The operator's metrics and their registry.
pub struct Metrics {
    registry: Mutex<Registry>,
    passes: Family<OutcomeLabels, Counter>,
    duration: Histogram,
    certificate_end: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    certificate_renewal: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    authority_end: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    success: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    exporters: Family<StateLabels, Gauge>,
    nodes: Family<StateLabels, Gauge>,
    conditions: Family<ConditionLabels, Gauge>,
    rotation: Family<RotationLabels, Gauge<f64, AtomicU64>>,
    blocked: Family<ResourceLabels, Gauge>,
    writes: Family<KindLabels, Counter>,
    leases: Family<NamespaceLabels, Gauge>,
    watched: Family<NamespaceLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabels {
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    namespace: String,
    name: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    namespace: String,
    name: String,
    r#type: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RotationLabels {
    namespace: String,
    name: String,
    subject: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    namespace: String,
    name: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("secure_exporter_operator");
        let passes = Family::default();
        registry.register(
            "reconciles",
            "Reconciliations of SecureExporters by outcome: Success, or the reason of the first problem",
            passes.clone(),
        );
        // From one round trip to an API server that almost times out.
        let duration = Histogram::new([0.01, 0.05, 0.25, 1.0, 5.0, 30.0]);
        registry.register(
            "reconcile_duration_seconds",
            "Duration of a reconciliation in seconds",
            duration.clone(),
        );
        let certificate_end = Family::default();
        registry.register(
            "certificate_not_after_timestamp_seconds",
            "Expiry of the published serving or client certificate, whichever is earlier, in seconds since 1970",
            certificate_end.clone(),
        );
        let certificate_renewal = Family::default();
        registry.register(
            "certificate_renewal_timestamp_seconds",
            "Time at which the published serving or client certificate will be renewed, whichever is earlier, in seconds since 1970",
            certificate_renewal.clone(),
        );
        let authority_end = Family::default();
        registry.register(
            "authority_not_after_timestamp_seconds",
            "Expiry of the CA that signs the certificates, in seconds since 1970",
            authority_end.clone(),
        );
        let success = Family::default();
        registry.register(
            "last_success_timestamp_seconds",
            "Time of the last successful reconciliation of the resource, in seconds since 1970; before the first one, the time of the first attempt",
            success.clone(),
        );
        let exporters = Family::default();
        registry.register(
            "exporters",
            "Number of exporters by their state at the operator's last check: verified (serves the published certificate and accepts the published credentials), outdated (serves another certificate), refused (refuses the credentials) or unreachable",
            exporters.clone(),
        );
        let nodes = Family::default();
        registry.register(
            "nodes",
            "Number of nodes by state: desired (should run an exporter), ready (have a ready one) and updated (have one of the current version)",
            nodes.clone(),
        );
        let conditions = Family::default();
        registry.register(
            "condition",
            "Conditions of the resource: 1 for the current status of each type, 0 for the other two",
            conditions.clone(),
        );
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "Version of the operator", Info::new(version));
        let rotation = Family::default();
        registry.register(
            "rotation_stage_since_timestamp_seconds",
            "Start of the current stage of a rotation, in seconds since 1970; 0 if no rotation is in progress",
            rotation.clone(),
        );
        let blocked = Family::default();
        registry.register(
            "rotation_blocked",
            "1 if a rotation is blocked or paused, as the condition RotationBlocked explains, otherwise 0",
            blocked.clone(),
        );
        let writes = Family::default();
        registry.register(
            "writes",
            "Objects that the operator created or changed, by kind",
            writes.clone(),
        );
        let leases = Family::default();
        registry.register(
            "lease_held",
            "1 if this release holds the Lease of the namespace and serves it, 0 if another release does",
            leases.clone(),
        );
        let watched = Family::default();
        registry.register(
            "namespace_watched",
            "1 if the operator watches the SecureExporters of this namespace (* stands for all), 0 if the API server refuses that, for example because the namespace does not exist",
            watched.clone(),
        );
        Self {
            registry: Mutex::new(registry),
            passes,
            duration,
            certificate_end,
            certificate_renewal,
            authority_end,
            success,
            exporters,
            nodes,
            conditions,
            rotation,
            blocked,
            writes,
            leases,
            watched,
        }
    }
}

impl Metrics {
    /// Counts a reconciliation.
    pub fn passed(&self, outcome: &'static str, seconds: f64) {
        self.passes.get_or_create(&OutcomeLabels { outcome }).inc();
        self.duration.observe(seconds);
    }

    /// Counts a write.
    pub fn wrote(&self, kind: impl Into<Cow<'static, str>>) {
        let kind = kind.into();
        self.writes.get_or_create(&KindLabels { kind }).inc();
    }

    /// Records whether this release serves a namespace.
    pub fn leads(&self, namespace: &str, is_ours: bool) {
        let namespace = namespace.to_owned();
        self.leases
            .get_or_create(&NamespaceLabels { namespace })
            .set(i64::from(is_ours));
    }

    /// Removes the series of a namespace that has no resources any more.
    pub fn forget_namespace(&self, namespace: &str) {
        let namespace = namespace.to_owned();
        self.leases.remove(&NamespaceLabels { namespace });
    }

    /// Records whether a namespace can be watched.
    pub fn watches(&self, namespace: &str, is_watched: bool) {
        let namespace = namespace.to_owned();
        self.watched
            .get_or_create(&NamespaceLabels { namespace })
            .set(i64::from(is_watched));
    }

    /// Records when the current certificates expire. Called before anything that may fail, so that alerts have their series.
    pub fn certificates(
        &self,
        owner: &Owner,
        certificate: &CertificateStatus,
        client: Option<&CertificateStatus>,
    ) {
        let ours = || std::iter::once(certificate).chain(client);
        if let Some(end) = ours().map(|one| one.not_after.0).min() {
            self.set(&self.certificate_end, owner, end);
        }
        if let Some(renewal) = ours().map(|one| one.renewal_time.0).min() {
            self.set(&self.certificate_renewal, owner, renewal);
        }
    }

    /// Records the start of a pass. Until one succeeds, the first start counts as the last success, so that alerts also cover
    /// a resource that was never reconciled successfully.
    pub fn begun(&self, owner: &Owner, now: Timestamp) {
        let labels = ResourceLabels::of(&owner.namespace, &owner.name);
        if self.success.get(&labels).is_none() {
            self.set(&self.success, owner, now);
        }
    }

    /// Records a pass that found nothing changed.
    pub fn rested(&self, owner: &Owner, now: Timestamp) {
        self.set(&self.success, owner, now);
    }

    /// Records what a pass observed.
    pub fn seen(&self, seen: &Seen<'_>, status: &SecureExporterStatus, now: Timestamp) {
        let owner = seen.owner;
        if seen.problems.is_empty() {
            self.set(&self.success, owner, now);
        }
        if let Some(certificate) = &status.certificate {
            self.certificates(owner, certificate, status.client_certificate.as_ref());
        }
        if let Some(trust) = &status.trust {
            self.set(&self.authority_end, owner, trust.not_after.0);
        }
        let blocked = status
            .conditions
            .iter()
            .any(|one| one.type_ == ROTATION_BLOCKED && one.status == "True");
        self.blocked
            .get_or_create(&ResourceLabels::of(&owner.namespace, &owner.name))
            .set(i64::from(blocked));
        self.note_exporters(owner, &Census::of(seen, status.certificate.as_ref()));
        self.note_nodes(owner, status);
        self.note_conditions(owner, status);
        let state = seen.served.map(|served| served.state);
        let begun = [
            state.and_then(|state| Some(state.authority_progress?.since)),
            state.and_then(|state| Some(state.password_progress?.since)),
        ];
        for (subject, since) in SUBJECTS.into_iter().zip(begun).filter(|_| state.is_some()) {
            self.rotation
                .get_or_create(&RotationLabels::of(&owner.namespace, &owner.name, subject))
                .set(since.map_or(0.0, |time| time.as_second() as f64));
        }
    }

    fn set(
        &self,
        family: &Family<ResourceLabels, Gauge<f64, AtomicU64>>,
        owner: &Owner,
        time: Timestamp,
    ) {
        family
            .get_or_create(&ResourceLabels::of(&owner.namespace, &owner.name))
            .set(time.as_second() as f64);
    }

    /// Removes the series of a deleted resource. Otherwise its old timestamps would trigger alerts until the operator
    /// restarts.
    pub fn forget(&self, namespace: &str, name: &str) {
        let resource = ResourceLabels::of(namespace, name);
        for times in self.times() {
            times.remove(&resource);
        }
        self.blocked.remove(&resource);
        for state in STATES {
            self.exporters
                .remove(&StateLabels::of(namespace, name, state));
        }
        for state in NODE_STATES {
            self.nodes.remove(&StateLabels::of(namespace, name, state));
        }
        for type_ in conditions::ALL {
            self.set_condition(namespace, name, type_, None);
        }
        for subject in SUBJECTS {
            self.rotation
                .remove(&RotationLabels::of(namespace, name, subject));
        }
    }

    fn times(&self) -> [&Family<ResourceLabels, Gauge<f64, AtomicU64>>; 4] {
        [
            &self.certificate_end,
            &self.certificate_renewal,
            &self.authority_end,
            &self.success,
        ]
    }

    fn note_exporters(&self, owner: &Owner, census: &Census<'_>) {
        let counts = match census {
            Census::Taken(counted) => Some([
                counted.verified,
                counted.outdated.len(),
                counted.refusing.len(),
                counted.unreachable.len(),
            ]),
            Census::AsBefore => return,
            // An earlier number would fire an alert, or keep it from firing.
            Census::NotKnown => None,
        };
        for (index, state) in STATES.into_iter().enumerate() {
            let labels = StateLabels::of(&owner.namespace, &owner.name, state);
            match counts.as_ref().and_then(|counts| counts.get(index)) {
                Some(count) => {
                    let count = i64::try_from(*count).unwrap_or(i64::MAX);
                    self.exporters.get_or_create(&labels).set(count);
                }
                None => drop(self.exporters.remove(&labels)),
            }
        }
    }

    fn note_nodes(&self, owner: &Owner, status: &SecureExporterStatus) {
        let nodes = status.nodes.as_ref();
        let counts = nodes.map(|nodes| [nodes.desired, nodes.ready, nodes.updated]);
        for (index, state) in NODE_STATES.into_iter().enumerate() {
            let labels = StateLabels::of(&owner.namespace, &owner.name, state);
            match counts.as_ref().and_then(|counts| counts.get(index)) {
                Some(count) => {
                    let count = i64::from(*count);
                    self.nodes.get_or_create(&labels).set(count);
                }
                None => drop(self.nodes.remove(&labels)),
            }
        }
    }

    fn note_conditions(&self, owner: &Owner, status: &SecureExporterStatus) {
        for type_ in conditions::ALL {
            let mut present = status.conditions.iter();
            let present = present.find(|condition| condition.type_ == type_);
            let present = present.map(|condition| condition.status.as_str());
            self.set_condition(&owner.namespace, &owner.name, type_, present);
        }
    }

    fn set_condition(
        &self,
        namespace: &str,
        name: &str,
        r#type: &'static str,
        present: Option<&str>,
    ) {
        for status in CONDITION_STATUSES {
            let labels = ConditionLabels {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                r#type,
                status,
            };
            match present {
                Some(present) => {
                    let is_it = i64::from(present == status);
                    self.conditions.get_or_create(&labels).set(is_it);
                }
                None => drop(self.conditions.remove(&labels)),
            }
        }
    }

    /// Returns the exposition.
    pub fn text(&self) -> String {
        let registry = self.registry.lock();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

impl ResourceLabels {
    fn of(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl StateLabels {
    fn of(namespace: &str, name: &str, state: &'static str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            state,
        }
    }
}

impl RotationLabels {
    fn of(namespace: &str, name: &str, subject: &'static str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subject,
        }
    }
}

#[cfg(test)]
mod tests;
