//! The kernel's reply to a dump of network devices has arbitrary content: it is parsed into ordered devices, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use secure_exporter::sources::{counter, parse_answer};

/// That of the captured answer in the corpus.
const SEQUENCE: u32 = 7;

fuzz_target!(|bytes: &[u8]| {
    let Ok(links) = parse_answer(bytes, SEQUENCE) else {
        return;
    };
    let names: Vec<&[u8]> = links.by_name().map(|link| link.name.as_slice()).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    assert!(names.iter().all(|name| !name.is_empty()));
    for link in links.by_name() {
        let counters = (0..counter::COUNT).map_while(|place| link.count(place)).count();
        assert!(counters == counter::COUNT || link.count(counter::COUNT - 1).is_none());
        assert!(link.alternative_names().all(|name| !name.is_empty()));
        assert!(link.revision > 0);
    }
});
