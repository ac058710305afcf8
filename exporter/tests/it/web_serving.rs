//! Responses: their content, their format, and who receives them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::time::Instant;

use crate::web_support::{
    Connection, DEADLINE, Exporter, PASSWORD, Pair, Volume, basic, config_text, hash,
};

fn secured() -> (Exporter, Volume, Pair) {
    let pair = Pair::new();
    let volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    let exporter = Exporter::start(&[
        &format!("--web.config.file={}", volume.config().display()),
        "--web.require=tls,auth",
    ]);
    (exporter, volume, pair)
}

#[test]
fn nothing_is_served_without_the_password() {
    let (exporter, _volume, _) = secured();
    for path in ["/metrics", "/", "/other"] {
        for credentials in [
            &[] as &[&str],
            &["-u", "alice:wrong"],
            &["-u", "nobody:correct horse"],
            &["-u", "alice:"],
        ] {
            let reply = exporter.get(path, credentials);
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (401, "Unauthorized\n"),
                "{path} {credentials:?}"
            );
            assert!(
                reply.has_header("www-authenticate: basic"),
                "{}",
                reply.head
            );
        }
    }
    let healthy = exporter.get("/-/healthy", &[]);
    assert_eq!(
        (healthy.status, healthy.text().as_str()),
        (200, "Healthy\n")
    );
}

