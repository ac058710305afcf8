//! No content of any file makes a collector panic or an exposition malformed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // clippy.toml exempts test functions, not what they share

mod hostile_host;

use std::path::Path;
use std::sync::{LazyLock, Mutex};

use hostile_host::{HostileHost, READ_NO_FILES};
use proptest::prelude::*;
use secure_exporter::collectors::TABLE;

static HOST: LazyLock<Mutex<HostileHost>> = LazyLock::new(|| Mutex::new(HostileHost::new()));

/// Inputs found by fuzzing; see CONTRIBUTING.md.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/host");

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_mangled_file_breaks_nothing(
        place in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        length in 0_usize..12,
        inserted in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..12),
            "[-+]?[0-9]{1,24}( [0-9]{1,24}){0,3}".prop_map(String::into_bytes),
            "[\\[\\]{}(),:;=/ \\n\\t-]{1,4}".prop_map(String::into_bytes),
        ],
        truncated in any::<bool>(),
    ) {
        let mut host = HOST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let place = place.index(host.len());
        let original = host.original(place);
        let cut = if original.is_empty() { 0 } else { cut.index(original.len()) };
        let end = if truncated { original.len() } else { (cut + length).min(original.len()) };
        let content = [&original[..cut], &inserted, &original[end..]].concat();
        prop_assert_eq!(host.scrape_with(place, &content), Ok(()));
    }
}

#[test]
fn what_fuzzing_found_breaks_nothing() {
    let mut host = HOST
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let corpus = std::fs::read_dir(Path::new(CORPUS)).unwrap();
    for entry in corpus {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        if let Some((place, content)) = host.input(&input) {
            assert_eq!(host.scrape_with(place, &content), Ok(()));
        }
    }
}

#[test]
fn the_files_reach_every_collector_that_reads_files() {
    let host = HOST
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let reached = host.collectors();
    let names = TABLE.iter().map(|spec| spec.name);
    let others = names.filter(|name| !reached.contains(name) && !READ_NO_FILES.contains(name));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Files with several lines that are not tables: files of other programs, which are refused as a whole, and texts of which
/// a single line is shown.
const NO_TABLES: [&str; 1] = ["textfile/"];
/// Lines that begin a device with several lines, which is lost together with its name.
const BEGINS_DEVICE: [(&str, &[u8]); 1] = [("proc/drbd", b"cs:")];
/// The number of lines of each file that are tried, evenly distributed.
const LINES_TRIED: usize = 8;

/// The positions of the files that have several lines.
fn tables(host: &HostileHost) -> Vec<(usize, Vec<Vec<u8>>)> {
    let lines = |place: usize| {
        let lines = host.original(place).split_inclusive(|byte| *byte == b'\n');
        (place, lines.map(<[u8]>::to_vec).collect::<Vec<_>>())
    };
    let is_table = |place: &usize| {
        let path = host.path(*place).to_str().unwrap();
        !NO_TABLES.iter().any(|start| path.starts_with(start))
    };
    let places = (0..host.len()).filter(is_table);
    places
        .map(lines)
        .filter(|(_, lines)| lines.len() > 1)
        .collect()
}

fn tried(count: usize) -> impl Iterator<Item = usize> {
    let step = count.div_ceil(LINES_TRIED).max(1);
    (0..count).step_by(step).chain(Some(count - 1))
}

#[test]
fn a_blank_line_costs_nothing_wherever_it_stands() {
    let host = HOST
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut wrong = Vec::new();
    for (place, lines) in tables(&host) {
        let sound = host.shown_with(place, host.original(place));
        for at in tried(lines.len()) {
            let content = [&lines[..at], &[b"\n".to_vec()], &lines[at..]]
                .concat()
                .concat();
            if host.shown_with(place, &content) != sound {
                wrong.push(format!("{} before line {at}", host.path(place).display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_bad_line_costs_no_more_than_itself() {
    let host = HOST
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut wrong = Vec::new();
    for (place, lines) in tables(&host) {
        let sound = host.shown_with(place, host.original(place));
        let lost = |content: Vec<u8>| {
            let shown = host.shown_with(place, &content);
            let lost = sound.difference(&shown);
            let told = |line: &&String| {
                !line.starts_with('#') && !line.starts_with("node_scrape_collector_success")
            };
            lost.filter(told).count()
        };
        for at in tried(lines.len()) {
            let with = |line: &[u8]| {
                [&lines[..at], &[line.to_vec()], &lines[at + 1..]]
                    .concat()
                    .concat()
            };
            let line = lines[at].trim_ascii_end();
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let begins = |(file, word): &(&str, &[u8])| {
                let begins = words.iter().any(|found| found.starts_with(word));
                begins && host.path(place) == Path::new(file)
            };
            if BEGINS_DEVICE.iter().any(begins) {
                continue;
            }
            let numbers = line.split(|byte| !byte.is_ascii_alphanumeric()).count();
            let most = lost(with(b"")).max(numbers);
            let last = words
                .iter()
                .rposition(|word| word.iter().any(u8::is_ascii_digit));
            let replaced = |by: &[u8]| {
                let mut words = words.clone();
                if let Some(word) = last {
                    words[word] = by;
                }
                [words.join(b" ".as_slice()), b"\n".to_vec()].concat()
            };
            let cut = [&line[..line.len() / 2], b"\n"].concat();
            for bad in [
                b"\xffgarbage\n".to_vec(),
                cut,
                replaced(b"many"),
                replaced(b"99999999999999999999999"),
            ] {
                let lost = lost(with(&bad));
                if lost > most {
                    let path = host.path(place).display();
                    let bad = bad.escape_ascii();
                    wrong.push(format!("{path} line {at} \"{bad}\" costs {lost} of {most}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
