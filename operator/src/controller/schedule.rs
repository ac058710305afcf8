//! When the next pass over a resource is due.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    controller::context::Context,
    names::Owner,
    report::problem::Problem,
    rotation::{decide::awaits_exporters, situation::Situation, state::State, step::Step},
    supplied::certificate::Supply,
};

/// However quiet it is, each resource is looked at this often: a clock may have jumped, an event may have been lost.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How soon to read and decide again where another writer was faster.
pub(crate) const AFTER_A_CONFLICT: Duration = Duration::from_millis(200);

/// How soon what was just written is read back.
pub(crate) const AFTER_A_STEP: Duration = Duration::from_secs(1);

/// How often the objects of another issuer and the Secrets of the user's own are read. They carry none of our labels, so no
/// watch tells of a change: to watch them, the operator would have to keep every Secret of the namespace in memory.
pub(crate) const FOREIGN_INTERVAL: Duration = Duration::from_secs(60);

/// How soon to try again what could not be carried out; `None` where only a change can help, which wakes a pass itself.
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
        return None;
    }
    let limits = failures.map(|problem| match problem {
        Problem::IssuerNotReady(_) => context.timers.probe_interval.unsigned_abs(),
        Problem::NoPassword(_) => FOREIGN_INTERVAL,
        problem if problem.is_conflict() => AFTER_A_CONFLICT,
        _ => Duration::MAX,
    });
    let longest = limits.max().unwrap_or(Duration::MAX);
    Some(longest.min(context.backoff.failed(&owner.uid)))
}

/// After a step the next look confirms that it was published; otherwise the next one is due when time or exporters may
/// bring something.
pub(crate) fn pause(
    steps: &[Step],
    deadline: Timestamp,
    state: &State,
    situation: &Situation<'_>,
) -> Duration {
    if !steps.is_empty() {
        return AFTER_A_STEP;
    }
    let is_managed = *situation.supply == Supply::Managed;
    let longest = if is_managed && !situation.spec.names_own_secrets() {
        LONGEST_PAUSE
    } else {
        FOREIGN_INTERVAL
    };
    until(deadline, situation.now)
        .min(sample_age(state, situation))
        .min(longest)
}

/// How old answers may be.
pub(crate) fn sample_age(state: &State, situation: &Situation<'_>) -> Duration {
    let timers = situation.timers;
    let age = if awaits_exporters(state, situation) {
        timers.probe_interval
    } else {
        timers.sample_interval
    };
    age.unsigned_abs()
}

pub(crate) fn until(time: Timestamp, now: Timestamp) -> Duration {
    let left = time.duration_since(now).as_secs().max(1);
    Duration::from_secs(left.unsigned_abs())
}
