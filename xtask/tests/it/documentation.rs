//! The documentation: every link leads to a file and a heading, every page is listed in the README, every value of the chart is
//! described.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// The README only introduces the project; everything else has its page.
const MAX_README_LINES: usize = 150;
/// Values of the chart whose content belongs to Kubernetes or to the user.
const OPAQUE_VALUES: [&str; 4] = [
    "operator.resources",
    "operator.nodeSelector",
    "maxExporterResources",
    "dashboard.labels",
];

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut report = String::new();
    let mut count = 0;
    for page in pages() {
        for link in links(&prose(&read(&page))) {
            count += 1;
            if let Err(problem) = follow(&page, &link) {
                let _ = writeln!(report, "{}: {link}: {problem}", page.display());
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
    assert!(count > 100, "only {count} links were found");
}

#[test]
fn the_readme_is_short_and_links_to_every_page() {
    let readme = read(&root().join("README.md"));
    let lines = readme.lines().count();
    assert!(lines <= MAX_README_LINES, "{lines} lines");
    let linked: BTreeSet<String> = links(&readme).into_iter().collect();
    for page in pages() {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        assert!(name == "README.md" || linked.contains(&name), "{name}");
    }
}

#[test]
fn every_value_of_the_chart_is_described() {
    let page = read(&root().join("docs/installing.md"));
    let described: BTreeSet<String> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(spread)
        .collect();
    let values = values(&read(&root().join("charts/secure-exporter/values.yaml")));
    assert!(values.len() > 40, "{values:?}");
    for value in &values {
        assert!(described.contains(value), "{value}");
    }
}

pub(crate) fn root() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.parent().unwrap().to_owned()
}

pub(crate) fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The README, the guide for contributors, and the pages in `docs/`.
pub(crate) fn pages() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("docs")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let is_page = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "md");
    let mut pages: Vec<PathBuf> = files.filter(is_page).collect();
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    pages
}

/// A page without its blocks of code.
pub(crate) fn prose(page: &str) -> String {
    page.split("\n```")
        .step_by(2)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The targets of all links and pictures.
fn links(page: &str) -> Vec<String> {
    let ends = page.split("](").skip(1);
    let targets = ends.filter_map(|rest| rest.split_once(')'));
    targets
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.starts_with("https://"))
        .collect()
}

fn follow(page: &Path, link: &str) -> Result<(), &'static str> {
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (link, None),
    };
    let target = match path {
        "" => page.to_owned(),
        path => page.parent().unwrap().join(path),
    };
    if !target.exists() {
        return Err("there is no such file");
    }
    match anchor {
        Some(anchor) if !anchors(&prose(&read(&target))).contains(anchor) => {
            Err("there is no such heading")
        }
        _ => Ok(()),
    }
}

/// The anchors of a page, as GitHub derives them from headings, and those that are written as HTML.
pub(crate) fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let of_headings = headings.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    });
    let explicit = page.split("<a id=\"").skip(1);
    let explicit = explicit.filter_map(|rest| rest.split_once('"'));
    of_headings
        .chain(explicit.map(|(id, _)| id.to_owned()))
        .collect()
}

/// `a.{b,c}` is `a.b` and `a.c`.
fn spread(text: &str) -> Vec<String> {
    let Some((before, names)) = text.split_once('{') else {
        return vec![text.to_owned()];
    };
    let names = names.trim_end_matches('}').split(',');
    names.map(|name| format!("{before}{name}")).collect()
}

/// The paths of all values. The file is indented by two spaces and contains no lists of maps.
fn values(file: &str) -> BTreeSet<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut found: BTreeSet<String> = BTreeSet::new();
    for line in file.lines() {
        let text = line.trim_start();
        let Some((key, _)) = text.split_once(':') else {
            continue;
        };
        if text.starts_with('#') {
            continue;
        }
        path.truncate((line.len() - text.len()) / 2);
        // A value that contains others is described by them.
        let parent = path.join(".");
        if OPAQUE_VALUES.contains(&parent.as_str()) {
            continue;
        }
        found.remove(&parent);
        path.push(key);
        found.insert(path.join("."));
    }
    found
}
