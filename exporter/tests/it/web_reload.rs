//! Credentials change while the server runs; what worked keeps working.

use std::sync::Arc;

use crate::web_support::{
    Connection, DEADLINE, Exporter, PASSWORD, Pair, Volume, basic, client_config, config_text,
    hash, wait_for,
};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

const FAILED: &str = "secure_exporter_config_reloads_total{result=\"failure\"}";
const RELOADED: &str = "secure_exporter_config_reloads_total{result=\"success\"}";
const GOOD: &str = "secure_exporter_config_last_reload_successful";

fn exporter(volume: &Volume) -> Exporter {
    Exporter::start(&[
        &format!("--web.config.file={}", volume.config().display()),
        "--web.require=tls,auth",
    ])
}

fn wait_for_failure(exporter: &Exporter, count: f64) {
    wait_for("a counted failure", || {
        (exporter.scrape().sample(FAILED) == Some(count)).then_some(())
    });
    assert_eq!(exporter.scrape().sample(GOOD), Some(0.0));
}

#[test]
fn a_swapped_volume_is_taken_up_while_connections_stay() {
    let (old, new) = (Pair::new(), Pair::new());
    let mut volume = Volume::with(&old, &config_text(&hash(PASSWORD)));
    let exporter = exporter(&volume);
    let mut kept = Connection::open(&exporter, &old).unwrap();
    let head = kept.get("/metrics", &basic("alice", PASSWORD)).unwrap();
    assert!(
        head.starts_with("http/1.1 200") && !head.contains("connection: close"),
        "{head}"
    );
    assert!(Connection::open(&exporter, &new).is_err());

    // Old and new password overlap, as in a rotation by the operator.
    let both = format!("\n    - {}\n    - {}", hash(PASSWORD), hash("new password"));
    volume.swap_to(&new, &config_text(&both));
    wait_for("the new certificate", || {
        Connection::open(&exporter, &new).ok()
    });
    let head = kept
        .get("/metrics", &basic("alice", "new password"))
        .unwrap();
    assert!(
        head.starts_with("http/1.1 200") && head.contains("connection: close"),
        "{head}"
    );
    assert!(kept.is_closed());
    let metrics = exporter.scrape();
    assert_eq!(
        (metrics.sample(RELOADED), metrics.sample(FAILED)),
        (Some(1.0), Some(0.0))
    );

    volume.swap_to(&new, &config_text(&hash("new password")));
    wait_for("the old password's end", || {
        (exporter.scrape().status == 401).then_some(())
    });
}

#[test]
fn no_request_fails_while_the_volume_is_swapped() {
    let (old, new) = (Pair::new(), Pair::new());
    let mut volume = Volume::with(&old, &config_text(&hash(PASSWORD)));
    let exporter = exporter(&volume);
    volume.swap_to(&new, &config_text(&hash(PASSWORD)));
    wait_for("only good answers until the swap is through", || {
        let reply = exporter.get("/metrics", &["--http2", "-u", &format!("alice:{PASSWORD}")]);
        assert_eq!(reply.status, 200);
        (reply.sample(RELOADED) == Some(1.0)).then_some(())
    });
}

