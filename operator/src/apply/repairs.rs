//! Which repairs were tried. A field that comes back at once is reported and not restored again and again, because each change
//! of a pod template restarts every pod.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

use crate::apply::restorations::Restorations;

/// The longest pause between two repairs of the same fields of an object.
const MAX_PAUSE: Duration = Duration::from_secs(600);

/// The pauses between repairs of the same fields: they double.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_factor(2.0)
    .with_min_delay(Duration::from_secs(10))
    .with_max_delay(MAX_PAUSE)
    .without_max_times();

/// Fields that stayed away for so long after a repair are repaired at once when they come back.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * MAX_PAUSE.as_secs());

/// The repairs that were tried recently.
#[derive(Debug, Default)]
pub struct Repairs {
    tried: Mutex<HashMap<Target, Repair>>,
    /// What was restored.
    pub restorations: Restorations,
}

/// The uid of an object, and the paths that are repaired.
type Target = (Option<String>, Vec<String>);

/// The last repair of a target.
#[derive(Debug)]
struct Repair {
    /// The version that was repaired.
    version: Option<String>,
    at: Instant,
    /// How long until the next one.
    pause: Duration,
    pauses: ExponentialBackoff,
}

impl Repair {
    fn new(version: Option<String>, at: Instant, mut pauses: ExponentialBackoff) -> Self {
        Self {
            version,
            at,
            pause: pauses.next().unwrap_or(MAX_PAUSE),
            pauses,
        }
    }
}

impl Repairs {
    /// Notes that these fields of the object are about to be repaired. Returns false if they must not be yet: they came back
    /// too soon after the last repair, or this very version was repaired already, without effect.
    pub fn begin(&self, object: &ObjectMeta, fields: &[String], now: Instant) -> bool {
        let mut repairs = self.tried.lock();
        repairs.retain(|_, last| now.duration_since(last.at) < FORGOTTEN_AFTER);
        let target = (object.uid.clone(), fields.to_owned());
        let version = &object.resource_version;
        let pauses = match repairs.remove(&target) {
            None => PAUSES.build(),
            Some(last) => {
                let pause = if last.version == *version {
                    MAX_PAUSE
                } else {
                    last.pause
                };
                if now.duration_since(last.at) < pause {
                    repairs.insert(target, last);
                    return false;
                }
                last.pauses
            }
        };
        repairs.insert(target, Repair::new(version.clone(), now, pauses));
        true
    }

    /// Notes that the repair was not made, because the object had changed again, or that nothing had to be restored. The next
    /// one need not wait.
    pub fn overtaken(&self, object: &ObjectMeta, fields: &[String]) {
        let target = (object.uid.clone(), fields.to_owned());
        if let Some(last) = self.tried.lock().get_mut(&target) {
            (last.version, last.pause) = (None, Duration::ZERO);
        }
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
            repairs.begin(&object("a", 1), &ports, now + MAX_PAUSE),
            "later"
        );
    }

    #[test]
    fn a_repair_that_was_not_made_delays_nothing() {
        let (repairs, now) = (Repairs::default(), Instant::now());
        let ports = fields("spec.ports");
        assert!(repairs.begin(&object("a", 1), &ports, now));
        repairs.overtaken(&object("a", 1), &ports);
        assert!(repairs.begin(&object("a", 2), &ports, now));
        assert!(!repairs.begin(&object("a", 3), &ports, now));
    }

    #[test]
    fn fields_that_keep_coming_back_are_left_for_longer_each_time() {
        let (repairs, start) = (Repairs::default(), Instant::now());
        let (pids, ipc) = (fields("hostPID"), fields("hostIPC"));
        let mut version = 0;
        // They come back every second, in a new version.
        let repaired: Vec<u64> = (0..3600)
            .filter(|second| {
                version += 1;
                let now = start + Duration::from_secs(*second);
                repairs.begin(&object("a", version), &pids, now)
            })
            .collect();
        let growing = [0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030];
        assert_eq!(repaired, growing);

        let next = object("a", version + 1);
        let last = start + Duration::from_secs(3030);
        assert!(!repairs.begin(&next, &pids, last + MAX_PAUSE / 2));
        assert!(repairs.begin(&next, &ipc, last), "other fields");
        // They stayed away for a while, so the pauses begin again.
        let later = last + FORGOTTEN_AFTER;
        assert!(repairs.begin(&next, &pids, later));
        let soon = later + Duration::from_secs(10);
        assert!(repairs.begin(&object("a", version + 2), &pids, soon));
    }
}
