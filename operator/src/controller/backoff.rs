//! How long to wait before a retry: of an object, and of the watches.

use std::{collections::HashMap, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use kube::runtime::watcher;
use parking_lot::Mutex;

/// Short enough that a resource is reconciled within a minute after an outage.
const LONGEST: Duration = Duration::from_secs(50);
const OBJECT: ExponentialBuilder = jittered(Duration::from_secs(1), LONGEST);
const WATCHES: ExponentialBuilder = jittered(Duration::from_millis(500), Duration::from_secs(5));

/// Waits that double. The jitter adds up to 100 %, so the doubling ends at half of the longest wait.
const fn jittered(first: Duration, longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_factor(2.0)
        .with_min_delay(first)
        .with_max_delay(Duration::from_millis(longest.as_millis() as u64 / 2))
        .without_max_times()
        .with_jitter()
}

/// The consecutive failures of each object, which `Controller` does not count.
#[derive(Debug, Default)]
pub struct PerObject {
    failures: Mutex<HashMap<String, ExponentialBackoff>>,
}

impl PerObject {
    /// Counts one more failure of this object and returns how long to wait: from 1 s up to 50 s.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut failures = self.failures.lock();
        let waits = failures
            .entry(uid.to_owned())
            .or_insert_with(|| OBJECT.build());
        waits.next().unwrap_or(LONGEST)
    }

    /// Resets the failures of an object that succeeded or was deleted.
    pub fn succeeded(&self, uid: &str) {
        self.failures.lock().remove(uid);
    }
}

/// The pause of all watches of a controller while one of them fails. kube pauses them together, so with a long pause a
/// single forbidden watch would delay everything, and a pause longer than a connection attempt would cut it off.
pub fn watches() -> watcher::ExponentialBackoff {
    WATCHES.into()
}

#[cfg(test)]
mod tests {
    use kube::runtime::utils::Backoff;

    use super::*;

    #[test]
    fn waits_double_to_a_limit_and_start_over_after_success() {
        let backoff = PerObject::default();
        for least in [1, 2, 4, 8, 16, 25, 25, 25] {
            let wait = backoff.failed("a").as_secs_f64();
            let least = f64::from(least);
            assert!((least..=2.0 * least).contains(&wait), "{wait} {least}");
        }
        let first = Duration::from_secs(1)..=Duration::from_secs(2);
        assert!(
            first.contains(&backoff.failed("b")),
            "objects do not share failures"
        );
        backoff.succeeded("a");
        assert!(first.contains(&backoff.failed("a")));
    }

    #[test]
    fn objects_that_fail_together_are_not_retried_together() {
        let backoff = PerObject::default();
        let mut waits: Vec<_> = (0..20).map(|n| backoff.failed(&n.to_string())).collect();
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 1, "{waits:?}");
    }

    #[test]
    fn no_watch_is_delayed_for_longer_than_five_seconds() {
        let mut backoff = watches();
        let waits: Vec<_> = backoff.by_ref().take(40).collect();
        assert_eq!(waits.len(), 40, "the waits have no end");
        assert!(
            waits.iter().all(|wait| *wait <= Duration::from_secs(5)),
            "{waits:?}"
        );
        backoff.reset();
        assert!(backoff.next() <= Some(Duration::from_secs(1)));
    }
}