#[tokio::test]
async fn an_http2_connection_is_asked_to_close_after_the_swap() {
    let (old, new) = (Pair::new(), Pair::new());
    let mut volume = Volume::with(&old, &config_text(&hash(PASSWORD)));
    let exporter = exporter(&volume);
    let mut config = client_config(&old);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = tokio::net::TcpStream::connect(exporter.address)
        .await
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tls = connector
        .connect("localhost".try_into().unwrap(), tcp)
        .await
        .unwrap();
    let (mut requests, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/metrics")
        .header("authorization", basic("alice", PASSWORD));
    let answer = requests
        .send_request(request.body(Empty::<Bytes>::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    assert!(!connection.is_finished());
    volume.swap_to(&new, &config_text(&hash(PASSWORD)));
    // A connection that is merely idle is kept for minutes.
    let ended = tokio::time::timeout(DEADLINE, connection)
        .await
        .expect("the connection is kept after the swap");
    assert!(ended.unwrap().is_ok(), "closed without a GOAWAY");
}

#[test]
fn bad_sets_are_reported_once_and_the_last_valid_one_is_served() {
    let (pair, other) = (Pair::new(), Pair::new());
    let text = config_text(&hash(PASSWORD));
    let mut volume = Volume::with(&pair, &text);
    let exporter = exporter(&volume);
    let half_key = &pair.key[..pair.key.len() / 2];
    let half_certificate = &pair.certificate[..pair.certificate.len() / 2];
    let no_users = "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n";
    let empty_users = format!("{no_users}basic_auth_users: {{}}\n");
    let no_tls = format!("basic_auth_users:\n  alice: {}\n", hash(PASSWORD));
    let unknown_key = format!("{text}tls_server: {{}}\n");
    let cases: [(&str, &str, &str, &str); 9] = [
        (&text, &pair.certificate, &other.key, "do not match"),
        (&text, &pair.certificate, half_key, "no PEM private key"),
        (&text, half_certificate, &pair.key, "tls.crt"),
        (&text, "", &pair.key, "no PEM certificate"),
        ("", &pair.certificate, &pair.key, "tls_server_config"),
        (
            no_users,
            &pair.certificate,
            &pair.key,
            "basic_auth_users, which the configuration lacks",
        ),
        (
            &empty_users,
            &pair.certificate,
            &pair.key,
            "present but empty",
        ),
        (
            &no_tls,
            &pair.certificate,
            &pair.key,
            "tls_server_config, which the configuration lacks",
        ),
        (&unknown_key, &pair.certificate, &pair.key, "tls_server\\\""),
    ];
    for (count, (config, certificate, key, reason)) in (1_u32..).zip(cases) {
        volume.swap(&[
            ("web-config.yml", config),
            ("tls.crt", certificate),
            ("tls.key", key),
        ]);
        wait_for_failure(&exporter, f64::from(count));
        exporter.wait_for_log(reason);
        assert_eq!(exporter.get("/metrics", &[]).status, 401, "{reason}");
        assert!(Connection::open(&exporter, &pair).is_ok(), "{reason}");
    }
    // Each was logged once, however often it occurred.
    assert_eq!(
        exporter.log().matches("configuration not reloaded").count(),
        9
    );

    volume.swap(&[
        ("web-config.yml", &text),
        ("tls.crt", &other.certificate),
        ("tls.key", &other.key),
    ]);
    wait_for("recovery", || Connection::open(&exporter, &other).ok());
    let metrics = exporter.scrape();
    assert_eq!(
        (metrics.sample(RELOADED), metrics.sample(GOOD)),
        (Some(1.0), Some(1.0))
    );
}

#[test]
fn protection_that_was_there_does_not_vanish_without_require_either() {
    let pair = Pair::new();
    let mut volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    let exporter = Exporter::with_config(&volume.config());
    volume.swap_to(&pair, "");
    exporter.wait_for_log("tls_server_config was removed from the configuration");
    volume.swap_to(
        &pair,
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n",
    );
    exporter.wait_for_log("basic_auth_users was removed from the configuration");
    assert_eq!(exporter.get("/metrics", &[]).status, 401);
    assert_eq!(exporter.scrape().status, 200);
}

#[test]
fn files_replaced_one_by_one_on_a_bare_host() {
    let (old, new) = (Pair::new(), Pair::new());
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("config.yml", &config_text(&hash(PASSWORD)));
    write("tls.crt", &old.certificate);
    write("tls.key", &old.key);
    let exporter = Exporter::with_config(&directory.path().join("config.yml"));
    write("tls.crt", &new.certificate);
    exporter.wait_for_log("do not match");
    assert!(Connection::open(&exporter, &old).is_ok());
    write("tls.key", &new.key);
    wait_for("the new certificate", || {
        Connection::open(&exporter, &new).ok()
    });
}

#[test]
fn rate_limit_headers_and_http2_follow_the_file() {
    let pair = Pair::new();
    let text = config_text(&hash(PASSWORD));
    let mut volume = Volume::with(&pair, &text);
    let exporter = exporter(&volume);
    let get = || exporter.get("/metrics", &["--http2", "-u", &format!("alice:{PASSWORD}")]);
    assert!(get().head.starts_with("http/2 200"));
    let rest = "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n\
                rate_limit:\n  interval: 1h\n  burst: 1\n";
    volume.swap_to(&pair, &format!("{text}{rest}"));
    exporter.wait_for_log("configuration reloaded");
    let [first, second] = [get(), get()];
    assert!(first.head.starts_with("http/1.1 200"), "{}", first.head);
    assert!(first.has_header("x-frame-options: deny"));
    assert_eq!(second.status, 429);
}

#[test]
fn sighup_reloads_at_once_and_logs_the_result() {
    let pair = Pair::new();
    let mut volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    let exporter = exporter(&volume);
    exporter.signal("HUP");
    exporter.wait_for_log("configuration on disk is the one in use");
    volume.swap_to(&pair, "broken: true\n");
    wait_for_failure(&exporter, 1.0);
    exporter.signal("HUP");
    wait_for_failure(&exporter, 2.0);

    let open = Exporter::start(&[]);
    open.signal("HUP");
    assert_eq!(open.get_plain("/-/healthy", &[]).status, 200);
}

#[test]
fn no_secret_is_logged() {
    let pair = Pair::new();
    let (first, second) = (hash(PASSWORD), hash("other"));
    let mut volume = Volume::with(&pair, &config_text(&first));
    let exporter = Exporter::start(&[
        &format!("--web.config.file={}", volume.config().display()),
        "--log.level=debug",
    ]);
    assert_eq!(exporter.scrape().status, 200);
    assert_eq!(
        exporter
            .get("/metrics", &["--http2", "-u", "alice:guessed password"])
            .status,
        401
    );
    volume.swap_to(&pair, &config_text(&format!("{second}x")));
    exporter.wait_for_log("this bcrypt hash is damaged");
    volume.swap_to(&pair, &format!("basic_auth_users: {second}\n"));
    exporter.wait_for_log("expected mapping");
    volume.swap_to(&pair, &config_text(&second));
    exporter.wait_for_log("configuration reloaded");
    let log = exporter.log();
    for secret in [
        &first[7..],
        &second[7..],
        PASSWORD,
        "guessed",
        &basic("alice", PASSWORD)[6..],
        &pair.key[60..80],
    ] {
        assert!(!log.contains(secret), "{secret} is in: {log}");
    }
}
