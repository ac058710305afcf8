//! When the next pass over a resource is due.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    controller::context::Context, names::Owner, report::problem::Problem, rotation::timing::Timers,
};

/// Each resource is reconciled at least this often, because the clock may have jumped, or what was due may have been missed. A
/// pass over a resource at rest reads the Lease alone.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How often a resource is reconciled whose spec or image is refused: often enough for the alert on failing passes.
const SPEC_INTERVAL: Duration = Duration::from_secs(300);

/// How soon to read and decide again after a conflict with another writer.
pub(crate) const AFTER_A_CONFLICT: Duration = Duration::from_millis(200);

/// From this backoff on, which the third failure in a row reaches, a conflict is none with a faster writer: an admission
/// webhook, for example, may refuse the write with that code for ever.
const CONFLICTS_END: Duration = Duration::from_secs(4);

/// How soon what was just written is read back.
pub(crate) const AFTER_A_STEP: Duration = Duration::from_secs(1);

/// How often everything is read while a watch does not work or has not shown yet what was read, and where something is wrong
/// with the objects of other issuers or the user-supplied Secrets.
pub(crate) const UNWATCHED_INTERVAL: Duration = Duration::from_secs(60);

/// Returns how soon to retry; `None` if nothing failed.
pub(crate) fn retry_after(
    problems: &[Problem],
    owner: &Owner,
    context: &Context,
) -> Option<Duration> {
    let mut failures = problems
        .iter()
        .filter(|problem| !problem.is_of_spec())
        .peekable();
    if failures.peek().is_none() {
        context.backoff.succeeded(&owner.uid);
        return (!problems.is_empty()).then_some(SPEC_INTERVAL);
    }
    let backoff = context.backoff.failed(&owner.uid);
    let longest = failures.map(|problem| longest_retry(problem, backoff, &context.timers));
    Some(longest.max().unwrap_or(Duration::MAX).min(backoff))
}

/// How long the retry after a problem may take at most. `backoff` grows with each failure in a row.
fn longest_retry(problem: &Problem, backoff: Duration, timers: &Timers) -> Duration {
    match problem {
        Problem::IssuerNotReady(_) => timers.probe_interval.unsigned_abs(),
        Problem::NoPassword(_) => UNWATCHED_INTERVAL,
        problem if problem.is_conflict() && backoff < CONFLICTS_END => AFTER_A_CONFLICT,
        _ => Duration::MAX,
    }
}

/// Returns the pause after a pass that changed nothing: until the next deadline, or until the unwatched objects must be read
/// again. What the exporters answer causes a pass of its own.
pub(crate) fn pause(
    deadline: Timestamp,
    now: Timestamp,
    is_watched: bool,
    timers: &Timers,
) -> Duration {
    let longest = if is_watched {
        LONGEST_PAUSE
    } else {
        UNWATCHED_INTERVAL
    };
    until(deadline, now)
        .min(timers.sample_interval.unsigned_abs())
        .min(longest)
}

/// Adds up to a tenth to a pause, always the same for a resource, so that a thousand resources that were reconciled together
/// are not all due in the same second. It is never shortened: an early pass would find nothing to do.
pub(crate) fn spread(pause: Duration, uid: &str) -> Duration {
    const SHARES: u32 = 1024;
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % u64::from(SHARES)).unwrap_or(0);
    pause.saturating_add(pause / 10 * share / SHARES)
}

pub(crate) fn until(time: Timestamp, now: Timestamp) -> Duration {
    let left = time.duration_since(now).as_secs().max(1);
    Duration::from_secs(left.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::apply::error::ApplyError;

    #[test]
    fn a_conflict_is_retried_at_once_but_not_for_ever() {
        let conflict = Problem::Apply(ApplyError::Overtaken {
            kind: "Service".into(),
            name: "nodes".into(),
        });
        let timers = Timers::default();
        let retry = |backoff| longest_retry(&conflict, Duration::from_secs(backoff), &timers);
        assert_eq!(retry(1), AFTER_A_CONFLICT);
        assert_eq!(retry(3), AFTER_A_CONFLICT);
        assert_eq!(retry(4), Duration::MAX);
    }

    #[test]
    fn a_thousand_resources_are_not_due_in_the_same_second() {
        let mut due = HashMap::new();
        for number in 0..1000 {
            let uid = format!("0d9c2a52-6f5e-4f0e-9d4e-{number:012}");
            let pause = spread(LONGEST_PAUSE, &uid);
            assert_eq!(pause, spread(LONGEST_PAUSE, &uid));
            assert!((LONGEST_PAUSE..LONGEST_PAUSE * 11 / 10).contains(&pause));
            *due.entry(pause.as_secs()).or_insert(0) += 1;
        }
        assert_eq!(due.len(), 60, "{due:?}");
        assert!(due.values().all(|count| *count < 50), "{due:?}");
    }
}
