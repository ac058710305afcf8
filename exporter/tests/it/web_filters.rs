//! `collect[]` and `exclude[]`: one exporter, and several scrapers of parts of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it is all tests

use std::collections::BTreeSet;

use crate::web_support::Exporter;

fn exporter() -> Exporter {
    Exporter::start(&[
        "--collector.disable-defaults",
        "--collector.loadavg",
        "--collector.time",
        "--collector.uname",
    ])
}

fn collectors(exporter: &Exporter, query: &str) -> (BTreeSet<String>, String) {
    let reply = exporter.get_plain(&format!("/metrics{query}"), &["-g"]);
    assert_eq!(reply.status, 200, "{query}: {}", reply.text());
    let text = reply.text();
    let names = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("node_scrape_collector_success{collector=\"")?;
        Some(rest.strip_suffix("\"} 1").unwrap().to_owned())
    });
    (names.collect(), text)
}

#[test]
fn a_scrape_has_the_collectors_that_were_asked_for() {
    let exporter = exporter();
    let all: &[&str] = &["loadavg", "time", "uname"];
    let cases: [(&str, &[&str]); 7] = [
        ("", all),
        ("?collect[]=time", &["time"]),
        (
            "?collect%5B%5D=time&collect[]=uname&collect[]=time",
            &["time", "uname"],
        ),
        ("?exclude[]=time", &["loadavg", "uname"]),
        ("?exclude[]=cpu&exclude[]=nonsense", all),
        ("?exclude[]=time&exclude[]=uname&exclude[]=loadavg", &[]),
        ("?collect=time", all),
    ];
    for (query, expected) in cases {
        let (names, text) = collectors(&exporter, query);
        assert_eq!(
            names,
            expected.iter().map(|name| (*name).to_owned()).collect(),
            "{query}"
        );
        for (family, collector) in [
            ("node_load1", "loadavg"),
            ("node_time_seconds", "time"),
            ("node_uname_info", "uname"),
        ] {
            let shown = text.contains(&format!("\n# TYPE {family} "));
            assert_eq!(shown, expected.contains(&collector), "{query}: {family}");
        }
        assert!(text.contains("node_exporter_build_info{"), "{query}");
    }
}

#[test]
fn a_filter_that_selects_nothing_is_refused_in_node_exporters_words() {
    let exporter = exporter();
    let cases = [
        (
            "collect[]=time&collect[]=timee",
            "Couldn't create filtered metrics handler: couldn't create collector: missing collector: timee",
        ),
        (
            "collect[]=cpu",
            "Couldn't create filtered metrics handler: couldn't create collector: disabled collector: cpu",
        ),
        (
            "collect[]=time&exclude[]=uname",
            "Combined collect and exclude queries are not allowed.",
        ),
    ];
    for (query, message) in cases {
        let reply = exporter.get_plain(&format!("/metrics?{query}"), &["-g"]);
        assert_eq!((reply.status, reply.text().as_str()), (400, message));
    }
}

#[test]
fn parts_and_wholes_at_once_get_each_their_own() {
    let exporter = exporter();
    std::thread::scope(|scope| {
        for (query, expected) in [("", 3), ("?collect[]=time", 1), ("?exclude[]=time", 2)] {
            for _ in 0..3 {
                let exporter = &exporter;
                scope.spawn(move || {
                    for _ in 0..5 {
                        assert_eq!(collectors(exporter, query).0.len(), expected, "{query}");
                    }
                });
            }
        }
    });
}

#[test]
fn the_limit_of_requests_counts_parts_as_well() {
    let procfs = tempfile::tempdir().unwrap();
    // A FIFO without a writer blocks every process that opens it.
    let made = std::process::Command::new("mkfifo")
        .arg(procfs.path().join("loadavg"))
        .status();
    assert!(made.unwrap().success());
    let exporter = Exporter::start(&[
        &format!("--path.procfs={}", procfs.path().display()),
        "--web.max-requests=1",
        "--collector.disable-defaults",
        "--collector.loadavg",
        "--collector.time",
    ]);
    std::thread::scope(|scope| {
        let part = || exporter.get_plain("/metrics?collect[]=time", &["-g"]);
        let stuck = scope.spawn(|| {
            let header = "X-Prometheus-Scrape-Timeout-Seconds: 3";
            exporter.get_plain_admitted("/metrics", &["-H", header])
        });
        let refused = crate::web_support::wait_for("a refusal", || {
            let reply = part();
            (reply.status != 200).then_some(reply)
        });
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (
                503,
                "Limit of concurrent requests reached (1), try again later.\n"
            )
        );
        let stuck = stuck.join().unwrap();
        let text = stuck.text();
        for line in ["loadavg\"} 0", "time\"} 1"] {
            let line = format!("node_scrape_collector_success{{collector=\"{line}\n");
            assert!(text.contains(&line), "{text}");
        }
    });
}
