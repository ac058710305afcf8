//! `/-/status`: what is served, and when which credential was last used.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it is all tests

use crate::web_support::{
    Exporter, PASSWORD, Pair, Reply, Volume, config_text, hash, unix_now, wait_for,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secure_exporter_web_config::BcryptHash;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const NEW_PASSWORD: &str = "battery staple";
const USER: &str = "alice";

fn status_reply(exporter: &Exporter, password: &str) -> Reply {
    exporter.get("/-/status", &["-u", &format!("{USER}:{password}")])
}

fn status(exporter: &Exporter, password: &str) -> Value {
    let reply = status_reply(exporter, password);
    assert_eq!(reply.status, 200, "{reply:?}");
    serde_json::from_slice(&reply.body).unwrap()
}

fn id(hash: &str) -> String {
    BcryptHash::parse(hash).unwrap().id()
}

/// `None` if the hash is not listed.
fn last_used(status: &Value, hash: &str) -> Option<Option<u64>> {
    let listed = status["credentials"].as_array().unwrap();
    let found = listed.iter().find(|one| one["id"] == id(hash))?;
    Some(found["lastUsed"].as_u64())
}

fn both(old: &str, new: &str) -> String {
    config_text(&format!("\n    - {old}\n    - {new}"))
}

fn wait_for_the_next_second() {
    let now = unix_now();
    wait_for("the next second", || (unix_now() > now).then_some(()));
}

#[test]
fn it_is_protected_like_the_metrics_and_shows_what_is_served() {
    let pair = Pair::new();
    let before = unix_now();
    let volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    let exporter = Exporter::with_config(&volume.config());
    for credentials in [
        &[] as &[&str],
        &["-u", "alice:wrong"],
        &["-u", "nobody:correct horse"],
    ] {
        let reply = exporter.get("/-/status", credentials);
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (401, "Unauthorized\n")
        );
    }
    let reply = status_reply(&exporter, PASSWORD);
    assert!(
        reply.has_header("content-type: application/json")
            && reply.has_header("cache-control: no-store"),
        "{}",
        reply.head
    );
    let status: Value = serde_json::from_slice(&reply.body).unwrap();
    let (start, time) = (&status["startTime"], &status["time"]);
    let (start, time) = (start.as_u64().unwrap(), time.as_u64().unwrap());
    assert!(before <= start && start <= time && time <= unix_now());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["snapshot"], 1);
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let fingerprint: String = Sha256::digest(&der)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let certificate = &status["certificate"];
    assert_eq!(certificate["sha256Fingerprint"], fingerprint);
    let serial = certificate["serialNumber"].as_str().unwrap();
    let metrics = exporter.scrape();
    assert_eq!(
        metrics.sample(&format!(
            "secure_exporter_certificate_info{{serial=\"{serial}\"}}"
        )),
        Some(1.0)
    );
    let not_after = certificate["notAfter"].as_f64();
    assert_eq!(
        metrics.sample("secure_exporter_certificate_not_after_timestamp_seconds"),
        not_after
    );
    let not_before = certificate["notBefore"].as_f64();
    assert_eq!(
        metrics.sample("secure_exporter_certificate_not_before_timestamp_seconds"),
        not_before
    );
    assert!(not_before < not_after);
}

