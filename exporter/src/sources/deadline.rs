//! The time by which something must have ended.

use std::time::{Duration, Instant};

/// A time after which nothing waits any longer. Each scrape has one, which is passed on to everything that may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline after this duration from now.
    pub fn after(time: Duration) -> Self {
        let now = Instant::now();
        // A duration that the clock cannot represent means no deadline.
        Self(now.checked_add(time).unwrap_or(now))
    }

    /// The remaining time; zero if the deadline has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether the deadline has passed.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }
}
