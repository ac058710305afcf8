//! Runs all collectors in a round, on a thread that can be abandoned.
//!
//! If a collector hangs, its thread is abandoned and another thread continues with the next collectors. The collector does
//! not run again until its thread has returned, so that the same problem never takes a second thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::selection::Selection;
use crate::collect::{CollectError, Collector};
use crate::exposition::Exposition;
use crate::sources::{Crew, Deadline};

/// If a collector takes longer than this, another thread continues with those after it.
const STEP: Duration = Duration::from_millis(200);

/// A collector, and what it wrote in the last round that it completed.
pub(super) struct Slot {
    pub name: &'static str,
    state: Mutex<State>,
}

/// What the thread holds while it runs a collector.
pub(super) struct State {
    collector: Box<dyn Collector>,
    /// The families that it wrote.
    pub exposition: Exposition,
    /// The round in which they were written.
    pub round: u64,
    /// The duration of the run.
    pub duration: Duration,
    /// The result of the run.
    pub ending: Ending,
}

/// How a collector's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Good,
    /// The host has nothing of this kind.
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

    /// `None` while a thread runs the collector.
    pub(super) fn state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            // A collector's panic is caught; incomplete state is overwritten by the next run.
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl State {
    /// Writes the metrics of other programs.
    pub(super) fn add_foreign(&mut self, own: &[&Exposition], out: &mut Exposition) {
        let collector = &mut self.collector;
        let add = AssertUnwindSafe(|| collector.add_foreign(own, out));
        if catch_unwind(add).is_err() {
            // The collector may have written half a line.
            out.clear();
            tracing::error!(
                "a collector panicked while it added the metrics of other programs; this is a bug, please report it"
            );
        }
    }

    fn run(&mut self, round: u64, deadline: Deadline) {
        let begin = Instant::now();
        self.exposition.clear();
        let (collector, out) = (&mut self.collector, &mut self.exposition);
        let result = catch_unwind(AssertUnwindSafe(|| collector.collect(out, deadline)));
        self.ending = match result {
            Ok(Ok(())) => Ending::Good,
            Ok(Err(error @ CollectError::NoData(_))) => Ending::Empty(error.to_string()),
            Ok(Err(error)) => Ending::Failed(error.to_string()),
            Err(_) => {
                // The collector may have written half a line.
                self.exposition.clear();
                Ending::Failed("it panicked; this is a bug, please report it".to_owned())
            }
        };
        self.duration = begin.elapsed();
        self.round = round;
    }
}

/// Runs rounds and never waits much longer than the given time.
#[derive(Debug)]
pub(super) struct Rounds {
    crew: Crew<Turn, ()>,
}

/// A collector's turn in a round.
#[derive(Debug)]
struct Turn {
    /// Its position among all collectors.
    slot: usize,
    round: u64,
    deadline: Deadline,
}

impl Rounds {
    /// Creates the rounds of these collectors.
    pub(super) fn new(slots: Arc<[Slot]>) -> Self {
        let run = move |turn: &Turn| {
            if let Some(mut state) = slots.get(turn.slot).and_then(Slot::state) {
                state.run(turn.round, turn.deadline);
            }
        };
        Self {
            crew: Crew::new("collect", run),
        }
    }

    /// Runs every selected collector that is free, in order, for about as long as `patience`. Afterwards the slots contain
    /// the results; a collector whose slot does not have this round's number has hung or was not reached.
    pub(super) fn run(
        &mut self,
        slots: &[Slot],
        selection: &Selection,
        round: u64,
        patience: Duration,
    ) {
        let deadline = Deadline::after(patience);
        let turns = slots.iter().enumerate();
        let turns = turns.filter(|(_, slot)| selection.includes(slot.name));
        let turns = turns.map(|(slot, _)| Turn {
            slot,
            round,
            deadline,
        });
        // A collector that waits until the deadline needs a moment longer.
        let end = Deadline::after(patience + patience / 7);
        self.crew.run(turns.collect(), STEP.min(patience / 4), end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::MetricKind;

    /// Hangs while the lock is held by the test.
    struct Hangs(Arc<Mutex<()>>);
    impl Collector for Hangs {
        fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
            drop(self.0.lock());
            write(out)
        }
    }

    struct Slow;
    impl Collector for Slow {
        fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
            std::thread::sleep(STEP / 4);
            write(out)
        }
    }

    /// Waits for an answer that does not come.
    struct Waits;
    impl Collector for Waits {
        fn collect(
            &mut self,
            out: &mut Exposition,
            deadline: Deadline,
        ) -> Result<(), CollectError> {
            std::thread::sleep(deadline.left());
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

    #[test]
    fn what_hangs_costs_no_other_collector_and_is_run_again_when_it_comes_back() {
        let (first, second) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let slots = slots(vec![
            Box::new(Slow),
            Box::new(Hangs(first.clone())),
            Box::new(Slow),
            Box::new(Hangs(second.clone())),
            Box::new(Slow),
        ]);
        let mut rounds = Rounds::new(slots.clone());
        let (hold_first, hold_second) = (first.lock().unwrap(), second.lock().unwrap());
        let patience = STEP * 10;
        let begin = Instant::now();
        rounds.run(&slots, &Selection::All, 1, patience);
        assert!(begin.elapsed() < patience + patience / 3);
        assert_eq!(ended(&slots), [Some(1), None, Some(1), None, Some(1)]);
        for round in 2..5 {
            let begin = Instant::now();
            rounds.run(&slots, &Selection::All, round, Duration::from_secs(60));
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "it waits for nobody"
            );
            assert_eq!(
                ended(&slots),
                [Some(round), None, Some(round), None, Some(round)]
            );
        }

        drop((hold_first, hold_second));
        while ended(&slots).contains(&None) {
            std::thread::yield_now();
        }
        rounds.run(&slots, &Selection::All, 5, Duration::from_secs(60));
        assert_eq!(ended(&slots), [Some(5); 5], "it is asked again");
    }

    #[test]
    fn a_collector_that_waits_until_the_deadline_has_ended_in_time() {
        let slots = slots(vec![Box::new(Waits), Box::new(Slow), Box::new(Waits)]);
        let begin = Instant::now();
        Rounds::new(slots.clone()).run(&slots, &Selection::All, 1, STEP * 5);
        assert!(begin.elapsed() < STEP * 6);
        assert_eq!(ended(&slots), [Some(1); 3]);
    }

    #[test]
    fn a_round_without_end_is_given_up_with_what_there_is() {
        let collectors = (0..400).map(|_| Box::new(Slow) as Box<dyn Collector>);
        let slots = slots(collectors.collect());
        let begin = Instant::now();
        Rounds::new(slots.clone()).run(&slots, &Selection::All, 1, STEP * 4);
        assert!(begin.elapsed() < STEP * 6);
        let ended = ended(&slots);
        assert!(
            ended.contains(&Some(1)) && ended.contains(&Some(0)),
            "{ended:?}"
        );
    }
}
