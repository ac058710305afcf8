//! `textfile`: metrics that other programs write to files.

mod families;
mod file;
mod glob;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use self::families::Families;
use self::file::MAX_FILE_BYTES;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::reader::TextFamily;
use crate::exposition::{Exposition, MetricKind};
use crate::sources::Deadline;

const DIRECTORY: &str = "collector.textfile.directory";
/// Maximum number of problems that are logged per scrape.
const MAX_LOGGED: usize = 100;
/// After this many scrapes without a problem it is logged again.
const FORGOTTEN_AFTER: u64 = 100;

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "textfile",
    default_enabled: true,
    summary: "Metrics that other programs write to *.prom files.",
    options: &[
        OptionSpec::texts(
            DIRECTORY,
            "Directory of *.prom files to read; may contain wildcards and may be repeated.",
        ),
        OptionSpec::number(
            MAX_FILE_BYTES,
            "67108864",
            "Maximum size of a *.prom file in bytes; larger files are not shown.",
        ),
    ],
    build,
};

struct Textfile {
    directories: Vec<String>,
    max_file_bytes: u64,
    /// What this scrape has read so far.
    read: Option<ReadFiles>,
    reported: Reported,
}

/// What the files of one scrape hold.
#[derive(Default)]
struct ReadFiles {
    files: Vec<(PathBuf, Vec<TextFamily>)>,
    /// When each file was last modified, in whole seconds since the epoch.
    written: BTreeMap<PathBuf, u64>,
    /// The files by device and inode, because several directories, patterns and links may lead to one file.
    seen: BTreeSet<(u64, u64)>,
    problems: Vec<String>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Textfile {
        directories: context.texts(DIRECTORY).map(str::to_owned).collect(),
        max_file_bytes: context.number(MAX_FILE_BYTES)?,
        read: None,
        reported: Reported::default(),
    }))
}

impl Collector for Textfile {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        self.read = None;
        let mut read = ReadFiles::default();
        for directory in self.directories.iter().flat_map(|pattern| expand(pattern)) {
            read.add_directory(&directory, self.max_file_bytes);
        }
        let help = "Modification time of the text file, in seconds since the epoch.";
        let name = "node_textfile_mtime_seconds";
        let mut written = out.family(&[name], &[help], MetricKind::Gauge);
        for (file, seconds) in &read.written {
            written.sample(&[("file", file.as_os_str().as_bytes())], *seconds);
        }
        drop(written);
        self.read = Some(read);
        Ok(())
    }

    fn add_foreign(&mut self, own: &[&Exposition], out: &mut Exposition) {
        let Some(ReadFiles {
            files,
            mut problems,
            ..
        }) = self.read.take()
        else {
            return;
        };
        // A file may contain this one as well.
        let mut about = Exposition::default();
        write_error(false, &mut about);
        let mut families = Families::beside(own.iter().copied().chain([&about]));
        for (file, read) in files {
            families.add_file(&file, read);
        }
        problems.extend(families.problems());
        write_error(!problems.is_empty(), out);
        families.write(out);
        self.reported.report(&problems);
    }
}

fn write_error(is_wrong: bool, out: &mut Exposition) {
    let help = "Whether a text file could not be read or could not be exposed unchanged.";
    out.family(&["node_textfile_scrape_error"], &[help], MetricKind::Gauge)
        .sample(&[], u64::from(is_wrong));
}

/// The directories that match. A pattern without a match is used as a name, so that its absence is reported.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut found = glob::glob(pattern).unwrap_or_default();
    if found.is_empty() {
        found.push(pattern.into());
    }
    found
}

impl ReadFiles {
    fn add_directory(&mut self, directory: &Path, max_file_bytes: u64) {
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
        for path in files {
            let identity = std::fs::metadata(&path).map(|found| (found.dev(), found.ino()));
            if identity.is_ok_and(|identity| !self.seen.insert(identity)) {
                continue;
            }
            match file::read(&path, max_file_bytes) {
                Ok(file::TextFile { written, families }) => {
                    self.written.insert(path.clone(), written);
                    self.files.push((path, families));
                }
                Err(error) => self.problems.push(format!("{}: {error}", path.display())),
            }
        }
    }
}

/// The problems that were logged, each with the number of the scrape in which it last occurred: a problem is logged when it
/// first occurs, not every time.
#[derive(Default)]
struct Reported {
    scrapes: u64,
    problems: HashMap<String, u64>,
}

impl Reported {
    fn report(&mut self, problems: &[String]) {
        self.scrapes += 1;
        // A scrape with selected collectors does not have the problems of others.
        let oldest = self.scrapes.saturating_sub(FORGOTTEN_AFTER);
        self.problems.retain(|_, last| *last >= oldest);
        for problem in problems.iter().take(MAX_LOGGED) {
            if self
                .problems
                .insert(problem.clone(), self.scrapes)
                .is_none()
            {
                tracing::error!(collector = "textfile", error = %problem, "text file not shown unchanged");
            }
        }
    }
}
