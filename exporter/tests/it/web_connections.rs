//! Many connections, silent ones, and those that exist at the end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it is all tests

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::web_support::{
    Connection, Exporter, PASSWORD, Pair, Volume, basic, config_text, hash, wait_for,
};

fn secured() -> (Exporter, Volume, Pair) {
    let pair = Pair::new();
    let volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    (Exporter::with_config(&volume.config()), volume, pair)
}

#[test]
fn a_thousand_silent_connections_are_closed_soon_and_keep_no_client_out() {
    let (exporter, _volume, pair) = secured();
    let mut kept = Connection::open(&exporter, &pair).unwrap();
    assert!(
        kept.get("/metrics", &basic("alice", PASSWORD))
            .unwrap()
            .starts_with("http/1.1 200")
    );
    let mut stalled = Connection::open(&exporter, &pair).unwrap();
    stalled.write_raw(b"GET /metrics HTTP/1.1\r\nX-Slow: ");
    let start = Instant::now();
    let silent: Vec<TcpStream> = (0..1000).map(|_| exporter.tcp()).collect();

    // Neither a new connection nor an authenticated one waits for their timeouts of five seconds and more.
    for _ in 0..5 {
        let mut fresh = Connection::open(&exporter, &pair).unwrap();
        assert!(
            fresh
                .get("/metrics", &basic("alice", PASSWORD))
                .unwrap()
                .starts_with("http/1.1 200")
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert!(
        kept.get("/metrics", &basic("alice", PASSWORD))
            .unwrap()
            .starts_with("http/1.1 200")
    );

    for mut stream in silent {
        // Closed or reset, or the stream's own deadline fails the test.
        match stream.read(&mut [0]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(stalled.is_closed());
    let open = wait_for("their descriptors to be closed", || {
        exporter
            .scrape()
            .sample("process_open_fds")
            .filter(|open| *open < 200.0)
    });
    assert!(open > 3.0);
}

#[test]
fn too_many_fields_are_refused() {
    let (exporter, _volume, _) = secured();
    let fields: Vec<String> = (0..80).map(|n| format!("X-{n}: x")).collect();
    let options: Vec<&str> = fields.iter().flat_map(|field| ["-H", field]).collect();
    let get = |count: usize| {
        exporter
            .get(
                "/-/healthy",
                &[&["--http1.1"], &options[..2 * count]].concat(),
            )
            .status
    };
    assert_eq!((get(40), get(80)), (200, 431));
}

#[test]
fn a_running_scrape_is_answered_before_the_end_and_new_connections_are_refused() {
    let procfs = tempfile::tempdir().unwrap();
    let fifo = procfs.path().join("loadavg");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let mut exporter = Exporter::start(&[
        &format!("--path.procfs={}", procfs.path().display()),
        "--web.max-requests=1",
        "--collector.disable-defaults",
        "--collector.loadavg",
    ]);
    let address = exporter.address;
    let reply = std::thread::scope(|scope| {
        let scrape = scope.spawn(|| exporter.get_plain_admitted("/metrics", &[]));
        wait_for("the scrape to run", || {
            let another = exporter.get_plain("/metrics?exclude[]=loadavg", &["-g"]);
            (another.status == 503).then_some(())
        });
        exporter.signal("TERM");
        wait_for("the listener's end", || TcpStream::connect(address).err());
        assert!(!scrape.is_finished());
        // Unblocks the collector that is opening the file.
        let writer = std::fs::File::options().write(true).open(&fifo);
        let reply = scrape.join().unwrap();
        drop(writer.unwrap());
        reply
    });
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .text()
            .contains("node_scrape_collector_duration_seconds{collector=\"loadavg\"}")
    );
    assert_eq!(exporter.wait_for_end(), Some(0));
}
