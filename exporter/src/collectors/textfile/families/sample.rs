//! The lines of which a family consists.

use crate::exposition::reader::{Labels, Series, TextFamily};
use crate::exposition::{MetricKind, write_float};

/// One line.
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) value: f64,
}

/// The samples of a family, a line each.
pub(super) fn samples(family: TextFamily) -> Vec<Sample> {
    let TextFamily {
        name, kind, series, ..
    } = family;
    series
        .into_iter()
        .flat_map(|series| samples_of(&name, kind, series))
        .collect()
}

fn samples_of(name: &str, kind: MetricKind, series: Series) -> Vec<Sample> {
    let Series { labels, points } = series;
    let Some(part_label) = kind.part_label() else {
        return vec![Sample {
            name: name.to_owned(),
            labels,
            value: points.value,
        }];
    };
    let suffix = match kind {
        MetricKind::Histogram => "_bucket",
        _ => "",
    };
    let sample = |suffix: &str, labels, value| Sample {
        name: format!("{name}{suffix}"),
        labels,
        value,
    };
    let parts = points.parts.iter().map(|(bound, value)| {
        let mut labels = labels.clone();
        labels.push((part_label.to_owned(), bound_text(*bound)));
        sample(suffix, labels, *value)
    });
    let mut samples: Vec<Sample> = parts.collect();
    samples.push(sample("_sum", labels.clone(), points.sum()));
    samples.push(sample("_count", labels.clone(), points.count()));
    samples
}

/// A bound as it is written.
pub(super) fn bound_text(bound: f64) -> String {
    let mut text = Vec::new();
    write_float(&mut text, bound);
    String::from_utf8_lossy(&text).into_owned()
}

/// A series in readable form, limited in length for the log.
pub(super) fn show(name: &str, labels: &Labels) -> String {
    const MAX_CHARACTERS: usize = 200;
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    let series = match pairs.is_empty() {
        true => name.to_owned(),
        false => format!("{name}{{{}}}", pairs.join(",")),
    };
    match series.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", series.get(..end).unwrap_or_default()),
        None => series,
    }
}
