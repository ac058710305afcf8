//! No content of any file makes a collector panic or an exposition malformed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // clippy.toml exempts test functions, not what they share

mod hostile_host;

use std::path::Path;
use std::sync::{LazyLock, Mutex};

use hostile_host::{HostileHost, READ_NO_FILES};
use proptest::prelude::*;
use secure_exporter::collectors::TABLE;

static HOST: LazyLock<Mutex<HostileHost>> = LazyLock::new(|| Mutex::new(HostileHost::new()));

/// What fuzzing found worth keeping; see CONTRIBUTING.md.
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
