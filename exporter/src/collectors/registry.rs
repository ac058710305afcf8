//! Runs the collectors and reports on each of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::settings::{BuildContext, BuildError, Settings};
use super::{CollectError, Collector, Selection, TABLE};
use crate::exposition::{Exposition, MetricKind};

/// The enabled collectors, with the state and the buffers they keep between scrapes.
pub struct Registry {
    entries: Vec<Entry>,
    exposition: Exposition,
}

struct Entry {
    name: &'static str,
    collector: Box<dyn Collector>,
    duration: Duration,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Untried,
    Good,
    /// The host has nothing of the kind.
    Empty,
    Failed,
}

impl Registry {
    /// Builds the enabled collectors.
    ///
    /// # Errors
    ///
    /// An option of an enabled collector is wrong.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        let mut collectors = Vec::new();
        for spec in TABLE
            .iter()
            .filter(|spec| settings.enabled.contains(spec.name))
        {
            let collector = (spec.build)(&BuildContext::new(settings, spec.options))?;
            collectors.push((spec.name, collector));
        }
        Ok(Self::of(collectors))
    }

    /// A registry of the given collectors. They are run and reported in order of name.
    fn of(collectors: Vec<(&'static str, Box<dyn Collector>)>) -> Self {
        let entry = |(name, collector)| Entry {
            name,
            collector,
            duration: Duration::ZERO,
            outcome: Outcome::Untried,
        };
        let mut entries: Vec<Entry> = collectors.into_iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.name);
        Self {
            entries,
            exposition: Exposition::default(),
        }
    }

    /// Runs every collector and appends all families to `out` in order of name. A collector that fails or panics
    /// loses its own metrics and no other's. Blocks on the file system: not for an asynchronous worker.
    pub fn scrape(&mut self, out: &mut Vec<u8>) {
        self.scrape_selected(&Selection::All, out);
    }

    /// [`Registry::scrape`] of some of the collectors; the others are not mentioned.
    pub fn scrape_selected(&mut self, selection: &Selection, out: &mut Vec<u8>) {
        self.exposition.clear();
        let selected = |entry: &Entry| selection.includes(entry.name);
        for entry in self.entries.iter_mut().filter(|entry| selected(entry)) {
            entry.run(&mut self.exposition);
        }
        write_reports(&self.entries, selection, &mut self.exposition);
        self.exposition.append_sorted(out);
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|entry| entry.name))
            .finish()
    }
}

impl Entry {
    fn run(&mut self, out: &mut Exposition) {
        let begin = Instant::now();
        let mark = out.mark();
        let result = catch_unwind(AssertUnwindSafe(|| self.collector.collect(out)));
        self.duration = begin.elapsed();
        let (outcome, message) = match result {
            Ok(Ok(())) => (Outcome::Good, String::new()),
            Ok(Err(error @ CollectError::NoData(_))) => (Outcome::Empty, error.to_string()),
            Ok(Err(error)) => (Outcome::Failed, error.to_string()),
            Err(_) => {
                // A panic may have left half a line behind.
                out.cut_back(mark);
                let message = "it panicked; this is a defect, please report it";
                (Outcome::Failed, message.to_owned())
            }
        };
        self.note(outcome, &message);
    }

    /// Logs a change of fortune once, not at every scrape.
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

fn write_reports(entries: &[Entry], selection: &Selection, out: &mut Exposition) {
    let selected = || {
        entries
            .iter()
            .filter(|entry| selection.includes(entry.name))
    };
    let help = "How long the collector took in this scrape, in seconds.";
    let mut family = out.family(
        &["node_scrape_collector_duration_seconds"],
        &[help],
        MetricKind::Gauge,
    );
    for entry in selected() {
        family.sample(
            &[("collector", entry.name.as_bytes())],
            entry.duration.as_secs_f64(),
        );
    }
    drop(family);
    let help = "Whether the collector succeeded in this scrape.";
    let mut family = out.family(
        &["node_scrape_collector_success"],
        &[help],
        MetricKind::Gauge,
    );
    for entry in selected() {
        family.sample(
            &[("collector", entry.name.as_bytes())],
            u64::from(entry.outcome == Outcome::Good),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::sources::ReadError;

    struct Fine;
    impl Collector for Fine {
        fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
            out.family(&["node_zz"], &["h"], MetricKind::Gauge)
                .sample(&[], 1);
            out.family(&["node_aa"], &["h"], MetricKind::Gauge)
                .sample(&[], 2);
            Ok(())
        }
    }

    struct Panics;
    impl Collector for Panics {
        fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
            out.family(&["node_half"], &["h"], MetricKind::Gauge)
                .sample(&[], 1);
            panic!("a test's panic");
        }
    }

    struct Fails;
    impl Collector for Fails {
        fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
            out.family(&["node_before_error"], &["h"], MetricKind::Gauge)
                .sample(&[], 1);
            Err(CollectError::malformed("proc/x", b"y"))
        }
    }

    /// Finds nothing of its kind.
    struct Absent;
    impl Collector for Absent {
        fn collect(&mut self, _: &mut Exposition) -> Result<(), CollectError> {
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
            let mut registry = Registry::of(vec![(name, collector)]);
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
        let mut registry = Registry::of(vec![
            ("panics", Box::new(Panics)),
            ("fine", Box::new(Fine)),
            ("fails", Box::new(Fails)),
        ]);
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
