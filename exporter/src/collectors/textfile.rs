//! `textfile`: metrics that other programs leave in files.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::reader::{Points, Series, TextFamily, parse};
use crate::exposition::{Exposition, Family, MetricKind};
use crate::sources::Deadline;

const DIRECTORY: &str = "collector.textfile.directory";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "textfile",
    default_enabled: true,
    summary: "Metrics that other programs leave in *.prom files.",
    options: &[OptionSpec::texts(
        DIRECTORY,
        "Directory of *.prom files to read; may have wildcards, and may be given several times.",
    )],
    build,
};

struct Textfile {
    directories: Vec<String>,
    /// What was wrong at the last scrape: it is logged when it changes, not every time.
    problems: Vec<String>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Textfile {
        directories: context.texts(DIRECTORY).map(str::to_owned).collect(),
        problems: Vec::new(),
    }))
}

impl Collector for Textfile {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut gathered = Gathered::default();
        for directory in self.directories.iter().flat_map(|pattern| expand(pattern)) {
            gathered.read_directory(&directory);
        }
        gathered.write(out);
        if self.problems != gathered.problems {
            for problem in &gathered.problems {
                tracing::error!(collector = "textfile", error = %problem, "text file not shown as it is");
            }
            self.problems = gathered.problems;
        }
        Ok(())
    }
}

/// The directories that match. What matches nothing is taken for a name, so that its absence is noticed.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let found = glob::glob(pattern).into_iter().flatten();
    let mut found: Vec<PathBuf> = found.flatten().collect();
    if found.is_empty() {
        found.push(pattern.into());
    }
    found
}

/// What all files together hold.
#[derive(Default)]
struct Gathered {
    families: BTreeMap<String, Merged>,
    /// The files that were read, and when each was last written, in whole seconds since the epoch.
    written: BTreeMap<PathBuf, u64>,
    /// The same by device and inode: several directories, patterns and links may lead to one file.
    seen: BTreeSet<(u64, u64)>,
    problems: Vec<String>,
}

/// A family, perhaps from several files.
struct Merged {
    help: Option<String>,
    kind: MetricKind,
    files: Vec<String>,
    series: Vec<Series>,
}

impl Gathered {
    fn read_directory(&mut self, directory: &Path) {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                let problem = format!("cannot read the directory {}: {error}", directory.display());
                return self.problems.push(problem);
            }
        };
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_name().as_bytes().ends_with(b".prom"))
            .map(|entry| entry.path())
            .collect();
        files.sort_unstable();
        for file in files {
            let identity = std::fs::metadata(&file).map(|found| (found.dev(), found.ino()));
            if identity.is_ok_and(|identity| !self.seen.insert(identity)) {
                continue;
            }
            match read_file(&file) {
                Ok((seconds, families)) => {
                    for family in families {
                        self.merge(family, &file);
                    }
                    self.written.insert(file, seconds);
                }
                Err(problem) => self.problems.push(format!("{}: {problem}", file.display())),
            }
        }
    }

    /// Adds a family to what earlier files said under the same name. One that contradicts them is left out.
    fn merge(&mut self, mut family: TextFamily, file: &Path) {
        fill_labels(&mut family);
        let file = file.display().to_string();
        let Some(known) = self.families.get_mut(&family.name) else {
            let merged = Merged {
                help: family.help,
                kind: family.kind,
                files: vec![file],
                series: family.series,
            };
            self.families.insert(family.name, merged);
            return;
        };
        let contradicts =
            known.help.is_some() && family.help.is_some() && known.help != family.help;
        if contradicts || known.kind != family.kind {
            let (name, first) = (&family.name, known.files.join(", "));
            let problem = format!("{file}: {name} has another help text or type than in {first}");
            return self.problems.push(problem);
        }
        known.help = known.help.take().or(family.help);
        known.files.push(file);
        known.series.extend(family.series);
    }

    fn write(&mut self, out: &mut Exposition) {
        for (name, family) in &mut self.families {
            family.series.sort_by(|a, b| order(a).cmp(&order(b)));
            let all = family.series.len();
            family
                .series
                .dedup_by(|later, first| later.labels == first.labels);
            if family.series.len() < all {
                let files = family.files.join(", ");
                self.problems
                    .push(format!("{files}: {name} has samples with the same labels"));
            }
            write_family(name, family, out);
        }
        let help = "When the text file was last written, in seconds since the epoch.";
        let name = "node_textfile_mtime_seconds";
        let mut written = out.family(&[name], &[help], MetricKind::Gauge);
        for (file, seconds) in &self.written {
            written.sample(&[("file", file.as_os_str().as_bytes())], *seconds);
        }
        drop(written);
        let help = "Whether a text file could not be shown as it is.";
        out.family(&["node_textfile_scrape_error"], &[help], MetricKind::Gauge)
            .sample(&[], u64::from(!self.problems.is_empty()));
    }
}

