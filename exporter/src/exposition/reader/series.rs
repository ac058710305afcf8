//! The series of a family, and an index to find them.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hash, Hasher};

/// Labels by name, in order of name.
pub(crate) type Labels = Vec<(String, String)>;

/// The samples with the same labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) points: Points,
}

/// The values of a series.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Points {
    /// The value, if the family is neither a summary nor a histogram.
    pub(crate) value: f64,
    /// The quantiles of a summary or the upper bounds of a histogram's buckets, each with its value.
    pub(crate) parts: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
    /// The suffix of a duplicate part.
    pub(crate) repeated: Option<&'static str>,
}

impl Points {
    pub(crate) fn of(value: f64) -> Self {
        Self {
            value,
            ..Self::default()
        }
    }

    pub(crate) fn sum(&self) -> f64 {
        self.sum.unwrap_or_default()
    }

    pub(crate) fn count(&self) -> f64 {
        self.count.unwrap_or_default()
    }

    pub(super) fn set_sum(&mut self, sum: f64) {
        match self.sum {
            Some(_) => self.repeated = Some("_sum"),
            None => self.sum = Some(sum),
        }
    }

    pub(super) fn set_count(&mut self, count: f64) {
        match self.count {
            Some(_) => self.repeated = Some("_count"),
            None => self.count = Some(count),
        }
    }
}

/// Finds a series by its labels in constant time.
#[derive(Debug, Default)]
pub(crate) struct SeriesIndex {
    hashes: RandomState,
    /// The position of each series under the hash of its labels; on a collision, under the next free hash.
    places: HashMap<u64, usize>,
}

impl SeriesIndex {
    /// Returns the position of the series with these labels, and adds it if it does not exist.
    pub(super) fn place_of(&mut self, labels: Labels, series: &mut Vec<Series>) -> usize {
        // The samples of a series usually follow each other.
        if let Some(last) = series.last()
            && last.labels == labels
        {
            return series.len() - 1;
        }
        let new = series.len();
        let at = |place: usize| series.get(place).map(|series| series.labels.as_slice());
        if let Some(known) = self.enter(&labels, new, at) {
            return known;
        }
        let points = Points::default();
        series.push(Series { labels, points });
        new
    }

    /// Adds labels at this position. Returns the position of equal labels that were added before. An empty label counts as
    /// absent.
    pub(crate) fn enter<'a>(
        &mut self,
        labels: &[(String, String)],
        place: usize,
        at: impl Fn(usize) -> Option<&'a [(String, String)]>,
    ) -> Option<usize> {
        let mut hash = self.hash(labels);
        loop {
            match self.places.entry(hash) {
                Entry::Vacant(free) => {
                    free.insert(place);
                    return None;
                }
                Entry::Occupied(known) => {
                    let known = *known.get();
                    if at(known).is_some_and(|known| filled(known).eq(filled(labels))) {
                        return Some(known);
                    }
                    hash = hash.wrapping_add(1);
                }
            }
        }
    }

    /// Returns the position of equal labels, if they were added.
    pub(crate) fn find<'a>(
        &self,
        labels: &[(String, String)],
        at: impl Fn(usize) -> Option<&'a [(String, String)]>,
    ) -> Option<usize> {
        let mut hash = self.hash(labels);
        while let Some(known) = self.places.get(&hash) {
            if at(*known).is_some_and(|known| filled(known).eq(filled(labels))) {
                return Some(*known);
            }
            hash = hash.wrapping_add(1);
        }
        None
    }

    fn hash(&self, labels: &[(String, String)]) -> u64 {
        let mut hasher = self.hashes.build_hasher();
        filled(labels).for_each(|label| label.hash(&mut hasher));
        hasher.finish()
    }
}

/// The labels that are not empty.
fn filled(labels: &[(String, String)]) -> impl Iterator<Item = &(String, String)> {
    labels.iter().filter(|(_, value)| !value.is_empty())
}
