//! Which repairs were tried. A field that comes back at once is reported and not removed again and again, because each removal
//! from a pod template restarts every pod.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

/// How often the same fields of an object are removed within [`WINDOW`].
const MAX_REPAIRS: usize = 5;

/// After this time a repair that did not last is tried again.
const WINDOW: Duration = Duration::from_secs(600);

/// The repairs of the last ten minutes.
#[derive(Debug, Default)]
pub struct Repairs(Mutex<HashMap<Target, Vec<Repair>>>);

/// The uid of an object, and the paths that are repaired.
type Target = (Option<String>, Vec<String>);

/// A repair that was tried.
#[derive(Debug)]
struct Repair {
    version: Option<String>,
    at: Instant,
}

impl Repairs {
    /// Notes that these fields of the object are about to be repaired. Returns false if they must not be: this very version
    /// was repaired already, without effect, or the same fields came back too often.
    pub fn begin(&self, object: &ObjectMeta, fields: &[String], now: Instant) -> bool {
        let mut repairs = self.0.lock();
        repairs.retain(|_, tried| {
            tried.retain(|it| now.duration_since(it.at) < WINDOW);
            !tried.is_empty()
        });
        let target = (object.uid.clone(), fields.to_owned());
        let tried = repairs.entry(target).or_default();
        let version = &object.resource_version;
        if tried.len() >= MAX_REPAIRS || tried.iter().any(|it| it.version == *version) {
            return false;
        }
        tried.push(Repair {
            version: version.clone(),
            at: now,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, version: usize) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        }
    }

    fn fields(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    #[test]
    fn a_version_is_repaired_once() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let ports = fields("spec.ports");
        assert!(repairs.begin(&object("a", 1), &ports, now));
        assert!(!repairs.begin(&object("a", 1), &ports, now));
        assert!(
            repairs.begin(&object("b", 1), &ports, now),
            "another object"
        );
        assert!(
            repairs.begin(&object("a", 2), &ports, now),
            "another version"
        );
        assert!(
            repairs.begin(&object("a", 1), &ports, now + WINDOW),
            "later"
        );
    }

    #[test]
    fn fields_that_keep_coming_back_are_left_for_a_while() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let (pids, ipc) = (fields("hostPID"), fields("hostIPC"));
        for version in 0..MAX_REPAIRS {
            assert!(repairs.begin(&object("a", version), &pids, now));
        }
        let next = object("a", MAX_REPAIRS);
        assert!(!repairs.begin(&next, &pids, now));
        assert!(repairs.begin(&next, &ipc, now), "other fields");
        assert!(repairs.begin(&next, &pids, now + WINDOW), "later");
    }
}
