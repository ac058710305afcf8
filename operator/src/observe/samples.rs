//! The last answers of the exporters of each resource.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use parking_lot::Mutex;

use crate::rotation::evidence::Exporter;

/// The last answers, by uid of the resource.
#[derive(Debug, Default)]
pub struct Samples(Mutex<HashMap<String, Sample>>);

#[derive(Debug)]
struct Sample {
    /// Of which DaemonSet, by uid: exporters of an earlier one are none.
    daemon_set: String,
    taken: Instant,
    exporters: Vec<Exporter>,
    /// When each node's exporter last answered, was last not ready, or was first asked.
    heard: HashMap<String, Instant>,
}

impl Samples {
    /// Returns the answers if they are younger than `age`.
    pub fn recent(&self, uid: &str, daemon_set: &str, age: Duration) -> Option<Vec<Exporter>> {
        let samples = self.0.lock();
        let sample = samples.get(uid)?;
        (sample.daemon_set == daemon_set && sample.taken.elapsed() < age)
            .then(|| sample.exporters.clone())
    }

    /// Stores new answers, and records in each how long the exporter has not answered.
    pub fn keep(&self, uid: &str, daemon_set: &str, exporters: &mut [Exporter]) {
        let taken = Instant::now();
        let mut samples = self.0.lock();
        let before = samples
            .remove(uid)
            .filter(|sample| sample.daemon_set == daemon_set)
            .map(|sample| sample.heard);
        let before = before.unwrap_or_default();
        let mut heard = HashMap::new();
        for exporter in exporters.iter_mut() {
            // The time starts when an exporter becomes ready: before that, it could not receive anything.
            let last = if exporter.answer.is_some() || !exporter.ready {
                taken
            } else {
                before.get(&exporter.node).copied().unwrap_or(taken)
            };
            exporter.silent_for =
                SignedDuration::try_from(taken.duration_since(last)).unwrap_or_default();
            heard.insert(exporter.node.clone(), last);
        }
        let sample = Sample {
            daemon_set: daemon_set.to_owned(),
            taken,
            exporters: exporters.to_vec(),
            heard,
        };
        samples.insert(uid.to_owned(), sample);
    }

    /// Forgets a deleted resource.
    pub fn forget(&self, uid: &str) {
        let mut samples = self.0.lock();
        samples.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_MOMENT: Duration = Duration::from_millis(20);

    fn exporter(node: &str, ready: bool) -> Exporter {
        Exporter {
            node: node.to_owned(),
            ready,
            answer: None,
            silent_for: SignedDuration::ZERO,
        }
    }

    #[test]
    fn the_silence_of_a_node_that_was_down_starts_when_it_is_ready_again() {
        let samples = Samples::default();
        let mut exporters = [exporter("up", true), exporter("down", false)];
        samples.keep("u", "d", &mut exporters);
        std::thread::sleep(A_MOMENT);
        samples.keep("u", "d", &mut exporters);
        exporters = [exporter("up", true), exporter("down", true)];
        samples.keep("u", "d", &mut exporters);
        let [up, down] = exporters.map(|exporter| exporter.silent_for.unsigned_abs());
        assert!(up >= A_MOMENT && down < up, "{up:?} {down:?}");
    }
}