#[test]
fn no_core_dump_holds_the_key() {
    let (exporter, _volume, _) = secured();
    let limits = exporter.proc_file("limits");
    let line = limits
        .lines()
        .find(|it| it.starts_with("Max core file size"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    // The soft and the hard limit.
    assert_eq!(words[4..6], ["0", "0"], "{limits}");
}

#[test]
fn the_right_password_gets_metrics_in_node_exporters_form() {
    let (exporter, _volume, _) = secured();
    for version in ["--http1.1", "--http2"] {
        let reply = exporter.get("/metrics", &[version, "-u", &format!("alice:{PASSWORD}")]);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(
            reply.head.starts_with(if version == "--http2" {
                "http/2 "
            } else {
                "http/1.1 "
            }),
            "{}",
            reply.head
        );
        assert!(reply.has_header(
            "content-type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
        ));
        let body = reply.text();
        for family in [
            "node_load1",
            "node_exporter_build_info",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "secure_exporter_certificate_not_after_timestamp_seconds",
        ] {
            assert!(
                body.contains(&format!("\n# TYPE {family} ")),
                "{family} is missing"
            );
        }
        assert!(body.ends_with('\n'));
    }
    assert_eq!(
        exporter
            .scrape()
            .sample("secure_exporter_authentications_total{result=\"accepted\"}"),
        Some(3.0)
    );
    let page = exporter.get("/", &["-u", &format!("alice:{PASSWORD}")]);
    assert!(page.status == 200 && page.text().contains("<a href=\"/metrics\">"));
    assert_eq!(
        exporter
            .get("/debug/pprof/", &["-u", &format!("alice:{PASSWORD}")])
            .status,
        404
    );
}

#[test]
fn families_are_whole_and_in_order_whatever_wrote_them() {
    let folder = tempfile::tempdir().unwrap();
    let text = "process_open_fds{of=\"database\"} 7\nzone_records 3\n";
    std::fs::write(folder.path().join("other.prom"), text).unwrap();
    let directory = folder.path().display();
    let exporter = Exporter::start(&[
        "--collector.disable-defaults",
        "--collector.textfile",
        &format!("--collector.textfile.directory={directory}"),
    ]);
    let body = exporter.get_plain("/metrics", &[]).text();
    let kinds = body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families: Vec<&str> = kinds.filter_map(|kind| kind.split(' ').next()).collect();
    assert!(families.is_sorted_by(|a, b| a < b), "{families:?}");
    for family in [
        "node_exporter_build_info",
        "process_open_fds",
        "zone_records",
    ] {
        assert!(families.contains(&family), "{family} in {families:?}");
    }
    let values = |line: &&str| line.starts_with("process_open_fds");
    assert_eq!(body.lines().filter(values).count(), 2, "{body}");
}

#[test]
fn a_head_request_has_the_length_and_no_body() {
    let (exporter, _volume, _) = secured();
    for version in ["--http1.1", "--http2"] {
        let reply = exporter.get("/-/healthy", &[version, "--head"]);
        assert_eq!(
            (reply.curl, reply.status, reply.body.len()),
            (Some(0), 200, 0),
            "{version}"
        );
        assert!(reply.has_header("content-length: 8"), "{}", reply.head);
    }
}

#[test]
fn values_are_read_for_each_request() {
    let (exporter, _volume, _) = secured();
    let time = || exporter.scrape().sample("node_time_seconds").unwrap();
    let first = time();
    assert!(time() > first);
}

#[test]
fn packed_bodies_are_the_same_text() {
    let (exporter, _volume, _) = secured();
    let packed = |accepted: &str, coding: &str| {
        let user = format!("alice:{PASSWORD}");
        let header = format!("Accept-Encoding: {accepted}");
        let reply = exporter.get("/metrics", &["-H", &header, "-u", &user]);
        let named = format!("content-encoding: {coding}");
        assert!(reply.has_header(&named), "{accepted}: {}", reply.head);
        reply.body
    };
    let gzip = packed("zstd;q=0.1, gzip", "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(gzip.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    let zstd = packed("gzip;q=0.5, zstd", "zstd");
    let mut bytes = Vec::with_capacity(1 << 22);
    zstd_safe::decompress(&mut bytes, &zstd).unwrap();
    for (packed, text) in [(gzip, text), (zstd, String::from_utf8(bytes).unwrap())] {
        assert!(text.contains("\nnode_exporter_build_info{") && text.ends_with('\n'));
        assert!(text.len() > 2 * packed.len());
    }
}

#[test]
fn plain_http_on_the_tls_port_gets_an_explanation() {
    let (exporter, _volume, _) = secured();
    let answer = exporter.plain_bytes(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(
        answer,
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    );
    let failures = "secure_exporter_handshake_failures_total{reason=\"plain_http\"}";
    assert_eq!(exporter.scrape().sample(failures), Some(1.0));
}

#[test]
fn old_tls_and_an_unknown_ca_fail_and_are_counted_separately() {
    let (exporter, volume, _) = secured();
    assert_ne!(
        exporter.get("/-/healthy", &["--tls-max", "1.1"]).curl,
        Some(0)
    );
    assert_eq!(exporter.curl("https", "/-/healthy", &[]).curl, Some(60));
    let trusted = volume.path("tls.crt").display().to_string();
    assert_eq!(
        exporter
            .curl("https", "/-/healthy", &["--cacert", &trusted])
            .status,
        200
    );
    let metrics = exporter.scrape();
    for reason in ["incompatible", "refused_by_client"] {
        let failures = format!("secure_exporter_handshake_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(metrics.sample(&failures), Some(1.0), "{reason}");
    }
}

#[test]
fn without_a_configuration_it_is_node_exporter_in_the_open() {
    let exporter = Exporter::start(&["--web.telemetry-path=/m", "--web.disable-exporter-metrics"]);
    let reply = exporter.get_plain("/m", &[]);
    assert_eq!(reply.status, 200);
    assert!(
        reply.text().contains("\nnode_exporter_build_info{")
            && !reply.text().contains("\nprocess_")
    );
    assert_eq!(exporter.get_plain("/metrics", &[]).status, 404);
    exporter.wait_for_log("TLS is disabled.");
}

#[test]
fn configured_headers_are_on_every_answer_and_the_rate_is_limited() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yml");
    std::fs::write(
        &config,
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\nrate_limit:\n  interval: 1h\n  burst: 2\n",
    )
    .unwrap();
    let exporter = Exporter::with_config(&config);
    let statuses = [(); 3].map(|()| {
        let reply = exporter.get_plain("/metrics", &[]);
        assert!(reply.has_header("x-frame-options: deny"), "{}", reply.head);
        reply.status
    });
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(exporter.get_plain("/-/healthy", &[]).status, 200);
}

#[test]
fn wrong_passwords_that_wait_do_not_hold_up_a_known_one() {
    let pair = Pair::new();
    let volume = Volume::with(&pair, &config_text(&bcrypt::hash(PASSWORD, 10).unwrap()));
    let exporter = Exporter::with_config(&volume.config());
    assert_eq!(exporter.scrape().status, 200);
    let statuses = std::thread::scope(|scope| {
        let wrong: Vec<_> = (0..12)
            .map(|n| {
                let exporter = &exporter;
                scope.spawn(move || {
                    exporter
                        .get("/metrics", &["-u", &format!("alice:wrong{n}")])
                        .status
                })
            })
            .collect();
        assert_eq!(exporter.scrape().status, 200);
        let joined = wrong.into_iter().map(|one| one.join().unwrap());
        joined.collect::<Vec<_>>()
    });
    assert_eq!(statuses, [401; 12]);
}

#[test]
fn slow_clients_are_let_go() {
    let (exporter, _volume, pair) = secured();
    let mut silent = exporter.tcp();
    let mut half = exporter.tcp();
    half.write_all(&[22, 3, 1]).unwrap();
    let start = Instant::now();
    for stream in [&mut silent, &mut half] {
        // The read ends with the connection, or the stream's own deadline fails the test.
        let _ = stream.read(&mut [0]).map(|read| assert_eq!(read, 0));
        assert!(
            start.elapsed() < DEADLINE,
            "a client without a handshake is kept"
        );
    }
    let mut connection = Connection::open(&exporter, &pair).unwrap();
    assert!(
        connection
            .get("/metrics", &basic("alice", PASSWORD))
            .unwrap()
            .starts_with("http/1.1 200")
    );
    connection.write_raw(b"GET /metrics HTTP/1.1\r\nX-Slow: ");
    assert!(connection.is_closed());
    assert!(
        start.elapsed() < 2 * DEADLINE,
        "a client in the middle of a head is kept"
    );
    let timeouts = "secure_exporter_handshake_failures_total{reason=\"timeout\"}";
    assert_eq!(exporter.scrape().sample(timeouts), Some(2.0));
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let (exporter, _volume, _) = secured();
    let header = format!("X-Large: {}", "x".repeat(20_000));
    assert_eq!(
        exporter
            .get("/-/healthy", &["--http1.1", "-H", &header])
            .status,
        431
    );
}

#[test]
fn sigterm_ends_it_well_and_open_connections_do_not_hold_it() {
    let (mut exporter, _volume, pair) = secured();
    let mut connection = Connection::open(&exporter, &pair).unwrap();
    assert!(
        connection
            .get("/-/healthy", "")
            .unwrap()
            .starts_with("http/1.1 200")
    );
    exporter.signal("TERM");
    assert_eq!(exporter.wait_for_end(), Some(0));
    assert!(connection.is_closed());
}

#[test]
fn json_logs_are_json() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_secure-exporter"))
        .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        line.starts_with("{\"time\":\"20")
            && line.contains("\"level\":\"INFO\",\"msg\":\"Starting"),
        "{line}"
    );
}

#[test]
fn paths_that_are_not_clean_lead_to_the_clean_one() {
    let exporter = Exporter::start(&[]);
    for path in ["//metrics", "/./metrics", "/x/../metrics"] {
        let reply = exporter.get_plain(path, &["--path-as-is"]);
        assert_eq!(reply.status, 307, "{path}");
        assert!(reply.has_header("location: /metrics"), "{path}");
    }
    let query = exporter.get_plain("//metrics?collect[]=time", &["--path-as-is", "--globoff"]);
    assert!(query.has_header("location: /metrics?collect[]=time"));
    assert_eq!(exporter.get_plain("/%6detrics", &[]).status, 200);
    assert_eq!(exporter.get_plain("/metrics/", &[]).status, 404);

    let (secured, _, _) = secured();
    let refused = secured.get("//metrics", &["--path-as-is"]);
    assert_eq!(refused.status, 401);
    assert!(!refused.text().contains("/metrics"));
}
