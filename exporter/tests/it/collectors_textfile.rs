//! Metrics that other programs leave in files are shown as they are, at every scrape.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use std::path::Path;

use secure_exporter::collect::Settings;
use secure_exporter::scrape::Registry;

/// A registry of the collector alone, for these directories.
fn registry(directories: &[&str]) -> Registry {
    let mut settings = Settings::default();
    settings.enabled.retain(|name| *name == "textfile");
    let option = "collector.textfile.directory";
    settings.options.insert(option, directories.join("\n"));
    Registry::new(&settings).unwrap()
}

/// A scrape without the collectors' own reports.
fn scrape(registry: &mut Registry) -> String {
    let mut body = Vec::new();
    registry.scrape(&mut body);
    let text = String::from_utf8(body).unwrap();
    let lines = text.lines().filter(|line| !line.contains("node_scrape_"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn write(directory: &Path, file: &str, content: &str) {
    std::fs::write(directory.join(file), content).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let file = std::fs::File::options()
        .append(true)
        .open(directory.join(file));
    file.unwrap().set_modified(time).unwrap();
}

#[test]
fn files_are_merged_ordered_and_read_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    write(
        directory.path(),
        "b.prom",
        "# TYPE wait histogram\nwait_bucket{job=\"x\",le=\"10\"} 2\nwait_bucket{job=\"x\",le=\"0.5\"} 1\nwait_sum{job=\"x\"} 7.5\n\
         wait_count{job=\"x\"} 3\nlast{job=\"b\"} 2\n",
    );
    write(
        directory.path(),
        "a.prom",
        "# HELP last When it ran.\nlast{job=\"a\",host=\"h\"} 1\nlast{job=\"c\"} 3\n# TYPE s summary\n\
         s{quantile=\"0.99\"} 4\ns{quantile=\"0.5\"} 2\ns_sum 6\ns_count 2\n",
    );
    write(directory.path(), "ignored.txt", "ignored 1\n");
    let mut registry = registry(&[path]);
    let expected = format!(
        "# HELP last When it ran.\n# TYPE last untyped\nlast{{job=\"b\"}} 2\nlast{{host=\"\",job=\"c\"}} 3\n\
         last{{host=\"h\",job=\"a\"}} 1\n\
         # HELP node_textfile_mtime_seconds When the text file was last written, in seconds since the epoch.\n\
         # TYPE node_textfile_mtime_seconds gauge\n\
         node_textfile_mtime_seconds{{file=\"{path}/a.prom\"}} 1.7e+09\n\
         node_textfile_mtime_seconds{{file=\"{path}/b.prom\"}} 1.7e+09\n\
         # HELP node_textfile_scrape_error Whether a text file could not be shown as it is.\n\
         # TYPE node_textfile_scrape_error gauge\nnode_textfile_scrape_error 0\n\
         # HELP s Left in {path}/a.prom.\n# TYPE s summary\ns{{quantile=\"0.5\"}} 2\ns{{quantile=\"0.99\"}} 4\ns_sum 6\n\
         s_count 2\n\
         # HELP wait Left in {path}/b.prom.\n# TYPE wait histogram\nwait_bucket{{job=\"x\",le=\"0.5\"}} 1\n\
         wait_bucket{{job=\"x\",le=\"10\"}} 2\nwait_bucket{{job=\"x\",le=\"+Inf\"}} 3\nwait_sum{{job=\"x\"}} 7.5\n\
         wait_count{{job=\"x\"}} 3\n"
    );
    assert_eq!(scrape(&mut registry), expected);

    write(directory.path(), "new", "last{job=\"z\"} 9\n");
    std::fs::rename(
        directory.path().join("new"),
        directory.path().join("b.prom"),
    )
    .unwrap();
    let after = scrape(&mut registry);
    assert!(after.contains("\nlast{job=\"z\"} 9\n") && !after.contains("wait"));
}

#[test]
fn one_bad_file_costs_no_other_its_metrics() {
    let directory = tempfile::tempdir().unwrap();
    for (file, content) in [
        (
            "a.prom",
            "# HELP good One.\ngood{x=\"1\"} 1\ngood{x=\"1\"} 2\n",
        ),
        ("b.prom", "half 1\nbroken"),
        ("c.prom", "stamped 1 1700000000000\n"),
        ("d.prom", "# HELP good Another.\ngood{x=\"2\"} 1\n"),
    ] {
        write(directory.path(), file, content);
    }
    let path = directory.path().to_str().unwrap();
    let text = scrape(&mut registry(&[path]));
    assert!(
        text.contains("# HELP good One.\n# TYPE good untyped\ngood{x=\"1\"} 1\n# HELP node_"),
        "{text}"
    );
    assert!(text.contains("\nnode_textfile_scrape_error 1\n"));
    assert!(!text.contains("half") && !text.contains("stamped"));
    assert!(
        text.contains("/a.prom\"}") && !text.contains("/b.prom\"}") && !text.contains("/c.prom\"}")
    );
}

#[test]
fn directories_may_be_many_have_wildcards_and_be_absent() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["one", "two", "other"] {
        std::fs::create_dir(directory.path().join(name)).unwrap();
        write(
            &directory.path().join(name),
            "m.prom",
            &format!("from_{name} 1\n"),
        );
    }
    let path = |name: &str| directory.path().join(name).display().to_string();
    let text = scrape(&mut registry(&[&path("t*"), &path("one")]));
    assert!(
        text.contains("\nfrom_one 1\n") && text.contains("\nfrom_two 1\n"),
        "{text}"
    );
    assert!(!text.contains("from_other") && text.contains("\nnode_textfile_scrape_error 0\n"));
    let text = scrape(&mut registry(&[&path("absent"), &path("one")]));
    assert!(text.contains("from_one") && text.contains("\nnode_textfile_scrape_error 1\n"));
}

#[test]
fn a_family_of_the_exporters_own_is_described_once() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "m.prom",
        "node_textfile_scrape_error{x=\"1\"} 5\n",
    );
    let path = directory.path().to_str().unwrap();
    let text = scrape(&mut registry(&[path]));
    assert_eq!(
        text.matches("# TYPE node_textfile_scrape_error ").count(),
        1
    );
}

#[test]
fn a_file_that_several_directories_lead_to_is_read_once() {
    let root = tempfile::tempdir().unwrap();
    for (directory, file, content) in [
        ("one", "custom.prom", "custom_1 1\n"),
        ("two", "other.prom", "custom_2 2\n"),
    ] {
        std::fs::create_dir(root.path().join(directory)).unwrap();
        write(&root.path().join(directory), file, content);
    }
    std::os::unix::fs::symlink("one", root.path().join("link")).unwrap();
    let root = root.path().to_str().unwrap();
    let one = format!("{root}/one");
    for second in [
        one.clone(),
        format!("{root}/*"),
        format!("{root}/one/"),
        format!("{root}/two/../one"),
        format!("{root}/link"),
    ] {
        let two = format!("{root}/two");
        let text = scrape(&mut registry(&[&one, &second, &two]));
        for line in ["custom_1 1", "custom_2 2", "node_textfile_scrape_error 0"] {
            assert!(text.lines().any(|shown| shown == line), "{second}: {text}");
        }
        let times = text.matches("node_textfile_mtime_seconds{").count();
        assert_eq!(times, 2, "{second}: {text}");
    }
}
