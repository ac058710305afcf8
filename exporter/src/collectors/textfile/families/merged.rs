//! A family that may come from several files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::own::labels_of;
use super::sample::{bound_text, show};
use crate::exposition::reader::{Labels, Points, Series, SeriesIndex, TextFamily};
use crate::exposition::{Exposition, Family, MetricKind, WrittenFamily};

/// All series under one name.
pub(super) struct Merged {
    help: Option<String>,
    kind: MetricKind,
    /// Whether the exporter itself has such a family, and therefore describes it.
    is_own: bool,
    files: Vec<usize>,
    series: Vec<Placed>,
    index: SeriesIndex,
    /// Samples that have the name of a part of this family, but belong to another one.
    loose: Vec<Loose>,
    /// The file of each of them, by suffix and labels.
    loose_files: HashMap<(&'static str, Labels), usize>,
}

/// A series and its file; the exporter's own are known, but not written again.
struct Placed {
    file: Option<usize>,
    series: Series,
}

struct Loose {
    suffix: &'static str,
    labels: Labels,
    value: f64,
}

impl Merged {
    pub(super) fn new(kind: MetricKind, own: &[WrittenFamily<'_>]) -> Self {
        let mut merged = Self {
            help: None,
            kind: own.first().map_or(kind, |own| own.kind),
            is_own: !own.is_empty(),
            files: Vec::new(),
            series: Vec::new(),
            index: SeriesIndex::default(),
            loose: Vec::new(),
            loose_files: HashMap::new(),
        };
        for labels in own.iter().flat_map(labels_of) {
            let points = Points::default();
            merged.place(None, Series { labels, points });
        }
        merged
    }

    pub(super) fn kind(&self) -> MetricKind {
        self.kind
    }

    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// The first file with the family, if the exporter itself does not have it.
    pub(super) fn first_file(&self) -> Option<usize> {
        self.files.first().copied().filter(|_| !self.is_own)
    }

    pub(super) fn contradicts(&self, family: &TextFamily) -> bool {
        let both = self.help.is_some() && family.help.is_some();
        self.kind != family.kind || (both && self.help != family.help)
    }

    /// Adds the series of a file. Returns the duplicate ones, each with the file that had it first, or `None` if that was
    /// the exporter.
    pub(super) fn add(&mut self, file: usize, family: TextFamily) -> Vec<(String, Option<usize>)> {
        let mut repeats = Vec::new();
        self.help = self.help.take().or(family.help);
        self.files.push(file);
        self.series.reserve(family.series.len());
        for mut series in family.series {
            if let Some(suffix) = series.points.repeated {
                let name = format!("{}{suffix}", family.name);
                repeats.push((show(&name, &series.labels), Some(file)));
            }
            for bound in order_parts(&mut series.points) {
                let mut labels = series.labels.clone();
                let label = self.kind.part_label().unwrap_or_default();
                labels.push((label.to_owned(), bound_text(bound)));
                repeats.push((show(&family.name, &labels), Some(file)));
            }
            if let Some((before, series)) = self.place(Some(file), series) {
                repeats.push((show(&family.name, &series.labels), before));
            }
        }
        repeats
    }

    /// Adds a sample that has the name of the family and this suffix. Returns the file that had it before, if there is one.
    pub(super) fn add_part(
        &mut self,
        file: usize,
        suffix: &'static str,
        labels: Labels,
        value: f64,
    ) -> Option<Option<usize>> {
        if self.kind.part_label().is_none() {
            if self.files.last() != Some(&file) {
                self.files.push(file);
            }
            let points = Points::of(value);
            let repeated = self.place(Some(file), Series { labels, points });
            return repeated.map(|(before, _)| before);
        }
        if let Some(before) = self.holder_of(suffix, &labels) {
            return Some(before);
        }
        match self.loose_files.entry((suffix, labels.clone())) {
            Entry::Occupied(before) => return Some(Some(*before.get())),
            Entry::Vacant(free) => free.insert(file),
        };
        self.loose.push(Loose {
            suffix,
            labels,
            value,
        });
        None
    }

    /// Returns where this sample of a histogram or summary comes from.
    fn holder_of(&self, suffix: &str, labels: &Labels) -> Option<Option<usize>> {
        let part_label = self.kind.part_label()?;
        let is_bound = |(name, _): &&(String, String)| name == part_label;
        let bound: Option<f64> = labels
            .iter()
            .find(is_bound)
            .and_then(|(_, bound)| bound.parse().ok());
        let rest = labels.iter().filter(|label| !is_bound(label));
        let rest: Labels = rest.cloned().collect();
        let place = self.index.find(&rest, |place| self.labels_at(place))?;
        let Placed { file, series } = self.series.get(place)?;
        let parts = &series.points.parts;
        let has = match (suffix, bound) {
            ("_sum" | "_count", _) => true,
            // The bucket with the bound +Inf is always written.
            (_, Some(bound)) if self.kind == MetricKind::Histogram && bound == f64::INFINITY => {
                true
            }
            (_, Some(bound)) => parts
                .binary_search_by(|(known, _)| known.total_cmp(&bound))
                .is_ok(),
            (_, None) => false,
        };
        has.then_some(*file)
    }

    /// Adds a series, unless there is one with the same labels; it is then returned with the file of that one.
    fn place(&mut self, file: Option<usize>, series: Series) -> Option<(Option<usize>, Series)> {
        let place = self.series.len();
        let placed = &self.series;
        let at = |place: usize| Some(placed.get(place)?.series.labels.as_slice());
        if let Some(known) = self.index.enter(&series.labels, place, at) {
            let before = self.series.get(known).and_then(|placed| placed.file);
            return Some((before, series));
        }
        self.series.push(Placed { file, series });
        None
    }

    fn labels_at(&self, place: usize) -> Option<&[(String, String)]> {
        Some(self.series.get(place)?.series.labels.as_slice())
    }

    pub(super) fn write(mut self, name: &str, files: &[String], out: &mut Exposition) {
        self.series.retain(|placed| placed.file.is_some());
        // Series with fewer labels first, then ordered by the values of the labels, as in node_exporter.
        self.series.sort_by(|a, b| {
            let (a, b) = (&a.series.labels, &b.series.labels);
            let values = a.iter().map(|(_, value)| value);
            let by_value = || values.cmp(b.iter().map(|(_, value)| value));
            a.len().cmp(&b.len()).then_with(by_value)
        });
        let files: Vec<&str> = self
            .files
            .iter()
            .filter_map(|file| files.get(*file).map(String::as_str))
            .collect();
        let files = files.join(", ");
        let help = match &self.help {
            Some(help) => [help.as_str(), "", ""],
            None => ["Left in ", &files, "."],
        };
        let mut written = out.family(&[name], &help, self.kind);
        let mut pairs: Vec<(&str, &[u8])> = Vec::new();
        for Placed { series, .. } in &self.series {
            pairs.clear();
            pairs.extend(series.labels.iter().map(borrowed));
            write_series(self.kind, &mut pairs, &series.points, &mut written);
        }
        for loose in &self.loose {
            pairs.clear();
            pairs.extend(loose.labels.iter().map(borrowed));
            written.part(loose.suffix, &pairs, loose.value);
        }
    }
}

fn borrowed((name, value): &(String, String)) -> (&str, &[u8]) {
    (name, value.as_bytes())
}

/// Orders buckets or quantiles by their bounds and keeps the first of each. Returns the duplicate bounds.
fn order_parts(points: &mut Points) -> Vec<f64> {
    let mut repeated = Vec::new();
    points.parts.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    points.parts.dedup_by(|(later, _), (first, _)| {
        let is_same = later == first;
        if is_same {
            repeated.push(*later);
        }
        is_same
    });
    repeated
}

fn write_series<'a>(
    kind: MetricKind,
    labels: &mut Vec<(&'a str, &'a [u8])>,
    points: &Points,
    out: &mut Family<'_>,
) {
    let Some(part_label) = kind.part_label() else {
        return out.sample(labels, points.value);
    };
    let suffix = match kind {
        MetricKind::Histogram => "_bucket",
        _ => "",
    };
    // The bucket with the bound +Inf must exist.
    let is_complete = points
        .parts
        .last()
        .is_some_and(|(bound, _)| *bound == f64::INFINITY);
    let everything =
        (kind == MetricKind::Histogram && !is_complete).then_some((f64::INFINITY, points.count()));
    for (bound, value) in points.parts.iter().copied().chain(everything) {
        let text = bound_text(bound);
        // The bound's label comes last.
        let labels = [labels.as_slice(), &[(part_label, text.as_bytes())]].concat();
        out.part(suffix, &labels, value);
    }
    out.part("_sum", labels, points.sum());
    out.part("_count", labels, points.count());
}
