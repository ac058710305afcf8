//! What the operator tells of itself at `/metrics`.

use std::sync::{Mutex, PoisonError, atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::names::Owner;

/// The metrics, and the text in which they are served.
pub struct Metrics {
    registry: Mutex<Registry>,
    passes: Family<OutcomeLabels, Counter>,
    duration: Histogram,
    certificate_end: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
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
            "When the published certificate ends, in seconds since 1970; alert when it is less than two weeks away",
            certificate_end.clone(),
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

    /// Notes when the published certificate of a resource ends, in seconds since 1970.
    pub fn certificate_ends(&self, owner: &Owner, seconds: f64) {
        self.certificate_end
            .get_or_create(&ResourceLabels::of(&owner.namespace, &owner.name))
            .set(seconds);
    }

    /// Forgets a resource that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.certificate_end
            .remove(&ResourceLabels::of(namespace, name));
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
