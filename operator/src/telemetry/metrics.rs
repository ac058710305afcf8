//! What the operator tells of itself at `/metrics`.

use std::sync::{Mutex, PoisonError, atomic::AtomicU64};

use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    api::{CertificateStatus, SecureExporterStatus},
    names::Owner,
    report::{conditions::ROTATION_BLOCKED, seen::Seen},
    rotation::evidence::Exporter,
};

/// What was seen of an exporter: it serves the published certificate, serves another one, or gave no answer.
const STATES: [&str; 3] = ["verified", "outdated", "unreachable"];
/// What rotates by stages.
const SUBJECTS: [&str; 2] = ["authority", "password"];

/// The metrics, and the text in which they are served.
pub struct Metrics {
    registry: Mutex<Registry>,
    passes: Family<OutcomeLabels, Counter>,
    duration: Histogram,
    certificate_end: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    certificate_renewal: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    authority_end: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    success: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    exporters: Family<ExporterLabels, Gauge>,
    rotation: Family<RotationLabels, Gauge<f64, AtomicU64>>,
    blocked: Family<ResourceLabels, Gauge>,
    writes: Family<KindLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExporterLabels {
    namespace: String,
    name: String,
    state: &'static str,
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
            "Passes over a SecureExporter by outcome (a category, never an error's text)",
            passes.clone(),
        );
        // From one round trip to an API server that is about to time out.
        let duration = Histogram::new([0.01, 0.05, 0.25, 1.0, 5.0, 30.0]);
        registry.register(
            "reconcile_duration_seconds",
            "How long a pass took, in seconds",
            duration.clone(),
        );
        let certificate_end = Family::default();
        registry.register(
            "certificate_not_after_timestamp_seconds",
            "When the published certificate ends (of the served one and the client's, the earlier), in seconds since 1970; alert when it is less than two weeks away",
            certificate_end.clone(),
        );
        let certificate_renewal = Family::default();
        registry.register(
            "certificate_renewal_timestamp_seconds",
            "When the published certificate is to be renewed, in seconds since 1970",
            certificate_renewal.clone(),
        );
        let authority_end = Family::default();
        registry.register(
            "authority_not_after_timestamp_seconds",
            "When the certificate authority that signs ends, in seconds since 1970",
            authority_end.clone(),
        );
        let success = Family::default();
        registry.register(
            "last_success_timestamp_seconds",
            "When a pass over the resource last carried out all that it asks for, in seconds since 1970; until then, when it was first tried",
            success.clone(),
        );
        let exporters = Family::default();
        registry.register(
            "exporters",
            "Exporters by what was seen when they were asked last: verified (serves the published certificate), outdated (serves another one), unreachable",
            exporters.clone(),
        );
        let rotation = Family::default();
        registry.register(
            "rotation_stage_since_timestamp_seconds",
            "Since when the stage of a rotation that is under way lasts, in seconds since 1970; 0 between rotations",
            rotation.clone(),
        );
        let blocked = Family::default();
        registry.register(
            "rotation_blocked",
            "1 where a rotation is held up: see the condition RotationBlocked",
            blocked.clone(),
        );
        let writes = Family::default();
        registry.register(
            "writes",
            "Objects created or changed, by kind; a steady system writes nothing",
            writes.clone(),
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
            rotation,
            blocked,
            writes,
        }
    }
}

impl Metrics {
    /// Counts a pass.
    pub fn passed(&self, outcome: &'static str, seconds: f64) {
        self.passes.get_or_create(&OutcomeLabels { outcome }).inc();
        self.duration.observe(seconds);
    }

    /// Counts a write.
    pub fn wrote(&self, kind: &'static str) {
        self.writes.get_or_create(&KindLabels { kind }).inc();
    }

    /// Notes when the certificates end that are served now: before anything that may fail, so that an alert has its series.
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

    /// Notes that a pass begins. Until one succeeds, the first counts as the last success, so that a resource of which no
    /// pass ever succeeded is alerted on as well.
    pub fn begun(&self, owner: &Owner, now: Timestamp) {
        let labels = ResourceLabels::of(&owner.namespace, &owner.name);
        if self.success.get(&labels).is_none() {
            self.set(&self.success, owner, now);
        }
    }

    /// Notes what a pass saw.
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
        self.note_exporters(owner, seen.exporters, status);
        let state = seen.served.map(|served| served.state);
        let begun = [
            state.and_then(|state| Some(state.authority_progress?.since)),
            state.and_then(|state| Some(state.password_progress?.since)),
        ];
        for (subject, since) in SUBJECTS.into_iter().zip(begun) {
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

    /// Forgets a resource that is gone: its times would grow old, and be alerted on, until the operator's end.
    pub fn forget(&self, namespace: &str, name: &str) {
        let resource = ResourceLabels::of(namespace, name);
        for times in self.times() {
            times.remove(&resource);
        }
        self.blocked.remove(&resource);
        for state in STATES {
            self.exporters
                .remove(&ExporterLabels::of(namespace, name, state));
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

    fn note_exporters(&self, owner: &Owner, exporters: &[Exporter], status: &SecureExporterStatus) {
        let verified = status.nodes.as_ref().map_or(0, |nodes| nodes.verified);
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let answered = exporters.iter().filter(|it| it.answer.is_some()).count();
        let numbers = [
            i64::from(verified),
            count(answered) - i64::from(verified),
            count(exporters.len() - answered),
        ];
        for (state, number) in STATES.into_iter().zip(numbers) {
            self.exporters
                .get_or_create(&ExporterLabels::of(&owner.namespace, &owner.name, state))
                .set(number);
        }
    }

    /// The exposition.
    pub fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
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

impl ExporterLabels {
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
mod tests {
    use super::*;

    #[test]
    fn a_resource_that_is_gone_leaves_no_series() {
        let metrics = Metrics::default();
        for (namespace, name) in [("one", "gone"), ("one", "kept"), ("two", "gone")] {
            let resource = ResourceLabels::of(namespace, name);
            for times in metrics.times() {
                times.get_or_create(&resource).set(1.0);
            }
            metrics.blocked.get_or_create(&resource).set(1);
            for state in STATES {
                let labels = ExporterLabels::of(namespace, name, state);
                metrics.exporters.get_or_create(&labels).set(1);
            }
            for subject in SUBJECTS {
                let labels = RotationLabels::of(namespace, name, subject);
                metrics.rotation.get_or_create(&labels).set(1.0);
            }
        }
        let series = |namespace: &str, name: &str| {
            let labels = format!("namespace=\"{namespace}\",name=\"{name}\"");
            metrics.text().matches(&labels).count()
        };
        let each = series("one", "kept");
        assert_eq!(each, 10);
        metrics.forget("one", "gone");
        assert_eq!(series("one", "gone"), 0);
        assert_eq!((series("one", "kept"), series("two", "gone")), (each, each));
    }
}
