//! When something must have ended.

use std::time::{Duration, Instant};

/// A moment after which nobody waits any more. One is set for each scrape and handed down to whatever may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment that comes after this time.
    pub fn after(time: Duration) -> Self {
        let now = Instant::now();
        // A time that no clock can show is none.
        Self(now.checked_add(time).unwrap_or(now))
    }

    /// The time until then; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }
}
