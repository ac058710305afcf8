//! Keeps messages about a lasting failure from filling the log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long until the same message is logged again.
const INTERVAL: Duration = Duration::from_secs(60);

/// The messages that were logged in the last minute.
#[derive(Debug, Default)]
pub struct Repeats {
    recent: Mutex<Vec<(String, Instant)>>,
}

impl Repeats {
    /// Whether to log this message: if it was not logged in the last minute.
    pub fn is_new(&self, message: &str) -> bool {
        self.is_new_at(message, Instant::now())
    }

    fn is_new_at(&self, message: &str, now: Instant) -> bool {
        let mut recent = self.recent.lock();
        recent.retain(|(_, logged)| now.saturating_duration_since(*logged) < INTERVAL);
        let is_new = recent.iter().all(|(text, _)| text != message);
        if is_new {
            recent.push((message.to_owned(), now));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_repeated_once_a_minute() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        assert!(repeats.is_new_at("a", at(0)));
        assert!(!repeats.is_new_at("a", at(59)));
        assert!(repeats.is_new_at("b", at(59)));
        assert!(repeats.is_new_at("a", at(60)));
        assert!(!repeats.is_new_at("b", at(60)));
    }
}
