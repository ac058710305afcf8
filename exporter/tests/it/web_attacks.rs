//! Attacks by clients without credentials, which must not affect other clients.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it is all tests

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::web_support::{
    Connection, Exporter, PASSWORD, Pair, Volume, basic, client_config, command_with_files,
    config_text, hash, wait_for,
};

const DROPPED: &str = "secure_exporter_log_lines_dropped_total";

fn secured() -> (Exporter, Volume, Pair) {
    let pair = Pair::new();
    let volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    (Exporter::with_config(&volume.config()), volume, pair)
}

/// One of the addresses of this host.
fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// A ClientHello (RFC 8446, section 4.1.2) that asks for a server of this name, in as many records as it takes.
fn client_hello(server_name: &[u8]) -> Vec<u8> {
    let with_length = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    };
    let name = [&[0][..], &with_length(server_name)].concat();
    let extensions = [
        &[0, 0][..],
        &with_length(&with_length(&name)),
        // TLS 1.3 only.
        &[0, 43, 0, 3, 2, 3, 4],
    ]
    .concat();
    let suites_and_compression = [0, 2, 0x13, 1, 1, 0];
    let body = [
        &[3, 3][..],
        &[0; 33],
        &suites_and_compression,
        &with_length(&extensions),
    ]
    .concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    message
        .chunks(1 << 14)
        .flat_map(|chunk| [&[22, 3, 1][..], &with_length(chunk)].concat())
        .collect()
}

#[test]
fn what_clients_send_is_not_logged() {
    let (exporter, _volume, _) = secured();
    for _ in 0..50 {
        let mut stream = exporter.tcp();
        stream.write_all(&client_hello(&[0xff; 60_000])).unwrap();
        let mut alert = Vec::new();
        let _ = stream.read_to_end(&mut alert);
        assert!(!alert.is_empty());
    }
    exporter.signal("HUP");
    exporter.wait_for_log("configuration on disk is the one in use");
    let log = exporter.log();
    assert!(log.len() < 2000, "{} bytes, {log:.300}", log.len());
}

#[test]
fn a_log_without_a_reader_stops_nothing_and_lost_lines_are_counted() {
    let pair = Pair::new();
    let volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    let mut exporter = Exporter::start_unread(&[
        &format!("--web.config.file={}", volume.config().display()),
        "--log.level=debug",
    ]);
    let lost = |exporter: &Exporter| {
        let metrics = exporter.scrape();
        assert_eq!(metrics.status, 200);
        ["blocked", "rate_limit"]
            .map(|reason| metrics.sample(&format!("{DROPPED}{{reason=\"{reason}\"}}")))
    };
    // More than fits into a pipe, and more than the rate allows.
    wait_for("the end of the pipe", || {
        for _ in 0..200 {
            let mut stream = exporter.tcp();
            let _ = stream.write_all(b"\x16no handshake");
        }
        let lost = lost(&exporter);
        (lost.map(|count| count > Some(0.0)) == [true; 2]).then_some(())
    });
    let mut unread = exporter.take_unread();
    let is_over = AtomicBool::new(false);
    let lines: Vec<String> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                exporter.signal("HUP");
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let mut lines: Vec<String> = Vec::new();
        let is_loss = |line: &String| line.contains("log lines were dropped");
        while lines.len() < 10_000 && !lines.last().is_some_and(is_loss) {
            let mut line = String::new();
            match unread.read_line(&mut line) {
                Ok(1..) => lines.push(line),
                _ => break,
            }
        }
        is_over.store(true, Relaxed);
        lines
    });
    let loss = lines.last().unwrap();
    assert!(loss.contains("log lines were dropped"), "{loss}");
    for line in &lines {
        let is_whole = line.starts_with("time=") && line.len() < 300;
        assert!(is_whole, "{line}");
    }
}

#[test]
fn a_right_password_has_its_turn_among_wrong_ones() {
    let pair = Pair::new();
    let costly = |password: &str| bcrypt::hash(password, 10).unwrap();
    let config = config_text(&hash(PASSWORD)) + &format!("  bob: {}\n", costly("secret"));
    let volume = Volume::with(&pair, &config);
    let exporter = Exporter::with_config(&volume.config());
    let client = Arc::new(client_config(&pair));
    let judged = |result: &str| {
        let name = format!("secure_exporter_authentications_total{{result=\"{result}\"}}");
        exporter.scrape().sample(&name).unwrap()
    };
    // Alice is known from here on, and does not have to wait.
    assert_eq!(exporter.scrape().status, 200);
    let mut flood = Vec::new();
    while judged("throttled") == 0.0 {
        assert!(flood.len() < 480, "so many may not wait");
        for n in 0..20 {
            let tcp = exporter.tcp_from(address(2 + n % 5));
            let mut connection = Connection::open_on(tcp, client.clone()).unwrap();
            connection
                .ask("/metrics", &basic("bob", &format!("wrong{n}")))
                .unwrap();
            flood.push(connection);
        }
    }
    let before = judged("refused");
    let tcp = exporter.tcp_from(address(99));
    let mut bob = Connection::open_on(tcp, client).unwrap();
    let head = bob.get("/metrics", &basic("bob", "secret")).unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    // Those of the five addresses whose turns came first, and those that were checked while it was requested.
    let meanwhile = judged("refused") - before;
    assert!(
        meanwhile < 40.0,
        "{meanwhile} wrong ones were checked first"
    );
}

