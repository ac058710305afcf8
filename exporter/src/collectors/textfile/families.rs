//! The contents of all text files together, each series once.
//!
//! The rule is that of the consistency check in Prometheus' client library: no two samples of one scrape may have the same
//! name and labels, and no metric may have the name of a part of another one. The exporter's own metrics come first, then
//! the files in their order. A sample that repeats another one is left out; everything else is shown.

mod merged;
mod own;
mod sample;

use std::collections::BTreeMap;
use std::path::Path;

use self::merged::Merged;
use self::own::Own;
use self::sample::{Sample, samples, show};
use crate::exposition::reader::{Series, TextFamily};
use crate::exposition::{Exposition, MetricKind};

/// The names of samples that belong to a histogram or summary.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The families of all files.
pub(super) struct Families<'a> {
    own: Own<'a>,
    families: BTreeMap<String, Merged>,
    files: Vec<String>,
    repeats: BTreeMap<(usize, String), Repeat>,
    problems: Vec<String>,
}

/// Samples of a family in one file that duplicate earlier ones.
struct Repeat {
    first: String,
    count: usize,
    before: Option<usize>,
}

impl<'a> Families<'a> {
    /// Creates an empty collection next to the exporter's own metrics.
    pub(super) fn beside(own: impl Iterator<Item = &'a Exposition>) -> Self {
        Self {
            own: Own::of(own),
            families: BTreeMap::new(),
            files: Vec::new(),
            repeats: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Adds the content of a file.
    pub(super) fn add_file(&mut self, path: &Path, families: Vec<TextFamily>) {
        let file = self.files.len();
        self.files.push(path.display().to_string());
        for family in families {
            match self.collision(&family) {
                Some(name) => self.scatter(file, family, &name),
                None => self.add(file, family),
            }
        }
    }

    /// Returns what could not be shown unchanged.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        for ((file, _), repeat) in &self.repeats {
            let Repeat { first, count, .. } = repeat;
            let before = match repeat.before {
                None => "the exporter's own metrics".to_owned(),
                Some(before) if before == *file => "the file itself".to_owned(),
                Some(before) => self.name_of(before).to_owned(),
            };
            let more = match count {
                1 => String::new(),
                _ => format!(" ({count} such samples in total)"),
            };
            let file = self.name_of(*file);
            problems.push(format!(
                "{file}: left out {first}, which is already in {before}{more}"
            ));
        }
        problems
    }

    /// Writes all families.
    pub(super) fn write(self, out: &mut Exposition) {
        for (name, family) in self.families {
            family.write(&name, &self.files, out);
        }
    }

    /// Returns the name that samples of this family share with a different family, either of the exporter itself or of an
    /// earlier file.
    fn collision(&self, family: &TextFamily) -> Option<String> {
        let TextFamily { name, kind, .. } = family;
        if let Some(own) = self.own.kind(name)
            && (own.part_label().is_some() || kind.part_label().is_some())
        {
            return Some(name.clone());
        }
        if self.families.contains_key(name) {
            return None;
        }
        if let Some((whole, _)) = self.whole(name) {
            return Some(whole.to_owned());
        }
        SUFFIXES
            .iter()
            .filter(|suffix| kind.has_suffix(suffix))
            .map(|suffix| format!("{name}{suffix}"))
            .find(|part| self.own.kind(part).is_some() || self.families.contains_key(part))
    }

