//! `lnstat`: counters of the caches of the network stack, from the files in `/proc/net/stat`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, list_files, parse_hex};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "lnstat",
    default_enabled: false,
    summary: "Caches of the network stack, from /proc/net/stat.",
    options: &[],
    build,
};

const DIRECTORY: &str = "net/stat";

struct Lnstat {
    directory: PathBuf,
    /// The files of the last scrape by name.
    files: BTreeMap<Vec<u8>, KeptFile>,
}

/// By column: the samples as CPU, file and count.
type Columns = BTreeMap<String, Vec<(String, Vec<u8>, u64)>>;

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Lnstat {
        directory: context.procfs(DIRECTORY),
        files: BTreeMap::new(),
    }))
}

impl Collector for Lnstat {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = match list_files(&self.directory) {
            Ok(names) => names,
            // The kernel has no such caches.
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.files.retain(|name, _| names.contains(name));
        let mut columns = Columns::new();
        let mut skipped = Skipped::default();
        for name in names {
            let path = self.directory.join(OsStr::from_bytes(&name));
            let file = self.files.entry(name.clone());
            let file = file.or_insert_with(|| KeptFile::new(path));
            let bytes = skipped.part(file.read()).unwrap_or_default();
            parse(bytes, &name, &mut columns, &mut skipped);
        }
        for (column, mut rows) in columns {
            rows.sort_unstable();
            let mut family = out.family(
                &["node_lnstat_", &column, "_total"],
                &["Column ", &column, " of the files in /proc/net/stat."],
                MetricKind::Counter,
            );
            for (cpu, name, count) in &rows {
                family.sample(&[("cpu", cpu.as_bytes()), ("subsystem", name)], *count);
            }
        }
        skipped.result()
    }
}

/// A line of headings, followed by a line of hexadecimal numbers for each CPU.
fn parse(bytes: &[u8], name: &[u8], columns: &mut Columns, skipped: &mut Skipped) {
    let mut lines = lines(bytes);
    let headings = fields(lines.next().unwrap_or_default());
    let headings: Vec<Option<&str>> = headings.map(|word| str::from_utf8(word).ok()).collect();
    for (cpu, line) in lines.enumerate() {
        let read = parse_cpu(line, &headings);
        for (heading, count) in skipped.line(DIRECTORY, line, read).into_iter().flatten() {
            let rows = columns.entry(heading.to_owned()).or_default();
            rows.push((cpu.to_string(), name.to_vec(), count));
        }
    }
}

fn parse_cpu<'a>(line: &[u8], headings: &[Option<&'a str>]) -> Option<Vec<(&'a str, u64)>> {
    let count = |(place, field): (usize, _)| {
        let heading = headings.get(place).copied().flatten()?;
        Some((heading, parse_hex(field)?))
    };
    fields(line).enumerate().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8], name: &[u8], columns: &mut Columns) -> Result<(), CollectError> {
        whole(|skipped| crate::collectors::lnstat::parse(bytes, name, columns, skipped))
    }

    #[test]
    fn columns_of_one_name_come_together() {
        let mut columns = Columns::new();
        parse(b"entries hits\na 1\na 2\n", b"arp_cache", &mut columns).unwrap();
        parse(b"entries\nff\n", b"rt_cache", &mut columns).unwrap();
        let row = |cpu: &str, name: &[u8], count| (cpu.to_owned(), name.to_vec(), count);
        assert_eq!(
            columns["entries"],
            [
                row("0", b"arp_cache", 10),
                row("1", b"arp_cache", 10),
                row("0", b"rt_cache", 255)
            ]
        );
        assert_eq!(
            columns["hits"],
            [row("0", b"arp_cache", 1), row("1", b"arp_cache", 2)]
        );
        for file in ["entries\n1 2\n", "entries\nx\n"] {
            assert!(
                parse(file.as_bytes(), b"x", &mut columns).is_err(),
                "{file:?}"
            );
        }
    }
}