#[test]
fn without_users_idle_connections_make_room_for_others() {
    let exporter = Exporter::start(&[]);
    let get = |stream: &mut TcpStream| {
        stream
            .write_all(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    };
    let mut kept = exporter.tcp_from(address(9));
    get(&mut kept);
    let _crowd: Vec<_> = (0..600)
        .map(|_| {
            let mut stream = exporter.tcp_from(address(2));
            get(&mut stream);
            stream
        })
        .collect();
    get(&mut exporter.tcp_from(address(10)));
    // Its network has no other connection, so it was not closed.
    get(&mut kept);
}

#[test]
fn with_few_files_silent_connections_keep_no_client_out() {
    let pair = Pair::new();
    let volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    let argument = format!("--web.config.file={}", volume.config().display());
    let exporter = Exporter::start_by(&mut command_with_files(256, &[&argument]));
    assert_eq!(exporter.scrape().sample("process_max_fds"), Some(256.0));
    let _silent: Vec<_> = (0..400).map(|_| exporter.tcp_from(address(2))).collect();
    for _ in 0..3 {
        let reply = exporter.scrape();
        assert_eq!(reply.status, 200);
        let failed = reply.text().lines().any(|line| {
            line.starts_with("node_scrape_collector_success{collector=\"stat\"}")
                && line.ends_with(" 0")
        });
        assert!(!failed, "a collector could not open its files");
    }
    assert!(
        !exporter.log().contains("cannot accept"),
        "{}",
        exporter.log()
    );
}

#[test]
fn a_head_has_its_deadline_on_kept_connections_of_authenticated_clients_too() {
    let (exporter, _volume, pair) = secured();
    let request = format!(
        "GET /-/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n",
        basic("alice", PASSWORD)
    );
    for begin in ["GET / HT", &format!("{request}GET / HT")] {
        let mut kept = Connection::open(&exporter, &pair).unwrap();
        kept.write_raw(request.as_bytes());
        let head = kept.answer().unwrap();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        kept.write_raw(begin.as_bytes());
        // Between two requests it would be kept for minutes.
        kept.wait_for_close();
    }
}

#[test]
fn a_refusal_ends_what_a_connection_was_granted() {
    let (exporter, _volume, pair) = secured();
    let mut kept = Connection::open(&exporter, &pair).unwrap();
    for (password, status) in [(PASSWORD, 200), ("wrong", 401)] {
        let head = kept.get("/metrics", &basic("alice", password)).unwrap();
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
    }
    kept.wait_for_close();
}

#[test]
fn an_http2_client_that_ignores_goaway_is_closed() {
    /// A frame of RFC 9113, section 4.1, on stream 0 or 1.
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [kind, flags, 0, 0, 0, stream];
        [&length[1..], &head, payload].concat()
    }
    let pair = Pair::new();
    let mut volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    let exporter = Exporter::with_config(&volume.config());
    let mut config = client_config(&pair);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut kept = Connection::open_by(&exporter, Arc::new(config)).unwrap();
    let authorization = basic("alice", PASSWORD);
    // RFC 7541: GET, https, the path /, an authority, and `authorization` by its index, which is 15 + 8.
    let fields = [
        &[0x82, 0x87, 0x84, 0x41, 1, b'x', 0x0f, 8][..],
        &[u8::try_from(authorization.len()).unwrap()],
        authorization.as_bytes(),
    ]
    .concat();
    let request = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(4, 0, 0, &[]),
        &frame(1, 5, 1, &fields),
    ]
    .concat();
    kept.write_raw(&request);
    kept.wait_for_bytes(b"Node Exporter");
    volume.swap_to(&pair, &config_text(&hash("another password")));
    exporter.wait_for_log("configuration reloaded");
    // It would be kept for minutes otherwise.
    kept.wait_for_close();
}

#[test]
fn a_half_closed_client_has_its_answer() {
    let exporter = Exporter::start(&[]);
    let mut stream = exporter.tcp();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\nnode_load1 "));

    let (exporter, _volume, pair) = secured();
    let mut connection = Connection::open(&exporter, &pair).unwrap();
    connection
        .ask("/metrics", &basic("alice", PASSWORD))
        .unwrap();
    connection.close_half();
    let head = connection.answer().unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[test]
fn a_request_has_one_host() {
    let exporter = Exporter::start(&[]);
    for (version, hosts, status) in [
        ("1.1", "", 400),
        ("1.1", "Host: a\r\nHost: a\r\n", 400),
        ("1.1", "Host: a\r\n", 200),
        ("1.1", "Host: \r\n", 200),
        ("1.0", "", 200),
    ] {
        for path in ["/-/healthy", "/metrics"] {
            let mut stream = exporter.tcp();
            let request = format!("GET {path} HTTP/{version}\r\n{hosts}\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.ends_with(&status.to_string()), "{request}{answer}");
            if status == 400 {
                // It is closed, so that nothing after it is treated as a request.
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
        }
    }
}