/// A file's families, and when it was written.
fn read_file(path: &Path) -> Result<(u64, Vec<TextFamily>), String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?;
    let families = parse(&text).map_err(|error| error.to_string())?;
    let written = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let written = written.map_err(|error| format!("its time cannot be read: {error}"))?;
    let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((since.as_secs(), families))
}

/// Gives every series of the family the same labels, those that it lacks empty.
fn fill_labels(family: &mut TextFamily) {
    let labels = family.series.iter().flat_map(|series| &series.labels);
    let mut names: Vec<String> = labels.map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    for series in &mut family.series {
        for name in &names {
            if !series.labels.iter().any(|(label, _)| label == name) {
                series.labels.push((name.clone(), String::new()));
            }
        }
        series.labels.sort_unstable();
    }
}

/// Series with fewer labels first, then by the values of the labels.
fn order(series: &Series) -> (usize, Vec<&str>) {
    let values = series.labels.iter().map(|(_, value)| value.as_str());
    (series.labels.len(), values.collect())
}

fn write_family(name: &str, family: &Merged, out: &mut Exposition) {
    let files = family.files.join(", ");
    let help = match &family.help {
        Some(help) => [help.as_str(), "", ""],
        None => ["Left in ", &files, "."],
    };
    let mut written = out.family(&[name], &help, family.kind);
    for series in &family.series {
        let labels: Vec<(&str, &[u8])> = series
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        match family.kind {
            MetricKind::Histogram => write_histogram(&labels, &series.points, &mut written),
            MetricKind::Summary => write_summary(&labels, &series.points, &mut written),
            _ => written.sample(&labels, series.points.value),
        }
    }
}

fn write_histogram(labels: &[(&str, &[u8])], points: &Points, out: &mut Family<'_>) {
    let mut buckets = points.parts.clone();
    // The bucket of everything must be there.
    if !buckets.iter().any(|(bound, _)| *bound == f64::INFINITY) {
        buckets.push((f64::INFINITY, points.count));
    }
    write_parts("_bucket", "le", labels, buckets, out);
    out.part("_sum", labels, points.sum);
    out.part("_count", labels, points.count);
}

fn write_summary(labels: &[(&str, &[u8])], points: &Points, out: &mut Family<'_>) {
    write_parts("", "quantile", labels, points.parts.clone(), out);
    out.part("_sum", labels, points.sum);
    out.part("_count", labels, points.count);
}

/// Writes a sample for each bound, in order; the bound's label comes last.
fn write_parts(
    suffix: &str,
    label: &str,
    labels: &[(&str, &[u8])],
    mut parts: Vec<(f64, f64)>,
    out: &mut Family<'_>,
) {
    parts.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    for (bound, value) in parts {
        let mut text = Vec::new();
        crate::exposition::write_float(&mut text, bound);
        let mut labels = labels.to_vec();
        labels.push((label, &text));
        out.part(suffix, &labels, value);
    }
}
