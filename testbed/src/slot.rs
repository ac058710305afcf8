//! Which tests run beside which others.
//!
//! All system tests are one program, whose tests run on several threads at once. Most of them get along with each other:
//! they have namespaces, ports and folders of their own. A few do not: they measure time, compare figures of this host that
//! others would move, or load the machine so much that a scrape of another test would miss its deadline.
//!
//! Therefore every test takes a slot first, and what sets a scene for a test ([`in_namespace`], [`Stage`], [`Host`],
//! [`Pair`], [`Machine`], [`HangingFiles`]) asks for it, so that none is forgotten.
//!
//! [`in_namespace`]: crate::namespace::in_namespace
//! [`Stage`]: crate::operator::Stage
//! [`Host`]: crate::host::Host
//! [`Pair`]: crate::comparison::pair::Pair
//! [`Machine`]: crate::host::machine::Machine
//! [`HangingFiles`]: crate::host::hanging_files::HangingFiles

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many tests share the machine at most, however many threads there are: they also share one node and one API server.
const MAX_SHARED: usize = 8;

static SLOTS: Slots = Slots::new();

/// The permission to run, until it is dropped. A test takes one and no second one: the second could wait for the first
/// for ever.
#[must_use = "the slot is free again when this is dropped"]
pub struct Slot(&'static Slots);

impl Slot {
    /// For a test that may run beside other shared ones.
    pub fn shared() -> Self {
        SLOTS.take(Kind::Shared)
    }

    /// For a test that runs beside no test but those of its group.
    pub fn group(name: &'static str) -> Self {
        SLOTS.take(Kind::Group(name))
    }

    /// For a test that runs beside no other.
    pub fn alone() -> Self {
        SLOTS.take(Kind::Alone)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Whom a test gets along with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shared,
    Group(&'static str),
    Alone,
}

struct Slots {
    state: Mutex<State>,
    changed: Condvar,
}

/// Who runs, and who waits.
struct State {
    /// The kind of those that run.
    kind: Kind,
    running: usize,
    /// How many wait that are not shared. They go first: otherwise they would wait for the end of all shared ones.
    exclusive_waiting: usize,
}

impl State {
    fn admits(&self, kind: Kind) -> bool {
        let beside_those_that_run = self.running == 0 || kind == self.kind;
        match kind {
            Kind::Shared => {
                beside_those_that_run && self.exclusive_waiting == 0 && self.running < MAX_SHARED
            }
            Kind::Group(_) => beside_those_that_run,
            Kind::Alone => self.running == 0,
        }
    }
}

impl Slots {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                kind: Kind::Shared,
                running: 0,
                exclusive_waiting: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn take(&'static self, kind: Kind) -> Slot {
        let exclusive = usize::from(kind != Kind::Shared);
        let mut state = self.lock();
        state.exclusive_waiting += exclusive;
        state = self
            .changed
            .wait_while(state, |state| !state.admits(kind))
            .unwrap_or_else(PoisonError::into_inner);
        state.exclusive_waiting -= exclusive;
        state.kind = kind;
        state.running += 1;
        // Others of the group may run now, or shared ones that nothing is in the way of any more.
        self.changed.notify_all();
        Slot(self)
    }

    fn release(&self) {
        self.lock().running -= 1;
        self.changed.notify_all();
    }

    /// A test that panics leaves its slot as one that ends: nothing is half done while the lock is held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        thread,
        time::Duration,
    };

    use super::*;

    const KINDS: [Kind; 4] = [
        Kind::Shared,
        Kind::Group("one"),
        Kind::Group("two"),
        Kind::Alone,
    ];

    fn slots() -> &'static Slots {
        Box::leak(Box::new(Slots::new()))
    }

    #[test]
    fn tests_run_beside_their_own_kind_alone() {
        let slots = slots();
        let running: [AtomicUsize; 4] = Default::default();
        let most: [AtomicUsize; 4] = Default::default();
        thread::scope(|scope| {
            for number in 0..80 {
                let (running, most) = (&running, &most);
                scope.spawn(move || {
                    let mine = number % KINDS.len();
                    let slot = slots.take(KINDS[mine]);
                    let now = running[mine].fetch_add(1, SeqCst) + 1;
                    most[mine].fetch_max(now, SeqCst);
                    thread::sleep(Duration::from_millis(2));
                    for other in (0..KINDS.len()).filter(|other| *other != mine) {
                        assert_eq!(running[other].load(SeqCst), 0, "{mine} beside {other}");
                    }
                    running[mine].fetch_sub(1, SeqCst);
                    drop(slot);
                });
            }
        });
        let most = most.map(AtomicUsize::into_inner);
        assert!(most[0] <= MAX_SHARED);
        assert!(most[..3].iter().all(|most| *most > 1), "{most:?}");
        assert_eq!(most[3], 1);
    }

    #[test]
    fn others_go_before_shared_ones_that_come_later() {
        for kind in &KINDS[1..] {
            let slots = slots();
            let first = slots.take(Kind::Shared);
            let order = Mutex::new(Vec::new());
            thread::scope(|scope| {
                scope.spawn(|| {
                    let _slot = slots.take(*kind);
                    order.lock().unwrap().push("not shared");
                });
                while slots.lock().exclusive_waiting == 0 {
                    thread::yield_now();
                }
                scope.spawn(|| {
                    let _slot = slots.take(Kind::Shared);
                    order.lock().unwrap().push("shared");
                });
                thread::sleep(Duration::from_millis(20));
                assert!(order.lock().unwrap().is_empty());
                drop(first);
            });
            assert_eq!(order.into_inner().unwrap(), ["not shared", "shared"]);
        }
    }

    #[test]
    fn a_panic_frees_the_slot() {
        let slots = slots();
        for kind in KINDS {
            let panicked = panic::catch_unwind(|| {
                let _slot = slots.take(kind);
                panic!("as a test does");
            });
            assert!(panicked.is_err());
        }
        drop(slots.take(Kind::Alone));
        assert_eq!(slots.lock().running, 0);
    }
}
