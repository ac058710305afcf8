//! Keeps messages about a lasting failure from filling the log and the events.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

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

/// The problems of each resource, as they were last reported.
#[derive(Debug, Default)]
pub struct Reported {
    by_uid: Mutex<HashMap<String, Vec<Said>>>,
}

/// A reason and a text.
pub type Said = (&'static str, String);

/// How the problems of a resource changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The new ones.
    pub new: Vec<Said>,
    /// Whether there were problems, and there are none any more.
    pub is_over: bool,
}

impl Reported {
    /// Returns how the problems of a resource changed. Unless `is_all`, there may be other problems, which were not looked for,
    /// so that the earlier ones are still known.
    pub fn change(&self, uid: &str, current: Vec<Said>, is_all: bool) -> Change {
        let mut by_uid = self.by_uid.lock();
        let before = by_uid.remove(uid).unwrap_or_default();
        let is_new = |one: &&Said| !before.contains(*one);
        let new: Vec<Said> = current.iter().filter(is_new).cloned().collect();
        let had_some = !before.is_empty();
        let mut known = current;
        if !is_all {
            let kept = before.into_iter().filter(|one| !known.contains(one));
            let kept: Vec<Said> = kept.collect();
            known.extend(kept);
        }
        let is_over = had_some && known.is_empty();
        if !known.is_empty() {
            by_uid.insert(uid.to_owned(), known);
        }
        Change { new, is_over }
    }

    /// Forgets a resource.
    pub fn forget(&self, uid: &str) {
        self.by_uid.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_new_once_and_when_it_changes() {
        let reported = Reported::default();
        let said = |text: &str| vec![("IssuerNotReady", text.to_owned())];
        let change = |current: &[Said], is_all| reported.change("a", current.to_vec(), is_all);
        assert_eq!(change(&said("no issuer"), false).new, said("no issuer"));
        for _ in 0..3 {
            assert_eq!(change(&said("no issuer"), true), Change::default());
        }
        assert_eq!(change(&said("denied"), true).new, said("denied"));
        assert_eq!(
            reported.change("b", said("denied"), true).new,
            said("denied"),
            "another resource"
        );
        assert!(!change(&[], false).is_over, "it was not looked for");
        let over = Change {
            new: Vec::new(),
            is_over: true,
        };
        assert_eq!(change(&[], true), over);
        assert_eq!(change(&[], true), Change::default());
        assert_eq!(change(&said("denied"), true).new, said("denied"));
        reported.forget("a");
        assert_eq!(change(&said("denied"), true).new, said("denied"));
    }

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
