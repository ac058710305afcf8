//! A copy of the captured host in which any file can have any content, and what must still be true of a scrape.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use secure_exporter::collect::Settings;
use secure_exporter::collectors::TABLE;
use secure_exporter::scrape::Registry;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
/// Manifests of crates below the exporter's: their fixtures are the exporter's.
const FIXTURES_FROM_BELOW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");

const TEXT_FILE: &str = "# HELP backup_seconds How long it took.\n# TYPE backup_seconds histogram\n\
    backup_seconds_bucket{job=\"a\\\"b\",le=\"1\"} 2\nbackup_seconds_bucket{job=\"a\\\"b\",le=\"+Inf\"} 3\n\
    backup_seconds_sum{job=\"a\\\"b\"} 4.5e-3\nbackup_seconds_count{job=\"a\\\"b\"} 3\nlast_run 1.7e9\n";
/// What changes with time alone.
const MOVING: [&str; 4] = [
    "node_filesystem_",
    "node_scrape_collector_duration_seconds{",
    "node_textfile_mtime_seconds{",
    "node_time_seconds ",
];
/// Collectors that use system calls, sockets or the message bus, or read a file only once. Their values change on their
/// own, and no file of the host affects them.
pub const READ_NO_FILES: [&str; 11] = [
    "dmi",
    "ethtool",
    "logind",
    "network_route",
    "perf",
    "qdisc",
    "systemd",
    "tcpstat",
    "timex",
    "uname",
    "wifi",
];
/// Collectors that cache more than a new instance can know: the topology of CPUs is only read when a CPU is added or
/// removed, so it survives a broken /proc/stat. The files of the CPUs are read again.
const KEEPS_MORE: [&str; 1] = ["cpu"];

/// The message of the last panic of a collector. The registry catches panics, so a hook records them.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

pub struct HostileHost {
    directory: tempfile::TempDir,
    files: Vec<File>,
    /// One registry for each collector, so that only those run that read the file.
    registries: Vec<Registry>,
}

struct File {
    path: PathBuf,
    original: Vec<u8>,
    /// Positions in `registries`.
    readers: Vec<usize>,
}

impl HostileHost {
    /// Copies the host, and determines which collectors read which of its files: those whose scrape changes with the file.
    pub fn new() -> Self {
        listen_for_panics();
        let directory = tempfile::tempdir().unwrap();
        let fixtures = [FIXTURES, FIXTURES_FROM_BELOW].map(Path::new);
        let fixtures = fixtures.into_iter().find(|path| path.exists()).unwrap();
        let mut paths = Vec::new();
        copy(fixtures, directory.path(), &mut paths);
        paths.sort();
        // The captured host has no text file; other programs write these.
        let textfile = directory.path().join("textfile/one.prom");
        std::fs::create_dir(directory.path().join("textfile")).unwrap();
        std::fs::write(&textfile, TEXT_FILE).unwrap();
        paths.push(textfile);
        let mut registries: Vec<Registry> = TABLE
            .iter()
            .map(|spec| Registry::new(&settings(directory.path(), spec.name)).unwrap())
            .collect();
        let scraped = |registry: &mut Registry| judged(registry, "a collector").unwrap();
        let sound: Vec<BTreeSet<String>> = registries.iter_mut().map(scraped).collect();
        let files = paths.into_iter().filter_map(|path| {
            let original = std::fs::read(&path).unwrap();
            std::fs::write(&path, b"\xff x").unwrap();
            let readers: Vec<usize> = (0..registries.len())
                .filter(|place| !READ_NO_FILES.contains(&TABLE[*place].name))
                .filter(|place| !sound[*place].is_subset(&scraped(&mut registries[*place])))
                .collect();
            std::fs::write(&path, &original).unwrap();
            let file = File {
                path,
                original,
                readers,
            };
            (!file.readers.is_empty()).then_some(file)
        });
        let files = files.collect();
        Self {
            directory,
            files,
            registries,
        }
    }

    /// The number of files that a collector reads.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// The original content of file `place`.
    pub fn original(&self, place: usize) -> &[u8] {
        &self.files[place].original
    }

    /// Decodes a fuzzer's input: two bytes that select a file, followed by edits of its content. An edit consists of its
    /// position (two bytes), the number of removed bytes (one), the number of inserted bytes (one), and the inserted bytes.
    /// `None` if there are too few bytes.
    pub fn input(&self, bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
        let (place, mut edits) = bytes.split_first_chunk::<2>()?;
        let place = usize::from(u16::from_le_bytes(*place)) % self.files.len();
        let mut content = self.files[place].original.clone();
        while let Some(([low, high, gone, come], rest)) = edits.split_first_chunk() {
            let (come, rest) = rest.split_at(usize::from(*come).min(rest.len()));
            let begin = usize::from(u16::from_le_bytes([*low, *high])) % (content.len() + 1);
            let end = (begin + usize::from(*gone)).min(content.len());
            content.splice(begin..end, come.iter().copied());
            edits = rest;
        }
        Some((place, content))
    }

    /// The path of file `place` below the host's root.
    pub fn path(&self, place: usize) -> &Path {
        let path = &self.files[place].path;
        path.strip_prefix(self.directory.path()).unwrap()
    }

