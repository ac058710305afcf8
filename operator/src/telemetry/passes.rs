//! Which passes run and which are due, for `/livez`: an operator must be restarted if it does not start passes that are due, or
//! if a pass never ends, but not if it has nothing to do or the API server is down.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::names::Owner;

/// How long a pass may take until it is cut off.
pub const PASS_DEADLINE: Duration = Duration::from_secs(60);
/// How much later than planned a pass may begin or end.
const PATIENCE: Duration = Duration::from_secs(3 * PASS_DEADLINE.as_secs());

/// The passes over all known resources.
#[derive(Debug)]
pub struct Passes {
    concurrency: usize,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    owner: Owner,
    state: PassState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassState {
    /// The next pass begins when the resource changes.
    Idle,
    /// The next pass begins at this time.
    Due(Instant),
    /// A pass began at this time.
    Running(Instant),
}

/// A pass that should have begun or ended long ago.
#[derive(Debug, PartialEq, Eq)]
pub struct Overdue {
    resource: String,
    event: &'static str,
    late: Duration,
}

impl fmt::Display for Overdue {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resource,
            event,
            late,
        } = self;
        write!(
            text,
            "the reconciliation of {resource} has not {event} for {} s",
            late.as_secs()
        )
    }
}

impl Passes {
    /// Creates the state of an operator that knows no resource. At most `concurrency` passes run at the same time.
    pub fn new(concurrency: u16) -> Self {
        Self {
            concurrency: usize::from(concurrency).max(1),
            known: Mutex::default(),
        }
    }

    /// Records that a pass should begin now, until the guard is dropped.
    pub fn wait(&self, owner: &Owner) -> TrackedPass<'_> {
        self.requested(owner, Instant::now());
        TrackedPass::new(self, owner)
    }

    /// Records that a pass runs, until the guard is dropped.
    pub fn begin(&self, owner: &Owner) -> TrackedPass<'_> {
        self.began(owner, Instant::now());
        TrackedPass::new(self, owner)
    }

    fn requested(&self, owner: &Owner, now: Instant) {
        let mut known = self.known.lock();
        let known = known.entry(owner.uid.clone()).or_insert_with(|| Known {
            owner: owner.clone(),
            state: PassState::Idle,
        });
        match known.state {
            PassState::Due(time) if time <= now => {}
            _ => known.state = PassState::Due(now),
        }
    }

    pub(super) fn began(&self, owner: &Owner, now: Instant) {
        let known = Known {
            owner: owner.clone(),
            state: PassState::Running(now),
        };
        self.known.lock().insert(owner.uid.clone(), known);
    }

    fn ended(&self, uid: &str, next: Option<Duration>, now: Instant) {
        if let Some(known) = self.known.lock().get_mut(uid) {
            let due = next.and_then(|pause| now.checked_add(pause));
            known.state = due.map_or(PassState::Idle, PassState::Due);
        }
    }

    /// Removes the resources for which `is_gone` returns true, and returns them. One whose pass still runs stays: the pass
    /// may still remember something of it.
    pub fn remove(&self, is_gone: impl Fn(&Owner) -> bool) -> Vec<Owner> {
        let mut removed = Vec::new();
        self.known.lock().retain(|_, known| {
            let is_running = matches!(known.state, PassState::Running(_));
            let is_gone = !is_running && is_gone(&known.owner);
            if is_gone {
                removed.push(known.owner.clone());
            }
            !is_gone
        });
        removed
    }

    /// Whether there is a resource of this name.
    pub fn knows(&self, namespace: &str, name: &str) -> bool {
        let known = self.known.lock();
        let mut owners = known.values().map(|known| &known.owner);
        owners.any(|owner| owner.namespace == namespace && owner.name == name)
    }

    /// Whether there is a resource in this namespace.
    pub fn has_some_in(&self, namespace: &str) -> bool {
        let known = self.known.lock();
        let mut owners = known.values().map(|known| &known.owner);
        owners.any(|owner| owner.namespace == namespace)
    }

    /// Returns the pass that is late by most, if one is by more than the tolerated time. Passes that are due at the same time
    /// wait for each other, so the more there are, the later one may begin.
    pub fn overdue(&self, now: Instant) -> Option<Overdue> {
        let known = self.known.lock();
        let is_waiting =
            |known: &&Known| matches!(known.state, PassState::Due(time) if time <= now);
        let waiting = known.values().filter(is_waiting).count();
        let rounds = u32::try_from(waiting.div_ceil(self.concurrency)).unwrap_or(u32::MAX);
        let overdue = |known: &Known| {
            let (event, since, patience) = match known.state {
                PassState::Idle => return None,
                PassState::Due(time) => ("begun", time, PATIENCE.saturating_mul(rounds.max(1))),
                PassState::Running(time) => ("ended", time, PATIENCE),
            };
            let late = now.saturating_duration_since(since);
            (late > patience).then(|| Overdue {
                resource: format!("{}/{}", known.owner.namespace, known.owner.name),
                event,
                late,
            })
        };
        known
            .values()
            .filter_map(overdue)
            .max_by_key(|overdue| overdue.late)
    }
}

