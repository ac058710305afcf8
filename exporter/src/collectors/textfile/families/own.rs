//! The exporter's own metrics in this scrape.

use crate::exposition::reader::{Labels, parse};
use crate::exposition::{Exposition, MetricKind, WrittenFamily};

/// The exporter's own families, ordered by name.
pub(super) struct Own<'a> {
    families: Vec<WrittenFamily<'a>>,
}

impl<'a> Own<'a> {
    pub(super) fn of(parts: impl Iterator<Item = &'a Exposition>) -> Self {
        let mut families: Vec<WrittenFamily<'a>> = parts.flat_map(Exposition::families).collect();
        families.sort_by_key(|family| family.name);
        Self { families }
    }

    pub(super) fn kind(&self, name: &str) -> Option<MetricKind> {
        self.named(name).first().map(|family| family.kind)
    }

    /// Everything written under this name, possibly by several collectors.
    pub(super) fn named(&self, name: &str) -> &[WrittenFamily<'a>] {
        let begin = self.families.partition_point(|family| family.name < name);
        let from = self.families.get(begin..).unwrap_or_default();
        let count = from.partition_point(|family| family.name == name);
        from.get(..count).unwrap_or_default()
    }
}

/// The labels of each sample, as they were written.
pub(super) fn labels_of(family: &WrittenFamily<'_>) -> impl Iterator<Item = Labels> {
    // It is not a comment, so the family has no type, and each sample is a series.
    let families = parse(family.samples).unwrap_or_default();
    families
        .into_iter()
        .flat_map(|family| family.series)
        .map(|series| series.labels)
}
