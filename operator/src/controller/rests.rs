//! The resources for which nothing is left to do until something happens. Pure.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::Resource;
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{api::SecureExporter, observe::versions::ReadObject};

/// After this time everything is read again all the same.
const LONGEST_REST: Duration = Duration::from_secs(24 * 60 * 60);

/// What must still be so for a resource to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// Hash of the parts of the resource that the pass depended on.
    resource: [u8; 32],
    /// How often something had happened before the pass read anything.
    pub(crate) news: u64,
    /// How often the clock had jumped.
    pub(crate) clock_jumps: u64,
    /// Since when this release serves the namespace.
    pub(crate) ours_since: Timestamp,
    /// Whether the cluster has PodMonitors.
    pub(crate) pod_monitors: Option<bool>,
}

impl Conditions {
    pub(crate) fn new(
        resource: &SecureExporter,
        news: u64,
        clock_jumps: u64,
        ours_since: Timestamp,
        pod_monitors: Option<bool>,
    ) -> Self {
        let meta = resource.meta();
        let parts = json!([meta.generation, meta.annotations, resource.status]);
        Self {
            resource: Sha256::digest(parts.to_string()).into(),
            news,
            clock_jumps,
            ours_since,
            pod_monitors,
        }
    }
}

/// A resource at rest.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    pub(crate) conditions: Conditions,
    /// The generated objects as the pass read them.
    pub(crate) objects: Vec<ReadObject>,
    /// When something is due by time alone.
    pub(crate) until: Timestamp,
    pub(crate) begun: Instant,
}

impl Rest {
    /// Whether it is not over yet, as far as that depends on the resource and the time.
    pub(crate) fn holds(&self, conditions: &Conditions, now: Timestamp, steady: Instant) -> bool {
        let rested = steady.saturating_duration_since(self.begun);
        self.conditions == *conditions && now < self.until && rested < LONGEST_REST
    }
}

/// The resources at rest, by uid.
#[derive(Debug, Default)]
pub struct Rests(Mutex<HashMap<String, Rest>>);

impl Rests {
    pub(crate) fn begin(&self, uid: &str, rest: Rest) {
        self.0.lock().insert(uid.to_owned(), rest);
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Rest> {
        self.0.lock().get(uid).cloned()
    }

    pub(crate) fn end(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(change: &str, value: serde_json::Value) -> SecureExporter {
        let mut resource = json!({"apiVersion": "secureexporter.dev/v1alpha1", "kind": "SecureExporter",
            "metadata": {"name": "nodes", "generation": 1, "resourceVersion": "1"}, "spec": {}});
        if let Some((parent, field)) = change.rsplit_once('/') {
            resource.pointer_mut(parent).unwrap()[field] = value;
        }
        serde_json::from_value(resource).unwrap()
    }

    #[test]
    fn whatever_happens_ends_it() {
        let time = |text: &str| -> Timestamp { text.parse().unwrap() };
        let (now, until) = (time("2027-01-01T00:00:00Z"), time("2027-01-02T12:00:00Z"));
        let steady = Instant::now();
        let unchanged = resource("", json!(null));
        let conditions = |resource: &SecureExporter| Conditions::new(resource, 3, 0, now, None);
        let rest = Rest {
            conditions: conditions(&unchanged),
            objects: Vec::new(),
            until,
            begun: steady,
        };
        let holds = |conditions: &Conditions| rest.holds(conditions, now, steady);
        assert!(holds(&conditions(&unchanged)));
        // A write of something that the pass does not depend on.
        assert!(holds(&conditions(&resource(
            "/metadata/resourceVersion",
            json!("2")
        ))));
        let changes = [
            resource("/metadata/generation", json!(2)),
            resource(
                "/metadata/annotations",
                json!({"secureexporter.dev/rotate": "ca"}),
            ),
            resource("/status", json!({"observedGeneration": 1})),
        ];
        for changed in changes {
            assert!(!holds(&conditions(&changed)), "{changed:?}");
        }
        assert!(
            !holds(&Conditions::new(&unchanged, 4, 0, now, None)),
            "something happened"
        );
        assert!(
            !holds(&Conditions::new(&unchanged, 3, 1, now, None)),
            "the clock jumped"
        );
        assert!(
            !holds(&Conditions::new(&unchanged, 3, 0, until, None)),
            "it was served by others"
        );
        assert!(
            !holds(&Conditions::new(&unchanged, 3, 0, now, Some(true))),
            "PodMonitors were installed"
        );
        let same = conditions(&unchanged);
        assert!(!rest.holds(&same, until, steady), "something is due");
        assert!(
            !rest.holds(&same, now, steady + LONGEST_REST),
            "it is too long ago"
        );
    }
}