    /// Returns the histogram or summary to which a sample of this name belongs, and the suffix of its name.
    fn whole<'b>(&self, name: &'b str) -> Option<(&'b str, &'static str)> {
        SUFFIXES.into_iter().find_map(|suffix| {
            let whole = name.strip_suffix(suffix)?;
            let kind = self.families.get(whole)?.kind();
            kind.has_suffix(suffix).then_some((whole, suffix))
        })
    }

    /// Adds a family to the one with the same name. A family that contradicts other files is left out, as in node_exporter.
    fn add(&mut self, file: usize, mut family: TextFamily) {
        fill_labels(&mut family);
        let name = family.name.clone();
        let known = self.merged(&name, family.kind);
        if let Some(first) = known.first_file()
            && known.contradicts(&family)
        {
            let problem = format!(
                "{}: {name} has a different help text or type than in {}",
                self.name_of(file),
                self.name_of(first)
            );
            return self.problems.push(problem);
        }
        let is_other_type = known.is_own() && family.is_declared && known.kind() != family.kind;
        let repeats = known.add(file, family);
        for (series, before) in repeats {
            self.note(file, &name, series, before);
        }
        if is_other_type {
            let file = self.name_of(file);
            self.problems.push(format!(
                "{file}: {name} has a different type than in the exporter's own metrics"
            ));
        }
    }

    /// Adds the samples of a family individually, each to the family of its own name, without the type, which cannot be
    /// kept.
    fn scatter(&mut self, file: usize, family: TextFamily, other: &str) {
        let path = self.name_of(file);
        self.problems.push(format!(
            "{path}: samples of {} have the same names as samples of {other}: their type is left out",
            family.name
        ));
        for sample in samples(family) {
            self.add_sample(file, sample);
        }
    }

    fn add_sample(&mut self, file: usize, sample: Sample) {
        let Sample {
            name,
            mut labels,
            value,
        } = sample;
        labels.sort_unstable();
        let shown = show(&name, &labels);
        let repeated = match self.whole(&name) {
            Some((whole, suffix)) if !self.families.contains_key(&name) => {
                let whole = whole.to_owned();
                self.merged(&whole, MetricKind::Untyped)
                    .add_part(file, suffix, labels, value)
            }
            _ => self
                .merged(&name, MetricKind::Untyped)
                .add_part(file, "", labels, value),
        };
        if let Some(before) = repeated {
            self.note(file, &name, shown, before);
        }
    }

    /// Returns the family of this name. A new one has this type, unless the exporter itself has a family of this name.
    fn merged(&mut self, name: &str, kind: MetricKind) -> &mut Merged {
        let own = &self.own;
        self.families
            .entry(name.to_owned())
            .or_insert_with(|| Merged::new(kind, own.named(name)))
    }

    fn note(&mut self, file: usize, family: &str, series: String, before: Option<usize>) {
        let repeat = self
            .repeats
            .entry((file, family.to_owned()))
            .or_insert_with(|| Repeat {
                first: series,
                count: 0,
                before,
            });
        repeat.count += 1;
    }

    fn name_of(&self, file: usize) -> &str {
        self.files.get(file).map_or("", String::as_str)
    }
}

/// Gives every series of the family the same labels by adding empty ones, as in node_exporter. This is not done if it would
/// multiply the number of labels, because an empty label means nothing.
fn fill_labels(family: &mut TextFamily) {
    const MAX_GROWTH: usize = 16;
    let mut names: Vec<String> = Vec::new();
    let mut last: &[(String, String)] = &[];
    for Series { labels, .. } in &family.series {
        let same = |((a, _), (b, _)): (&(String, String), &(String, String))| a == b;
        if labels.len() != last.len() || !labels.iter().zip(last).all(same) {
            names.extend(labels.iter().map(|(name, _)| name.clone()));
            last = labels;
        }
    }
    names.sort_unstable();
    names.dedup();
    let written: usize = family
        .series
        .iter()
        .map(|series| series.labels.len() + 1)
        .sum();
    if names.len() * family.series.len() > MAX_GROWTH * written {
        return;
    }
    for series in &mut family.series {
        if series.labels.len() == names.len() {
            continue;
        }
        let mut labels = std::mem::take(&mut series.labels).into_iter().peekable();
        let fill = |name: &String| {
            let known = labels.next_if(|(label, _)| label == name);
            known.unwrap_or_else(|| (name.clone(), String::new()))
        };
        series.labels = names.iter().map(fill).collect();
    }
}
