//! The last answers of the exporters of each resource.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::DaemonSet;
use parking_lot::Mutex;

use crate::rotation::evidence::{Exporter, Standing};

/// How long after a change the exporters are asked often, until all of them are up to date: several times as long as a
/// kubelet takes to deliver a changed Secret.
const SETTLING: Duration = Duration::from_secs(600);

/// The last answers, by uid of the resource.
#[derive(Debug, Default)]
pub struct Samples(Mutex<HashMap<String, Sample>>);

#[derive(Debug)]
struct Sample {
    subject: Subject,
    /// When the subject last changed.
    changed: Instant,
    taken: Instant,
    exporters: Vec<Exporter>,
    /// When each node's exporter last answered, was last not ready, or was first asked.
    heard: HashMap<String, Instant>,
}

/// What the answers are about. When it changes, they are asked for again soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The DaemonSet, by uid: exporters of an earlier one are none.
    daemon_set: String,
    /// On how many nodes it should run, and is ready and updated.
    counts: [i32; 3],
    /// The generation of the state that is published.
    generation: u64,
    /// Serial number of the published certificate.
    serial_number: String,
}

/// How old answers may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// If nothing has changed.
    pub steady: Duration,
    /// After a change.
    pub soon: Duration,
}

impl Subject {
    /// The exporters of a DaemonSet, compared with the published state.
    pub fn of(daemon_set: &DaemonSet, generation: u64, serial_number: String) -> Self {
        let status = daemon_set.status.clone().unwrap_or_default();
        Self {
            daemon_set: daemon_set.metadata.uid.clone().unwrap_or_default(),
            counts: [
                status.desired_number_scheduled,
                status.number_ready,
                status.updated_number_scheduled.unwrap_or_default(),
            ],
            generation,
            serial_number,
        }
    }
}

impl Samples {
    /// Returns the answers if they are not too old.
    pub fn recent(&self, uid: &str, subject: &Subject, ages: Ages) -> Option<Vec<Exporter>> {
        let samples = self.0.lock();
        let sample = samples.get(uid)?;
        let is_recent = sample.subject.daemon_set == subject.daemon_set
            && sample.taken.elapsed() < sample.age(subject, ages);
        is_recent.then(|| sample.exporters.clone())
    }

    /// Returns for how long the answers are still recent.
    pub fn expire_in(&self, uid: &str, subject: &Subject, ages: Ages) -> Duration {
        let samples = self.0.lock();
        samples.get(uid).map_or(ages.soon, |sample| {
            let age = sample.age(subject, ages);
            age.saturating_sub(sample.taken.elapsed())
        })
    }

    /// Stores new answers, and records in each how long the exporter has not answered.
    pub fn keep(&self, uid: &str, subject: Subject, exporters: &mut [Exporter]) {
        let taken = Instant::now();
        let mut samples = self.0.lock();
        let previous = samples
            .remove(uid)
            .filter(|sample| sample.subject.daemon_set == subject.daemon_set);
        let changed = previous
            .as_ref()
            .filter(|sample| sample.subject == subject)
            .map_or(taken, |sample| sample.changed);
        let before = previous.map(|sample| sample.heard).unwrap_or_default();
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
            subject,
            changed,
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

impl Sample {
    fn age(&self, subject: &Subject, ages: Ages) -> Duration {
        let is_settling = self.changed.elapsed() < SETTLING && !self.is_verified();
        if self.subject != *subject || is_settling {
            ages.soon.min(ages.steady)
        } else {
            ages.steady
        }
    }

    fn is_verified(&self) -> bool {
        let serial_number = &self.subject.serial_number;
        self.exporters
            .iter()
            .all(|exporter| exporter.standing(serial_number) == Standing::Verified)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::rotation::evidence::Answer;

    const A_MOMENT: Duration = Duration::from_millis(20);
    const AGES: Ages = Ages {
        steady: Duration::from_secs(3600),
        soon: A_MOMENT,
    };

    fn exporter(node: &str, ready: bool) -> Exporter {
        Exporter {
            node: node.to_owned(),
            ready,
            answer: None,
            silent_for: SignedDuration::ZERO,
        }
    }

    fn verified(node: &str) -> Exporter {
        Exporter {
            answer: Some(Answer {
                serial_number: "1".into(),
                verified_by: BTreeSet::new(),
                accepted: Some(BTreeMap::new()),
                uptime: SignedDuration::ZERO,
            }),
            ..exporter(node, true)
        }
    }

    fn subject(ready: i32, generation: u64) -> Subject {
        Subject {
            daemon_set: "d".into(),
            counts: [2, ready, 2],
            generation,
            serial_number: "1".into(),
        }
    }

    #[test]
    fn the_silence_of_a_node_that_was_down_starts_when_it_is_ready_again() {
        let samples = Samples::default();
        let mut exporters = [exporter("up", true), exporter("down", false)];
        samples.keep("u", subject(1, 1), &mut exporters);
        std::thread::sleep(A_MOMENT);
        samples.keep("u", subject(1, 1), &mut exporters);
        exporters = [exporter("up", true), exporter("down", true)];
        samples.keep("u", subject(2, 1), &mut exporters);
        let [up, down] = exporters.map(|exporter| exporter.silent_for.unsigned_abs());
        assert!(up >= A_MOMENT && down < up, "{up:?} {down:?}");
    }

    #[test]
    fn answers_are_asked_for_again_soon_after_a_change_and_until_all_are_verified() {
        let same = subject(2, 1);
        let is_recent = |exporters: &mut [Exporter], subject: &Subject| {
            let samples = Samples::default();
            samples.keep("u", same.clone(), exporters);
            std::thread::sleep(A_MOMENT);
            let is_recent = samples.recent("u", subject, AGES).is_some();
            assert_eq!(
                is_recent,
                samples.expire_in("u", subject, AGES) > Duration::ZERO
            );
            is_recent
        };
        assert!(is_recent(&mut [verified("a"), verified("b")], &same));
        assert!(!is_recent(&mut [verified("a"), exporter("b", true)], &same));
        let published = subject(2, 2);
        assert!(!is_recent(&mut [verified("a"), verified("b")], &published));
        let node_left = subject(1, 1);
        assert!(!is_recent(&mut [verified("a"), verified("b")], &node_left));
        assert!(is_recent(&mut [], &same), "there is nobody to wait for");
    }

    #[test]
    fn exporters_of_an_earlier_daemon_set_are_none() {
        let samples = Samples::default();
        samples.keep("u", subject(2, 1), &mut [verified("a")]);
        let other = Subject {
            daemon_set: "e".into(),
            ..subject(2, 1)
        };
        assert!(samples.recent("u", &subject(2, 1), AGES).is_some());
        assert!(samples.recent("u", &other, AGES).is_none());
    }
}
