//! A round of all collectors, on a thread that can be left behind.
//!
//! A read of a dead file server, a FUSE daemon or a device that has lost its mind blocks in the kernel and cannot be
//! interrupted. So the collectors run on a thread of their own, and whoever waits for them leaves a thread that hangs to
//! its fate: another one goes on behind the collector in which it hangs. That collector is run no more until its thread
//! comes back from it and ends, so no round ever costs a second thread for the same trouble.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::{CollectError, Collector, Selection};
use crate::exposition::Exposition;

/// Once a round is late, a collector that does not end within this time is given up.
const STEP: Duration = Duration::from_millis(200);
/// How long a late round may go on with other collectors.
const EXTRA: Duration = Duration::from_secs(2);

/// A collector, with what it wrote in the last round that it ended.
pub(super) struct Slot {
    pub name: &'static str,
    state: Mutex<State>,
}

/// What the thread that runs a collector holds meanwhile.
pub(super) struct State {
    collector: Box<dyn Collector>,
    /// The families that it wrote.
    pub exposition: Exposition,
    /// The round in which it did.
    pub round: u64,
    /// How long that took.
    pub duration: Duration,
    /// How it ended.
    pub ending: Ending,
}

/// How a collector's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Good,
    /// The host has nothing of the kind.
    Empty(String),
    Failed(String),
}

impl Slot {
    pub(super) fn new(name: &'static str, collector: Box<dyn Collector>) -> Self {
        let state = State {
            collector,
            exposition: Exposition::default(),
            round: 0,
            duration: Duration::ZERO,
            ending: Ending::Good,
        };
        Self {
            name,
            state: Mutex::new(state),
        }
    }

    /// `None` while a thread is in the collector.
    pub(super) fn state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            // A collector's panic is caught; whatever else was left half done is overwritten by the next run.
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl State {
    /// Writes what its collector has of other programs.
    pub(super) fn add_foreign(&mut self, own: &[&Exposition], out: &mut Exposition) {
        let collector = &mut self.collector;
        let add = AssertUnwindSafe(|| collector.add_foreign(own, out));
        if catch_unwind(add).is_err() {
            // It may have left half a line behind.
            out.clear();
            tracing::error!(
                "a collector panicked while it added what other programs left; this is a defect, please report it"
            );
        }
    }

    fn run(&mut self, round: u64) {
        let begin = Instant::now();
        self.exposition.clear();
        let (collector, out) = (&mut self.collector, &mut self.exposition);
        let result = catch_unwind(AssertUnwindSafe(|| collector.collect(out)));
        self.ending = match result {
            Ok(Ok(())) => Ending::Good,
            Ok(Err(error @ CollectError::NoData(_))) => Ending::Empty(error.to_string()),
            Ok(Err(error)) => Ending::Failed(error.to_string()),
            Err(_) => {
                // It may have left half a line behind.
                self.exposition.clear();
                Ending::Failed("it panicked; this is a defect, please report it".to_owned())
            }
        };
        self.duration = begin.elapsed();
        self.round = round;
    }
}

/// Runs rounds, and never waits much longer than it is told to.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    runner: Option<Runner>,
}

/// The thread that runs collectors at present.
#[derive(Debug)]
struct Runner {
    jobs: Sender<Job>,
    ended: Receiver<()>,
    place: Arc<Place>,
}

#[derive(Clone, Debug)]
struct Job {
    selection: Selection,
    round: u64,
    from: usize,
}

/// Where a runner is.
#[derive(Debug, Default)]
struct Place {
    slot: AtomicUsize,
    left_behind: AtomicBool,
}

impl Rounds {
    /// Runs every selected collector that is free, in order, for `patience` and little more. Afterwards each of their slots
    /// says what came of it: one without this round's number has hung or was not reached.
    pub(super) fn run(
        &mut self,
        slots: &Arc<[Slot]>,
        selection: &Selection,
        round: u64,
        patience: Duration,
    ) {
        let mut deadline = Instant::now() + patience;
        let end = deadline + EXTRA;
        let mut from = 0;
        while from < slots.len() {
            let runner = match self.runner.take() {
                Some(runner) => runner,
                None => match Runner::start(slots.clone()) {
                    Some(runner) => runner,
                    // The system gives no thread: nothing can be collected.
                    None => return,
                },
            };
            let job = Job {
                selection: selection.clone(),
                round,
                from,
            };
            // One that has died is noticed below.
            let _ = runner.jobs.send(job);
            match runner.wait(deadline, end) {
                Wait::Ended => {
                    self.runner = Some(runner);
                    return;
                }
                Wait::Died => return,
                Wait::Hangs(slot) => from = slot + 1,
            }
            if Instant::now() >= end {
                return;
            }
            deadline = Instant::now() + STEP;
        }
    }
}

