//! `docs/troubleshooting.md` explains every reason, event and alert, and nothing that does not exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::documentation::{anchors, prose, read, root};

/// Below these, every word in CamelCase is a reason or an outcome, except for those in [`OTHER_WORDS`].
const SOURCES: [&str; 4] = [
    "operator/src/api/definition.rs",
    "operator/src/report",
    "operator/src/controller",
    "operator/src/supplied/certificate.rs",
];
/// Words of Kubernetes, and values of `status.rotation`.
const OTHER_WORDS: [&str; 16] = [
    "Authority",
    "ErrImageNeverPull",
    "ErrImagePull",
    "FailedCreate",
    "False",
    "ImagePullBackOff",
    "InvalidImageName",
    "OOMKilled",
    "Observed",
    "Password",
    "PodScheduled",
    "Timed",
    "True",
    "Unknown",
    "Unschedulable",
    "Waiting",
];
/// Where the names of the conditions are. They have headings instead of anchors.
const CONDITIONS: &str = "operator/src/report/conditions.rs";
const ALERTS: &str = "charts/secure-exporter/alerts/secure-exporter.rules.yaml";

#[test]
fn every_reason_and_every_event_has_an_anchor() {
    let page = page();
    let conditions = conditions();
    assert!(conditions.len() > 10, "{conditions:?}");
    let words = words();
    assert!(words.len() > 100, "{words:?}");
    for word in &words {
        if conditions.contains(word) || OTHER_WORDS.contains(&word.as_str()) {
            continue;
        }
        let anchor = format!("<a id=\"{}\"></a>`{word}`", word.to_lowercase());
        assert!(page.contains(&anchor), "{word} has no anchor: {anchor}");
    }
    for word in OTHER_WORDS {
        assert!(words.contains(word), "{word} is not used any more");
    }
}

#[test]
fn every_condition_has_a_heading() {
    let page = page();
    let (_, reasons) = page.split_once("\n## Reasons of conditions").unwrap();
    let headings: String = reasons
        .lines()
        .filter(|line| line.starts_with("### "))
        .collect();
    for condition in conditions() {
        let named = headings
            .split(|c: char| !c.is_ascii_alphabetic())
            .any(|word| word == condition);
        assert!(named, "{condition} has no heading");
    }
}

#[test]
fn every_explained_reason_exists() {
    let words = words();
    let page = page();
    let explained: Vec<&str> = page
        .split("\"></a>`")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('`')?.0))
        .collect();
    assert!(explained.len() > 100, "{explained:?}");
    for reason in explained {
        assert!(words.contains(reason), "{reason} is explained, but unused");
    }
}

#[test]
fn every_alert_has_a_heading_to_which_it_links() {
    let alerts = read(&root().join(ALERTS));
    let page = page();
    let anchors = anchors(&prose(&page));
    let mut count = 0;
    for alert in alerts.split("- alert: ").skip(1) {
        count += 1;
        let name = alert.lines().next().unwrap_or_default();
        assert!(page.contains(&format!("\n### {name}\n")), "{name}");
        let link = alert.split_once("/docs/troubleshooting.md#");
        let link = link.and_then(|(_, rest)| rest.lines().next());
        assert!(
            link.is_some_and(|link| anchors.contains(link)),
            "{name}: {link:?}"
        );
        assert_eq!(link, Some(name.to_lowercase().as_str()));
    }
    let listed = page.matches("\n### SecureExporter").count();
    assert_eq!(count, listed, "an alert is listed that does not exist");
}

fn page() -> String {
    read(&root().join("docs/troubleshooting.md"))
}

/// The values of the constants at the top of the file.
fn conditions() -> BTreeSet<String> {
    let file = read(&root().join(CONDITIONS));
    let constants = file
        .lines()
        .filter(|line| line.starts_with("pub const ") && line.contains(": &str = "));
    constants
        .filter_map(|line| Some(line.split('"').nth(1)?.to_owned()))
        .collect()
}

/// The string literals in the sources that are one word in CamelCase.
fn words() -> BTreeSet<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root().join(source), &mut files);
    }
    let mut found = BTreeSet::new();
    for file in files {
        let text = read(&file);
        let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
        let code: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        // Quotation marks that do not delimit a literal.
        let code = code.join("\n").replace("\\\"", "").replace("'\"'", "");
        let literals = code.split('"').skip(1).step_by(2);
        found.extend(literals.filter(|text| is_word(text)).map(str::to_owned));
    }
    found
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.contains(|any: char| any.is_ascii_lowercase())
        && text.chars().all(|any| any.is_ascii_alphabetic())
}

/// The source files in a folder, without those that contain only tests.
fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        if !path.ends_with("tests.rs") {
            files.push(path.to_owned());
        }
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        collect(&entry.unwrap().path(), files);
    }
}