/// A pass that waits or runs until this is dropped, also because it was aborted.
pub struct TrackedPass<'a> {
    passes: &'a Passes,
    uid: String,
    next: Option<Duration>,
}

impl<'a> TrackedPass<'a> {
    fn new(passes: &'a Passes, owner: &Owner) -> Self {
        Self {
            passes,
            uid: owner.uid.clone(),
            next: None,
        }
    }

    /// Ends the pass. The next one is due after this pause; `None` if it waits for a change.
    pub fn end(mut self, next: Option<Duration>) {
        self.next = next;
    }
}

impl Drop for TrackedPass<'_> {
    fn drop(&mut self) {
        self.passes.ended(&self.uid, self.next, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn owner(name: &str) -> Owner {
        Owner {
            name: name.to_owned(),
            namespace: "monitoring".to_owned(),
            uid: format!("uid-of-{name}"),
        }
    }

    #[test]
    fn an_idle_operator_is_alive_for_ever() {
        let (passes, start) = (Passes::new(4), Instant::now());
        let long_after = start + 1_000_000 * SECOND;
        assert_eq!(passes.overdue(long_after), None);
        passes.began(&owner("nodes"), start);
        passes.ended("uid-of-nodes", None, start);
        assert_eq!(passes.overdue(long_after), None);
    }

    #[test]
    fn a_due_pass_must_begin_and_a_running_one_must_end() {
        let (passes, start) = (Passes::new(4), Instant::now());
        passes.began(&owner("nodes"), start);
        assert_eq!(passes.overdue(start + 180 * SECOND), None);
        let stuck = passes.overdue(start + 181 * SECOND).expect("never ended");
        assert_eq!(
            stuck.to_string(),
            "the reconciliation of monitoring/nodes has not ended for 181 s"
        );
        passes.ended("uid-of-nodes", Some(600 * SECOND), start + SECOND);
        assert_eq!(passes.overdue(start + 781 * SECOND), None);
        let lost = passes.overdue(start + 782 * SECOND).expect("never began");
        assert_eq!(lost.event, "begun");
    }

    #[test]
    fn a_pass_that_was_never_let_in_is_overdue_from_its_first_request() {
        let (passes, start) = (Passes::new(1), Instant::now());
        passes.requested(&owner("nodes"), start);
        passes.requested(&owner("nodes"), start + 100 * SECOND);
        assert!(passes.overdue(start + 181 * SECOND).is_some());
    }

    #[test]
    fn a_thousand_due_passes_may_wait_for_each_other() {
        let (passes, start) = (Passes::new(4), Instant::now());
        for number in 0..1000 {
            passes.requested(&owner(&number.to_string()), start);
        }
        // Each may take a minute while the API server does not answer, four at a time.
        assert_eq!(passes.overdue(start + 15_000 * SECOND), None);
        passes.began(&owner("0"), start);
        let stuck = passes.overdue(start + 181 * SECOND).expect("never ended");
        assert_eq!(stuck.resource, "monitoring/0");
    }

    #[test]
    fn an_aborted_pass_is_not_waited_for() {
        let (passes, nodes) = (Passes::new(4), owner("nodes"));
        for guard in [passes.wait(&nodes), passes.begin(&nodes)] {
            drop(guard);
            assert_eq!(passes.overdue(Instant::now() + 1_000 * SECOND), None);
        }
        passes.begin(&nodes).end(Some(SECOND));
        assert!(passes.overdue(Instant::now() + 1_000 * SECOND).is_some());
    }

    #[test]
    fn a_removed_resource_is_not_waited_for_and_a_running_pass_is_not_removed() {
        let (passes, start) = (Passes::new(4), Instant::now());
        passes.began(&owner("running"), start);
        passes.requested(&owner("due"), start);
        assert_eq!(passes.remove(|_| true), [owner("due")]);
        assert!(passes.knows("monitoring", "running") && !passes.knows("monitoring", "due"));
        passes.ended("uid-of-running", Some(SECOND), start);
        assert_eq!(passes.remove(|_| true), [owner("running")]);
        assert_eq!(passes.overdue(start + 1_000 * SECOND), None);
    }
}
