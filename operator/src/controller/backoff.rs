//! How long to wait before the next try: for one object after a failure, and for the watches after theirs.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kube::runtime::utils::Backoff;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(120);

/// Failures in a row, per object. `Controller` has no such count of its own.
#[derive(Debug, Default)]
pub struct PerObject {
    failures: Mutex<HashMap<String, u32>>,
}

impl PerObject {
    /// Counts one more failure of this object and says how long to wait: 1 s, 2 s, 4 s … up to two minutes.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        let wait = FIRST
            .saturating_mul(2_u32.saturating_pow(*count))
            .min(LONGEST);
        *count = count.saturating_add(1);
        wait
    }

    /// Forgets the failures of an object: it succeeded, or is gone.
    pub fn succeeded(&self, uid: &str) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }
}

/// The pause of all watches of a controller while one of them fails. kube pauses them together, so a long one would let
/// a single forbidden watch hold up everything; and one longer than a connect may take would cut connects off.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    failures: u32,
}

impl Iterator for Watches {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        Some(wait.min(Duration::from_secs(5)))
    }
}

impl Backoff for Watches {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_limit_and_begin_anew_after_success() {
        let backoff = PerObject::default();
        let waits: Vec<u64> = (0..10).map(|_| backoff.failed("a").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
        assert_eq!(
            backoff.failed("b").as_secs(),
            1,
            "objects do not share failures"
        );
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a").as_secs(), 1);
    }

    #[test]
    fn no_watch_is_held_up_for_longer_than_five_seconds() {
        let mut backoff = Watches::default();
        assert!(
            backoff
                .by_ref()
                .take(40)
                .all(|wait| wait <= Duration::from_secs(5))
        );
        backoff.reset();
        assert_eq!(backoff.next(), Some(Duration::from_millis(500)));
    }
}