#[test]
fn only_the_hash_that_was_used_has_a_use() {
    let pair = Pair::new();
    let (old, new) = (hash(PASSWORD), hash(NEW_PASSWORD));
    let mut volume = Volume::with(&pair, &both(&old, &new));
    let exporter = Exporter::with_config(&volume.config());
    let first = status(&exporter, PASSWORD);
    assert_eq!(first["credentials"].as_array().unwrap().len(), 2);
    let first_use = last_used(&first, &old).unwrap().unwrap();
    assert_eq!(last_used(&first, &new), Some(None));

    // Recognized without bcrypt, and on another path.
    wait_for_the_next_second();
    assert_eq!(exporter.scrape().status, 200);
    let second = status(&exporter, NEW_PASSWORD);
    let second_use = last_used(&second, &old).unwrap().unwrap();
    assert!(second_use > first_use);
    assert!(last_used(&second, &new).unwrap().is_some());

    wait_for_the_next_second();
    assert_eq!(status_reply(&exporter, "wrong").status, 401);
    assert_eq!(
        last_used(&status(&exporter, NEW_PASSWORD), &old),
        Some(Some(second_use))
    );

    // What is still accepted is remembered; the rest is forgotten, even if it returns.
    volume.swap_to(&pair, &config_text(&old));
    let third = wait_for("the new hash's end", || {
        let status = status(&exporter, PASSWORD);
        last_used(&status, &new).is_none().then_some(status)
    });
    assert_eq!(
        (
            &third["snapshot"],
            third["credentials"].as_array().unwrap().len()
        ),
        (&Value::from(2), 1)
    );
    let metrics = exporter.scrape();
    let count = |hash: &str| {
        let id = id(hash);
        metrics.sample(&format!(
            "secure_exporter_credential_authentications_total{{credential=\"{id}\"}}"
        ))
    };
    assert!(count(&old).unwrap() > 3.0, "{}", metrics.text());
    assert_eq!(count(&new), None);
    volume.swap_to(&pair, &both(&new, &old));
    wait_for("the new hash's return", || {
        (last_used(&status(&exporter, PASSWORD), &new) == Some(None)).then_some(())
    });
}

#[test]
fn metrics_count_the_uses_by_id_and_name_neither_user_nor_secret() {
    let (old, new) = (hash(PASSWORD), hash(NEW_PASSWORD));
    let volume = Volume::with(&Pair::new(), &both(&old, &new));
    let exporter = Exporter::with_config(&volume.config());
    assert_eq!(exporter.scrape().status, 200);
    let before = unix_now();
    let metrics = exporter.scrape();
    let sample = |family: &str, hash: &str| {
        let id = id(hash);
        metrics.sample(&format!(
            "secure_exporter_credential_{family}{{credential=\"{id}\"}}"
        ))
    };
    assert_eq!(sample("authentications_total", &old), Some(2.0));
    assert_eq!(sample("authentications_total", &new), Some(0.0));
    assert!(sample("last_used_timestamp_seconds", &old).unwrap() >= before as f64);
    assert_eq!(sample("last_used_timestamp_seconds", &new), None);
    assert_eq!(metrics.sample("secure_exporter_config_snapshot"), Some(1.0));
    for text in [metrics.text(), status_reply(&exporter, PASSWORD).text()] {
        for secret in [USER, PASSWORD, NEW_PASSWORD, &old[7..], &new[7..], "$2"] {
            assert!(!text.contains(secret), "{secret} is in: {text}");
        }
    }
}

#[test]
fn it_answers_while_a_collector_hangs() {
    let procfs = tempfile::tempdir().unwrap();
    // A FIFO without a writer blocks every process that opens it.
    let made = std::process::Command::new("mkfifo")
        .arg(procfs.path().join("loadavg"))
        .status();
    assert!(made.unwrap().success());
    let volume = Volume::with(&Pair::new(), &config_text(&hash(PASSWORD)));
    let exporter = Exporter::start(&[
        &format!("--web.config.file={}", volume.config().display()),
        &format!("--path.procfs={}", procfs.path().display()),
        "--collector.disable-defaults",
        "--collector.loadavg",
    ]);
    let stuck = exporter.get(
        "/metrics",
        &[
            "-u",
            &format!("{USER}:{PASSWORD}"),
            "-H",
            "X-Prometheus-Scrape-Timeout-Seconds: 0.2",
        ],
    );
    assert_eq!(stuck.status, 503, "the collector does not hang");
    assert_eq!(status(&exporter, PASSWORD)["snapshot"], 1);
}
