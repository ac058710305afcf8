//! Whether what a watch has shown is all there is. Pure.

use std::time::{Duration, Instant};

/// For how long a watch that failed is not relied on. A watch that keeps failing fails again sooner.
const DISTRUST: Duration = Duration::from_secs(30);

/// Whether what a watch has shown is all there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchHealth {
    /// Whether all objects were listed since the watch last began.
    pub is_listed: bool,
    /// When it last failed.
    pub failed: Option<Instant>,
}

impl WatchHealth {
    /// Whether the watch can be relied on.
    pub fn is_current(&self, now: Instant) -> bool {
        self.is_listed && !self.is_failing(now)
    }

    /// Whether it failed a moment ago.
    pub fn is_failing(&self, now: Instant) -> bool {
        self.failed
            .is_some_and(|failed| now.saturating_duration_since(failed) < DISTRUST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_fails_is_not_relied_on_for_a_while() {
        let now = Instant::now();
        let mut health = WatchHealth::default();
        assert!(!health.is_current(now), "nothing was listed");
        health.is_listed = true;
        assert!(health.is_current(now));
        health.failed = Some(now);
        assert!(!health.is_current(now));
        assert!(health.is_current(now + DISTRUST));
    }
}
