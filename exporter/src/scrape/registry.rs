//! Runs the collectors and reports the result of each.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::round::{Ending, Rounds, Slot, State};
use super::selection::Selection;
use crate::collect::{BuildContext, BuildError, Collector, Settings};
use crate::collectors::TABLE;
use crate::exposition::{Exposition, MetricKind, append_sorted};

/// The enabled collectors, with the state and buffers that they keep between scrapes.
pub struct Registry {
    slots: Arc<[Slot]>,
    rounds: Rounds,
    round: u64,
    patience: Duration,
    reports: Vec<Report>,
    /// The metrics about the collectors.
    about_them: Exposition,
    /// The metrics of other programs.
    foreign: Exposition,
    /// Whether a duplicate series of two collectors was reported.
    repetition_reported: bool,
}

/// What is known about a collector besides its metrics.
struct Report {
    name: &'static str,
    duration: Duration,
    outcome: Outcome,
    /// The start of the round in which it hangs.
    hangs_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Untried,
    Good,
    /// The host has nothing of this kind.
    Empty,
    Failed,
}

impl Registry {
    /// Builds the enabled collectors, except those in [`Settings::left_out`].
    ///
    /// # Errors
    ///
    /// An option of an enabled collector is invalid.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        settings.check_host_network()?;
        let links = settings.links();
        let mut collectors = Vec::new();
        for spec in TABLE.iter().filter(|spec| settings.runs(spec.name)) {
            let context = BuildContext::new(settings, spec.options).sharing(&links);
            collectors.push((spec.name, (spec.build)(&context)?));
        }
        Ok(Self::of(collectors, settings.timeout))
    }

    /// Creates a registry of the given collectors. They run and are reported in the order of their names.
    fn of(mut collectors: Vec<(&'static str, Box<dyn Collector>)>, patience: Duration) -> Self {
        collectors.sort_by_key(|(name, _)| *name);
        let report = |(name, _): &(&'static str, _)| Report {
            name,
            duration: Duration::ZERO,
            outcome: Outcome::Untried,
            hangs_since: None,
        };
        let reports = collectors.iter().map(report).collect();
        let slots = collectors.into_iter();
        let slots: Arc<[Slot]> = slots
            .map(|(name, collector)| Slot::new(name, collector))
            .collect();
        Self {
            rounds: Rounds::new(slots.clone()),
            slots,
            round: 0,
            patience,
            reports,
            about_them: Exposition::default(),
            foreign: Exposition::default(),
            repetition_reported: false,
        }
    }

    /// Runs every collector and appends all families to `out`, ordered by name. A collector that fails, panics or hangs
    /// only loses its own metrics. Blocks for about [`Settings::timeout`] at most, so it must not be called on an
    /// asynchronous worker.
    pub fn scrape(&mut self, out: &mut Vec<u8>) {
        let nothing = Exposition::default();
        self.scrape_within(&Selection::All, self.patience, &nothing, out);
    }

    /// Like [`Registry::scrape`], but runs only the selected collectors and waits for this long for those that hang. The
    /// families of `more` are merged with theirs, because a file of another program may have some of the same names, and
    /// each family must occur once.
    pub fn scrape_within(
        &mut self,
        selection: &Selection,
        patience: Duration,
        more: &Exposition,
        out: &mut Vec<u8>,
    ) {
        let begin = Instant::now();
        self.round += 1;
        let patience = patience.min(self.patience);
        self.rounds
            .run(&self.slots, selection, self.round, patience);
        let slots = self.slots.clone();
        let mut states = Vec::with_capacity(slots.len());
        let both = slots.iter().zip(&mut self.reports);
        for (slot, report) in both.filter(|(slot, _)| selection.includes(slot.name)) {
            let state = slot.state();
            report.update(state.as_deref(), self.round, begin);
            states.extend(state.filter(|state| state.round == self.round));
        }
        self.about_them.clear();
        write_reports(&self.reports, selection, &mut self.about_them);
        self.write(&mut states, more, out);
    }

    /// Writes the metrics of this round, the exporter's own before those of other programs.
    fn write(
        &mut self,
        states: &mut [MutexGuard<'_, State>],
        more: &Exposition,
        out: &mut Vec<u8>,
    ) {
        let taken = states
            .iter_mut()
            .map(|state| std::mem::take(&mut state.exposition));
        let written: Vec<Exposition> = taken.collect();
        let told = written.iter();
        let mut parts: Vec<&Exposition> = told.chain([&self.about_them, more]).collect();
        self.foreign.clear();
        for state in states.iter_mut() {
            state.add_foreign(&parts, &mut self.foreign);
        }
        parts.push(&self.foreign);
        if let Some(series) = append_sorted(&parts, out)
            && !std::mem::replace(&mut self.repetition_reported, true)
        {
            tracing::warn!(
                series,
                "the host reports this series twice; only the first sample of a duplicate series is shown"
            );
        }
        // The collectors keep their memory for the next round.
        for (state, exposition) in states.iter_mut().zip(written) {
            state.exposition = exposition;
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.slots.iter().map(|slot| slot.name))
            .finish()
    }
}

impl Report {
    /// Takes over the result of this round; there is no state while the collector hangs.
    fn update(&mut self, state: Option<&State>, round: u64, begin: Instant) {
        let Some(state) = state else {
            let since = *self.hangs_since.get_or_insert(begin);
            self.duration = since.elapsed();
            let message = "it hangs while reading from the host, and is left out until it returns";
            return self.note(Outcome::Failed, message);
        };
        self.hangs_since = None;
        if state.round != round {
            self.duration = Duration::ZERO;
            let message = "other collectors used up the time of this scrape";
            return self.note(Outcome::Failed, message);
        }
        self.duration = state.duration;
        match &state.ending {
            Ending::Good => self.note(Outcome::Good, ""),
            Ending::Empty(reason) => self.note(Outcome::Empty, reason),
            Ending::Failed(error) => self.note(Outcome::Failed, error),
        }
    }

    /// Logs each change of the outcome once, rather than at every scrape.
    fn note(&mut self, outcome: Outcome, message: &str) {
        let (name, before) = (self.name, self.outcome);
        match outcome {
            Outcome::Failed if before != Outcome::Failed => {
                tracing::warn!(collector = name, error = message, "collector failed")
            }
            Outcome::Failed => {
                tracing::debug!(collector = name, error = message, "collector failed again")
            }
            Outcome::Good if before == Outcome::Failed => {
                tracing::info!(collector = name, "collector works again")
            }
            Outcome::Empty if before != Outcome::Empty => {
                tracing::debug!(collector = name, reason = message, "collector has no data")
            }
            _ => {}
        }
        self.outcome = outcome;
    }
}

fn write_reports(reports: &[Report], selection: &Selection, out: &mut Exposition) {
    let selected = || {
        reports
            .iter()
            .filter(|report| selection.includes(report.name))
    };
    let help = "How long the collector took in this scrape, in seconds.";
    let mut family = out.family(
        &["node_scrape_collector_duration_seconds"],
        &[help],
        MetricKind::Gauge,
    );
    for report in selected() {
        family.sample(
            &[("collector", report.name.as_bytes())],
            report.duration.as_secs_f64(),
        );
    }
    drop(family);
    let help = "Whether the collector succeeded in this scrape.";
    let mut family = out.family(
        &["node_scrape_collector_success"],
        &[help],
        MetricKind::Gauge,
    );
    for report in selected() {
        family.sample(
            &[("collector", report.name.as_bytes())],
            u64::from(report.outcome == Outcome::Good),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::collect::CollectError;
    use crate::sources::{Deadline, ReadError};

    const PATIENCE: Duration = Duration::from_secs(60);

    struct Fine;
    impl Collector for Fine {
        fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
            out.family(&["node_zz"], &["h"], MetricKind::Gauge)
                .sample(&[], 1);
            out.family(&["node_aa"], &["h"], MetricKind::Gauge)
                .sample(&[], 2);
            Ok(())
        }
    }

    struct Panics;
    impl Collector for Panics {
        fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
            out.family(&["node_half"], &["h"], MetricKind::Gauge)
                .sample(&[], 1);
            panic!("a test's panic");
        }
    }

    struct Fails;
    impl Collector for Fails {
        fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
            out.family(&["node_before_error"], &["h"], MetricKind::Gauge)
                .sample(&[], 1);
            Err(CollectError::malformed("proc/x", b"y"))
        }
    }

    /// Finds nothing of its kind.
    struct Absent;
    impl Collector for Absent {
        fn collect(&mut self, _: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
            let file = std::path::Path::new("/proc/x");
            let error = std::io::Error::from(std::io::ErrorKind::NotFound);
            Err(CollectError::optional(ReadError::new(file, error)))
        }
    }

    /// What a registry of one collector logs from the level `INFO` on in two scrapes.
    fn logged(name: &'static str, collector: Box<dyn Collector>) -> String {
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&log);
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_writer(move || Sink(Arc::clone(&sink)))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut registry = Registry::of(vec![(name, collector)], PATIENCE);
            for _ in 0..2 {
                let mut out = Vec::new();
                registry.scrape(&mut out);
                let success = format!("success{{collector=\"{name}\"}} 0\n");
                assert!(String::from_utf8(out).unwrap().contains(&success));
            }
        });
        String::from_utf8(log.lock().unwrap().clone()).unwrap()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failure_is_logged_once_and_absence_never() {
        let failure = logged("fails", Box::new(Fails));
        assert_eq!(failure.matches("collector failed").count(), 1, "{failure}");
        assert_eq!(logged("absent", Box::new(Absent)), "");
    }

    #[test]
    fn a_panic_or_an_error_takes_only_its_own_collector_down() {
        let mut registry = Registry::of(
            vec![
                ("panics", Box::new(Panics)),
                ("fine", Box::new(Fine)),
                ("fails", Box::new(Fails)),
            ],
            PATIENCE,
        );
        for _ in 0..2 {
            let mut out = Vec::new();
            registry.scrape(&mut out);
            let text = String::from_utf8(out).unwrap();
            let names: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("# TYPE "))
                .collect();
            assert_eq!(
                names,
                [
                    "node_aa gauge",
                    "node_before_error gauge",
                    "node_scrape_collector_duration_seconds gauge",
                    "node_scrape_collector_success gauge",
                    "node_zz gauge"
                ]
            );
            assert!(text.contains(
                "node_scrape_collector_success{collector=\"fails\"} 0\n\
                 node_scrape_collector_success{collector=\"fine\"} 1\n\
                 node_scrape_collector_success{collector=\"panics\"} 0\n"
            ));
        }
    }

    #[test]
    fn the_table_is_ordered_and_flags_are_unique() {
        assert!(TABLE.is_sorted_by_key(|spec| spec.name));
        let mut flags: Vec<&str> = TABLE
            .iter()
            .flat_map(|spec| spec.options)
            .map(|option| option.flag)
            .collect();
        let count = flags.len();
        flags.sort_unstable();
        flags.dedup();
        assert_eq!(flags.len(), count);
    }
}