    /// What new instances of the collectors show with `content` in file `place`.
    pub fn shown_with(&self, place: usize, content: &[u8]) -> BTreeSet<String> {
        let file = &self.files[place];
        std::fs::write(&file.path, content).unwrap();
        let show = |reader: &usize| {
            let name = TABLE[*reader].name;
            let mut fresh_registry = Registry::new(&settings(self.directory.path(), name)).unwrap();
            judged(&mut fresh_registry, name).unwrap()
        };
        let shown = file.readers.iter().flat_map(show).collect();
        std::fs::write(&file.path, &file.original).unwrap();
        shown
    }

    /// The names of the collectors that read any of the files.
    pub fn collectors(&self) -> BTreeSet<&'static str> {
        let places = self.files.iter().flat_map(|file| &file.readers);
        places.map(|place| TABLE[*place].name).collect()
    }

    /// Scrapes the host with `content` in file `place`, and restores the file.
    ///
    /// # Errors
    /// A collector panicked, the exposition is not well-formed, or it shows something that is no longer in the files.
    pub fn scrape_with(&mut self, place: usize, content: &[u8]) -> Result<(), String> {
        let file = &self.files[place];
        std::fs::write(&file.path, content).unwrap();
        let root = self.directory.path();
        let outcome = file.readers.iter().try_for_each(|reader| {
            let name = TABLE[*reader].name;
            let mut fresh_registry = Registry::new(&settings(root, name)).unwrap();
            let kept = judged(&mut self.registries[*reader], name)?;
            let fresh = judged(&mut fresh_registry, name)?;
            match kept.symmetric_difference(&fresh).next() {
                Some(line) if !KEEPS_MORE.contains(&name) => Err(format!("{name} kept: {line}")),
                _ => Ok(()),
            }
        });
        std::fs::write(&file.path, &file.original).unwrap();
        let name = file.path.strip_prefix(root).unwrap();
        outcome.map_err(|error| {
            let content = content.escape_ascii();
            format!("{error}\n{} held \"{content}\"", name.display())
        })
    }
}

/// Makes one scrape and checks it; returns it without the lines that change with time alone.
fn judged(registry: &mut Registry, collector: &str) -> Result<BTreeSet<String>, String> {
    let mut text = Vec::new();
    registry.scrape(&mut text);
    if let Some(panic) = last_panic().take() {
        return Err(format!("{collector} panicked: {panic}"));
    }
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    well_formed(&text)?;
    let lines = text
        .lines()
        .filter(|line| !MOVING.iter().any(|name| line.starts_with(name)));
    Ok(lines.map(str::to_owned).collect())
}

fn settings(root: &Path, collector: &'static str) -> Settings {
    let names = "kernel.threads-max\nfs.file-nr";
    let mut settings = Settings {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        rootfs: root.join("root"),
        udev_data: root.join("udev"),
        options: [
            ("collector.arp.netlink", "false".into()),
            ("collector.cpu.info.bugs-include", "spectre".into()),
            ("collector.cpu.info.flags-include", "x".into()),
            ("collector.sysctl.include", names.into()),
            (
                "collector.textfile.directory",
                root.join("textfile").display().to_string(),
            ),
        ]
        .into(),
        ..Settings::default()
    };
    settings.enabled = [collector].into();
    settings
}

fn copy(from: &Path, to: &Path, files: &mut Vec<PathBuf>) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target, files);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else {
            // Unlike a copy by the kernel, it continues after it is interrupted by a fuzzer's alarm.
            std::fs::write(&target, std::fs::read(entry.path()).unwrap()).unwrap();
            files.push(target);
        }
    }
}

fn last_panic() -> MutexGuard<'static, Option<String>> {
    PANIC.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Tests that fail panic in their threads.
            if std::thread::current().name() == Some("collect") {
                *last_panic() = Some(panic.to_string());
            }
            before(panic);
        }));
    });
}

/// The rules of the text format that no input may break: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
fn well_formed(text: &str) -> Result<(), String> {
    let mut families = BTreeSet::new();
    for line in text.lines() {
        let good = if let Some(help) = line.strip_prefix("# HELP ") {
            help.split_once(' ').is_some_and(|(name, _)| is_name(name))
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            kind.split_once(' ').is_some_and(|(name, kind)| {
                let known = ["counter", "gauge", "histogram", "summary", "untyped"];
                known.contains(&kind) && families.insert(name)
            })
        } else {
            is_sample(line)
        };
        if !good {
            return Err(format!("not a line of an exposition: {line:?}"));
        }
    }
    Ok(())
}

fn is_sample(line: &str) -> bool {
    let end = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let value = if rest.starts_with('{') {
        labels(rest)
    } else {
        Some(rest)
    };
    let value = value.and_then(|value| value.strip_prefix(' '));
    is_name(name) && value.is_some_and(|value| value.parse::<f64>().is_ok())
}

/// What follows the label set at the beginning of `text`.
fn labels(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('{')?;
    loop {
        let (name, value) = rest.split_once("=\"")?;
        if !is_name(name) {
            return None;
        }
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        rest = value.get(end + 1..)?;
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.strip_prefix('}'),
        }
    }
}

fn is_name(name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.starts_with(|c: char| part(c) && !c.is_ascii_digit()) && name.chars().all(part)
}
