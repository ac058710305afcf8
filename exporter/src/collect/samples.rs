//! Samples that are gathered per device and written per family.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::path::Path;

use super::collector::CollectError;
use super::device::Device;
use super::skipped::Skipped;
use crate::exposition::{Exposition, MetricKind, Value};

/// Samples of any families in any order. Hardware is read one device at a time, and each device has samples of many
/// families; the exposition needs whole families with ordered samples.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    rows: Vec<Row>,
    /// What could not be read; it does not affect other samples.
    pub(crate) skipped: Skipped,
}

#[derive(Debug)]
struct Row {
    name: Cow<'static, str>,
    help: Cow<'static, str>,
    kind: MetricKind,
    labels: Vec<(&'static str, Vec<u8>)>,
    value: Value,
}

/// Gathers samples and writes them, including those gathered before an error. Skipped parts are an error as well, unless
/// there is a worse one.
pub(crate) fn gather(
    out: &mut Exposition,
    fill: impl FnOnce(&mut Samples) -> Result<(), CollectError>,
) -> Result<(), CollectError> {
    let mut samples = Samples::default();
    let result = fill(&mut samples);
    let skipped = std::mem::take(&mut samples.skipped);
    samples.write(out);
    result.and(skipped.result())
}

impl Samples {
    /// Adds the samples of a device that was listed before. A device that is gone or disappears while it is read has no
    /// samples, so that an unreadable value does not become a zero or an empty label.
    pub(crate) fn device(
        &mut self,
        path: &Path,
        add: impl FnOnce(&mut Device, &mut Self) -> Result<(), CollectError>,
    ) {
        let Some(Some(mut device)) = self.skipped.part(Device::open_listed(path)) else {
            return;
        };
        let before = self.rows.len();
        let added = add(&mut device, self);
        if device.has_vanished() {
            self.rows.truncate(before);
        } else {
            self.skipped.part(added);
        }
    }

    /// Adds a sample of a gauge. Labels are name and value, ordered by name.
    pub(crate) fn gauge(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        labels: &[(&'static str, &[u8])],
        value: impl Into<Value>,
    ) {
        self.add(MetricKind::Gauge, name, help, labels, value);
    }

    /// Adds a sample of a counter.
    pub(crate) fn counter(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        labels: &[(&'static str, &[u8])],
        value: impl Into<Value>,
    ) {
        self.add(MetricKind::Counter, name, help, labels, value);
    }

    /// Adds a sample of a family of any kind.
    pub(crate) fn add(
        &mut self,
        kind: MetricKind,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        labels: &[(&'static str, &[u8])],
        value: impl Into<Value>,
    ) {
        self.rows.push(Row {
            name: name.into(),
            help: help.into(),
            kind,
            labels: labels
                .iter()
                .map(|(name, value)| (*name, value.to_vec()))
                .collect(),
            value: value.into(),
        });
    }

    /// Writes the families. Only the first of several samples with the same name and labels is kept, because duplicates
    /// would make the whole scrape invalid.
    fn write(mut self, out: &mut Exposition) {
        self.rows.sort_by(order);
        self.rows
            .dedup_by(|later, first| later.name == first.name && later.labels == first.labels);
        for family in self.rows.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = family.first() else {
                continue;
            };
            let mut written = out.family(&[&first.name], &[&first.help], first.kind);
            for row in family {
                let labels: Vec<(&str, &[u8])> = row
                    .labels
                    .iter()
                    .map(|(name, value)| (*name, value.as_slice()))
                    .collect();
                written.sample(&labels, row.value);
            }
        }
    }
}

/// Turns a kernel name into a part of a metric name: each run of other characters, including the underscores around it,
/// becomes one underscore.
pub(crate) fn metric_name(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut name = String::with_capacity(text.len());
    let mut replaced = false;
    for character in text.chars() {
        if !allowed(character) {
            name.truncate(name.trim_end_matches('_').len());
            name.push('_');
            replaced = true;
        } else if character != '_' || !replaced {
            name.push(character);
            replaced = false;
        }
    }
    name
}

/// Families by name; within a family, samples with fewer labels come first, then the values of the labels decide.
fn order(a: &Row, b: &Row) -> Ordering {
    a.name
        .cmp(&b.name)
        .then_with(|| a.labels.len().cmp(&b.labels.len()))
        .then_with(|| {
            let (a, b) = (a.labels.iter(), b.labels.iter());
            a.map(|(_, value)| value).cmp(b.map(|(_, value)| value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_kernel_become_parts_of_names() {
        for (text, name) in [
            ("package-0-die-1", "package_0_die_1"),
            ("fs.file-nr", "fs_file_nr"),
            ("psys (all)_x", "psys_all_x"),
            ("a_-_b__c", "a_b__c"),
        ] {
            assert_eq!(metric_name(text), name);
        }
    }

    #[test]
    fn families_are_whole_ordered_and_without_doubles() {
        let mut out = Exposition::default();
        let result = gather(&mut out, |samples| {
            samples.gauge("node_b", "B.", &[("x", b"2")], 1);
            samples.counter("node_a", "A.", &[("x", b"1")], 2);
            samples.gauge("node_b", "B.", &[("x", b"1"), ("y", b"")], 3);
            samples.gauge("node_b", "B.", &[("x", b"10")], 4);
            samples.gauge("node_b", "B.", &[("x", b"2")], 5);
            Err(CollectError::malformed("f", b"l"))
        });
        assert!(result.is_err());
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "# HELP node_a A.\n# TYPE node_a counter\nnode_a{x=\"1\"} 2\n# HELP node_b B.\n# TYPE node_b gauge\n\
             node_b{x=\"10\"} 4\nnode_b{x=\"2\"} 1\nnode_b{x=\"1\",y=\"\"} 3\n"
        );
    }
}