enum Wait {
    Ended,
    Died,
    /// In the collector of this number.
    Hangs(usize),
}

impl Runner {
    fn start(slots: Arc<[Slot]>) -> Option<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (outbox, ended) = channel();
        let place = Arc::new(Place::default());
        let own = place.clone();
        let work = move || {
            for job in inbox {
                if !own.run(&slots, &job) || outbox.send(()).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("collect".to_owned());
        thread.spawn(work).ok()?;
        Some(Self { jobs, ended, place })
    }

    fn wait(&self, mut deadline: Instant, end: Instant) -> Wait {
        let mut seen = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.ended.recv_timeout(left) {
                Ok(()) => return Wait::Ended,
                Err(RecvTimeoutError::Disconnected) => return Wait::Died,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let slot = self.place.slot.load(Ordering::Acquire);
            // A round may be late without that any one collector hangs.
            if seen == Some(slot) || Instant::now() >= end {
                self.place.left_behind.store(true, Ordering::Release);
                return Wait::Hangs(slot);
            }
            seen = Some(slot);
            deadline = end.min(Instant::now() + STEP);
        }
    }
}

impl Place {
    /// Whether the round was run to its end.
    fn run(&self, slots: &[Slot], job: &Job) -> bool {
        let rest = slots.iter().enumerate().skip(job.from);
        for (index, slot) in rest.filter(|(_, slot)| job.selection.includes(slot.name)) {
            self.slot.store(index, Ordering::Release);
            if let Some(mut state) = slot.state() {
                state.run(job.round);
            }
            if self.left_behind.load(Ordering::Acquire) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::MetricKind;

    /// Hangs while the lock is held by the test.
    struct Hangs(Arc<Mutex<()>>);
    impl Collector for Hangs {
        fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
            drop(self.0.lock());
            write(out)
        }
    }

    struct Slow;
    impl Collector for Slow {
        fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
            std::thread::sleep(STEP * 3 / 4);
            write(out)
        }
    }

    fn write(out: &mut Exposition) -> Result<(), CollectError> {
        out.family(&["node_x"], &["h"], MetricKind::Gauge)
            .sample(&[], 1);
        Ok(())
    }

    fn slots(collectors: Vec<Box<dyn Collector>>) -> Arc<[Slot]> {
        collectors
            .into_iter()
            .map(|collector| Slot::new("x", collector))
            .collect()
    }

    /// The round that each slot has ended; `None` of one that hangs.
    fn ended(slots: &[Slot]) -> Vec<Option<u64>> {
        slots
            .iter()
            .map(|slot| slot.state().map(|state| state.round))
            .collect()
    }

    /// Threads of this process that run collectors.
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        tasks
            .filter(|task| {
                std::fs::read_to_string(task.path().join("comm"))
                    .is_ok_and(|name| name.trim() == "collect")
            })
            .count()
    }

    #[test]
    fn what_hangs_costs_one_thread_and_no_other_collector() {
        let (first, second) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let slots = slots(vec![
            Box::new(Slow),
            Box::new(Hangs(first.clone())),
            Box::new(Slow),
            Box::new(Hangs(second.clone())),
            Box::new(Slow),
        ]);
        let mut rounds = Rounds::default();
        let (hold_first, hold_second) = (first.lock().unwrap(), second.lock().unwrap());
        let begin = Instant::now();
        let patience = STEP;
        rounds.run(&slots, &Selection::All, 1, patience);
        assert!(begin.elapsed() < patience + EXTRA + STEP);
        assert_eq!(ended(&slots), [Some(1), None, Some(1), None, Some(1)]);
        let before = threads();
        for round in 2..5 {
            rounds.run(&slots, &Selection::All, round, Duration::from_secs(60));
            assert_eq!(
                ended(&slots),
                [Some(round), None, Some(round), None, Some(round)]
            );
        }
        assert!(threads() <= before, "a round costs no further thread");

        drop((hold_first, hold_second));
        while ended(&slots).contains(&None) {
            std::thread::yield_now();
        }
        rounds.run(&slots, &Selection::All, 5, Duration::from_secs(60));
        assert_eq!(ended(&slots), [Some(5); 5], "it is asked again");
    }

    #[test]
    fn a_round_without_end_is_given_up_with_what_there_is() {
        let collectors = (0..40).map(|_| Box::new(Slow) as Box<dyn Collector>);
        let slots = slots(collectors.collect());
        let begin = Instant::now();
        Rounds::default().run(&slots, &Selection::All, 1, Duration::ZERO);
        assert!(begin.elapsed() < EXTRA + STEP);
        let ended = ended(&slots);
        assert!(
            ended.contains(&Some(1)) && ended.contains(&Some(0)),
            "{ended:?}"
        );
    }
}
