//! What the exporters of each resource said last, and when they are to be asked again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::rotation::evidence::Exporter;

/// The last answers, by uid of the resource.
#[derive(Debug, Default)]
pub struct Samples(Mutex<HashMap<String, Sample>>);

#[derive(Debug)]
struct Sample {
    taken: Instant,
    exporters: Vec<Exporter>,
}

impl Samples {
    /// The answers, where they are younger than `age`.
    pub fn recent(&self, uid: &str, age: Duration) -> Option<Vec<Exporter>> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sample = samples.get(uid)?;
        (sample.taken.elapsed() < age).then(|| sample.exporters.clone())
    }

    /// Keeps new answers.
    pub fn keep(&self, uid: &str, exporters: &[Exporter]) {
        let sample = Sample {
            taken: Instant::now(),
            exporters: exporters.to_vec(),
        };
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.insert(uid.to_owned(), sample);
    }

    /// Forgets a resource, or what was seen of it before something changed.
    pub fn forget(&self, uid: &str) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.remove(uid);
    }
}
