//! Metrics that other programs write to files are shown unchanged at every scrape.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use std::path::Path;

use secure_exporter::collect::Settings;
use secure_exporter::scrape::Registry;

/// A registry of the collector alone, for these directories.
fn registry(directories: &[&str]) -> Registry {
    registry_with(&[], directories)
}

/// A registry of the collector and some others.
fn registry_with(others: &[&str], directories: &[&str]) -> Registry {
    let mut settings = Settings::default();
    settings
        .enabled
        .retain(|name| *name == "textfile" || others.contains(name));
    let option = "collector.textfile.directory";
    settings.options.insert(option, directories.join("\n"));
    Registry::new(&settings).unwrap()
}

/// A scrape without the metrics about the collectors.
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
fn files_are_merged_ordered_and_read_again() {
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
         # HELP node_textfile_mtime_seconds Modification time of the text file, in seconds since the epoch.\n\
         # TYPE node_textfile_mtime_seconds gauge\n\
         node_textfile_mtime_seconds{{file=\"{path}/a.prom\"}} 1.7e+09\n\
         node_textfile_mtime_seconds{{file=\"{path}/b.prom\"}} 1.7e+09\n\
         # HELP node_textfile_scrape_error Whether a text file could not be read or could not be exposed unchanged.\n\
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

/// The samples of a scrape of files with these contents, beside the collectors named, without the files' times.
fn samples(others: &[&str], files: &[(&str, &str)]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    for (file, content) in files {
        write(directory.path(), file, content);
    }
    let text = scrape(&mut registry_with(
        others,
        &[directory.path().to_str().unwrap()],
    ));
    let lines = text
        .lines()
        .filter(|line| !line.contains("_mtime_") && !line.starts_with("# HELP"));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_exporters_own_series_and_types_win_over_a_file() {
    let file = "# HELP node_load1 Load of a batch job.\n# TYPE node_load1 gauge\nnode_load1 77\nnode_load1{job=\"x\"} 78\n\
                node_load5{job=\"\"} 79\n# TYPE node_time_seconds counter\nnode_time_seconds 3\n\
                # TYPE node_textfile_scrape_error gauge\nnode_textfile_scrape_error 0\njob_fine 1\n\
                node_scrape_collector_success{collector=\"time\"} 0\n";
    let lines = samples(&["loadavg", "time"], &[("batch.prom", file)]);
    let series: std::collections::BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .collect();
    assert_eq!(series.len(), lines.len(), "{lines:?}");
    for line in [
        "# TYPE node_load1 gauge",
        "node_load1{job=\"x\"} 78",
        "# TYPE node_time_seconds gauge",
        "job_fine 1",
        "node_textfile_scrape_error 1",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}: {lines:?}");
    }
    for line in [
        "node_load1 77",
        "node_load5{job=\"\"} 79",
        "node_time_seconds 3",
        "# TYPE node_time_seconds counter",
    ] {
        assert!(lines.iter().all(|found| found != line), "{line}: {lines:?}");
    }
}

#[test]
fn the_first_of_two_equal_series_is_kept_whatever_the_family() {
    let error = "# TYPE node_textfile_scrape_error gauge|node_textfile_scrape_error 1";
    let histogram = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 5\nh_count 3\n";
    let shown = "# TYPE h histogram|h_bucket{le=\"+Inf\"} 3|h_sum 5|h_count 3";
    for (files, expected) in [
        // A gauge with the name of a part of a histogram.
        (
            [
                histogram,
                "# TYPE h_count gauge\nh_count 9\nh_count{x=\"1\"} 8\n",
            ],
            format!("{shown}|h_count{{x=\"1\"}} 8|{error}"),
        ),
        (
            ["# TYPE h_count gauge\nh_count 9\n", histogram],
            format!(
                "# TYPE h_bucket untyped|h_bucket{{le=\"+Inf\"}} 3|# TYPE h_count gauge|h_count 9|# TYPE h_sum untyped|h_sum 5|{error}"
            ),
        ),
        (
            [histogram, "h_bucket{le=\"inf\"} 1\nh_bucket{le=\"2\"} 1\n"],
            format!("{shown}|h_bucket{{le=\"2\"}} 1|{error}"),
        ),
        // The same number written differently.
        (
            [
                "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 5\nh_count 3\n",
                "",
            ],
            format!(
                "# TYPE h histogram|h_bucket{{le=\"1\"}} 1|h_bucket{{le=\"+Inf\"}} 3|h_sum 5|h_count 3|{error}"
            ),
        ),
        (
            [
                "# TYPE s summary\ns{quantile=\"0.5\"} 7\ns{quantile=\"0.50\"} 8\ns_sum 8\ns_count 2\ns_count 3\n",
                "",
            ],
            format!("{error}|# TYPE s summary|s{{quantile=\"0.5\"}} 7|s_sum 8|s_count 2"),
        ),
        (
            ["# TYPE s summary\ns_sum 8\ns_count 2\n", "s_count 9\n"],
            format!("{error}|# TYPE s summary|s_sum 8|s_count 2"),
        ),
        // An empty label is none.
        (
            ["a 1\n", "a{x=\"\"} 2\na{x=\"y\"} 3\n"],
            format!("# TYPE a untyped|a 1|a{{x=\"y\"}} 3|{error}"),
        ),
        ([histogram, histogram], format!("{shown}|{error}")),
    ] {
        let lines = samples(&[], &[("a.prom", files[0]), ("b.prom", files[1])]);
        assert_eq!(lines.join("|"), expected);
    }
}

#[test]
fn what_is_left_out_is_logged_with_file_and_series() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.prom", "job 1\njob_b{x=\"1\"} 1\n");
    write(
        directory.path(),
        "b.prom",
        "job_b{x=\"1\"} 2\njob_b{x=\"1\"} 3\nnode_load1 1\n",
    );
    let path = directory.path().to_str().unwrap();
    let mut registry = registry_with(&["loadavg"], &[path]);
    let log = logged(|| {
        scrape(&mut registry);
        scrape(&mut registry);
    });
    let first = format!(
        "{path}/b.prom: left out job_b{{x=\"1\"}}, which is already in {path}/a.prom (2 such samples in total)"
    );
    assert_eq!(log.matches(&first).count(), 1, "{log}");
    let own = format!(
        "{path}/b.prom: left out node_load1, which is already in the exporter's own metrics"
    );
    assert_eq!(log.matches(&own).count(), 1, "{log}");
}

#[test]
fn only_regular_files_of_bounded_size_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    write(directory.path(), "good.prom", "good 1\n");
    write(directory.path(), "large.prom", &"# filler\n".repeat(100));
    std::os::unix::fs::symlink("/dev/zero", path("zero.prom")).unwrap();
    write(directory.path(), "elsewhere", "linked 1\n");
    std::os::unix::fs::symlink("elsewhere", path("link.prom")).unwrap();
    std::fs::create_dir(path("directory.prom")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket.prom")).unwrap();
    let pipe = path("pipe.prom");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let mut settings = Settings::default();
    settings.enabled.retain(|name| *name == "textfile");
    let directory = directory.path().display().to_string();
    let options = [
        ("collector.textfile.directory", directory.clone()),
        ("collector.textfile.max-file-bytes", "500".to_owned()),
    ];
    settings.options.extend(options);
    let mut registry = Registry::new(&settings).unwrap();
    let mut text = String::new();
    let log = logged(|| text = scrape(&mut registry));
    assert!(text.contains("\ngood 1\n"), "{text}");
    assert!(text.contains("node_textfile_scrape_error 1"), "{text}");
    assert!(text.contains("link.prom\"}"), "{text}");
    for name in ["zero", "pipe", "directory", "socket"] {
        let problem = format!("{directory}/{name}.prom: is not a regular file");
        assert!(log.contains(&problem), "{problem}: {log}");
        assert!(!text.contains(&format!("{name}.prom")), "{text}");
    }
    let large = "large.prom: is larger than 500 bytes: make it smaller or raise --collector.textfile.max-file-bytes";
    assert!(log.contains(large), "{log}");
    settings
        .options
        .insert("collector.textfile.max-file-bytes", "0".to_owned());
    let error = Registry::new(&settings).unwrap_err().to_string();
    assert_eq!(
        error,
        "--collector.textfile.max-file-bytes must be a whole number greater than 0, not \"0\""
    );
}

/// Records what is logged on this thread. Files are read on another thread, but problems are logged on this one. One
/// subscriber serves all tests of the process, because several would miss messages that another thread has logged first.
fn logged(run: impl FnOnce()) -> String {
    thread_local! {
        static LOG: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    struct Sink;
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            LOG.with_borrow_mut(|log| log.write(bytes))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let subscriber = tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_writer(|| Sink)
        .finish();
    // Another test may have set it already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    LOG.take();
    run();
    String::from_utf8(LOG.take()).unwrap()
}

#[test]
fn the_time_of_a_scrape_grows_with_the_files_and_no_faster() {
    let time_of = |series: usize| {
        let mut files = ["", "h", "s"].map(|kind| match kind {
            "h" => "# TYPE h histogram\n".to_owned(),
            "s" => "# TYPE s summary\n".to_owned(),
            _ => String::new(),
        });
        for number in 0..series {
            use std::fmt::Write as _;
            let host = number * 7919 % series;
            writeln!(files[0], "big{{host=\"h{host}\",disk=\"d{}\"}} 1", host % 7).unwrap();
            writeln!(files[1], "h_count{{host=\"h{host}\"}} 1").unwrap();
            writeln!(
                files[2],
                "s_sum{{host=\"h{host}\"}} 1\ns{{host=\"h{host}\",quantile=\"1\"}} 2"
            )
            .unwrap();
        }
        let named = [
            ("a.prom", files[0].as_str()),
            ("b.prom", files[1].as_str()),
            ("c.prom", files[2].as_str()),
        ];
        let begin = std::time::Instant::now();
        let lines = samples(&[], &named);
        assert_eq!(lines.len(), series * (1 + 3 + 3) + 2 + 3);
        begin.elapsed()
    };
    time_of(1_000);
    let (small, large) = (time_of(2_000), time_of(32_000));
    assert!(large < 64 * small, "{small:?} {large:?}");
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
