//! Compares the compatibility page with node_exporter's flags and ours.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // it is all tests

use std::collections::BTreeMap;
use std::ffi::OsString;

use secure_exporter::collectors::TABLE;
use secure_exporter::flags::{self, Invocation};

const PAGE: &str = include_str!("../../../docs/node-exporter-compatibility.md");
/// The output of `node_exporter --help`.
const FLAGS: &str = include_str!("../node_exporter-1.12.1-flags.txt");

/// The entry of each flag on the page, by its name without dashes.
fn page() -> BTreeMap<&'static str, &'static str> {
    let mut flags = BTreeMap::new();
    for row in PAGE.lines().filter(|line| line.starts_with("| `--")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for flag in cells[1].split(", ") {
            let name = flag.trim_matches('`').strip_prefix("--").unwrap();
            assert_eq!(flags.insert(name, cells[2]), None, "{name} stands twice");
        }
    }
    flags
}

fn parse(flag: &str) -> Result<Invocation, String> {
    flags::parse(["secure-exporter", flag].map(OsString::from)).map_err(|error| error.to_string())
}

/// The flag as it is given on the command line; switches have no value.
fn given(name: &str, switch: bool) -> String {
    let value = match name {
        _ if switch => return format!("--{name}"),
        "web.listen-address" => "[::1]:9100",
        "web.telemetry-path" => "/m",
        "log.level" => "warn",
        "log.format" => "json",
        _ => "1",
    };
    format!("--{name}={value}")
}

fn check(name: &str, said: &str, flag: &str) {
    match (parse(flag), said.split(':').next()) {
        (Ok(_), Some("kept" | "changed")) => {}
        (Err(reason), Some("refused")) => {
            assert!(
                reason.contains(name) && !reason.contains("unknown long flag"),
                "{reason}"
            );
        }
        (outcome, _) => panic!("the page says {said:?} of {flag}: {outcome:?}"),
    }
}

#[test]
fn every_flag_of_node_exporter_is_on_the_page_and_behaves_so() {
    let page = page();
    assert!(FLAGS.lines().count() > 170);
    for flag in FLAGS.lines() {
        let flag = flag.strip_prefix("--").unwrap();
        let switch = flag.strip_prefix("[no-]");
        let name = switch.unwrap_or(flag);
        let said = page
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not on the page"));
        check(name, said, &given(name, switch.is_some()));
        if switch.is_some() && !["help", "version"].contains(&name) && !said.starts_with("refused")
        {
            check(name, said, &format!("--no-{name}"));
        }
    }
}

#[test]
fn flags_that_node_exporter_hides_are_on_the_page_and_behave_so() {
    let shown: Vec<&str> = FLAGS
        .lines()
        .map(|flag| flag.trim_start_matches("--").trim_start_matches("[no-]"))
        .collect();
    let hidden: Vec<_> = page()
        .into_iter()
        .filter(|(name, _)| !shown.contains(name))
        .collect();
    assert_eq!(hidden.len(), 16);
    for (name, said) in hidden {
        let switch = name.starts_with("help-")
            || name.starts_with("completion-")
            || name.ends_with(".private");
        check(name, said, &given(name, switch));
    }
}

#[test]
fn the_page_lists_what_runs_by_default() {
    for spec in TABLE {
        let default = if spec.default_enabled { "on" } else { "off" };
        let first = format!("| `--collector.{}`", spec.name);
        let row = PAGE.lines().find(|line| {
            line.strip_prefix(&first)
                .is_some_and(|rest| rest.starts_with([',', ' ']))
        });
        let row = row.unwrap_or_else(|| panic!("{} is not on the page", spec.name));
        assert!(row.ends_with(&format!("| kept | {default} |")), "{row}");
    }
}
