//! The commands for a bare host, as users and scripts run them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it is all tests

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::web_support::{Exporter, Reply, wait_for};
use tempfile::TempDir;

const WORDS: &str = "correct horse battery";

/// The result of a run.
struct Ended {
    code: Option<i32>,
    printed: String,
    said: String,
}

impl Ended {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            printed: String::from_utf8_lossy(&output.stdout).into_owned(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.said);
        self
    }

    fn refused(self) -> String {
        assert_eq!(self.code, Some(1), "{}", self.said);
        assert_eq!(self.printed, "");
        self.said
    }
}

fn run_with(arguments: &[&str], input: &[u8]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_secure-exporter"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    Ended::of(&child.wait_with_output().unwrap())
}

fn run(arguments: &[&str]) -> Ended {
    run_with(arguments, b"")
}

#[test]
fn a_hash_of_what_stands_on_standard_input() {
    for end in ["", "\n", "\r\n"] {
        let ended = run_with(&["hash-password"], format!("{WORDS}{end}").as_bytes()).well();
        let hash = ended.printed.trim_end();
        assert!(hash.starts_with("$2b$12$") && ended.printed == format!("{hash}\n"));
        assert!(bcrypt::verify(WORDS, hash).unwrap());
        assert_eq!(ended.said, "");
    }
    let cheap = run_with(&["hash-password", "--cost", "10"], b"hunter2").well();
    assert!(cheap.printed.starts_with("$2b$10$"));
    assert!(cheap.said.contains("7 characters") && !cheap.said.contains("hunter2"));
}

#[test]
fn what_is_no_password_is_refused() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty"),
        (b"\n", "empty"),
        (&[b'x'; 73], "73 bytes"),
        (b"two\nlines", "control"),
        (b"a\0b", "control"),
        (b"\xff\xfe", "UTF-8"),
    ];
    for (input, word) in cases {
        let said = run_with(&["hash-password"], input).refused();
        assert!(said.contains(word), "{said}");
    }
    assert!(
        run(&["hash-password", "--cost=9"])
            .refused()
            .contains("10..=16")
    );
}

#[test]
fn a_password_is_never_taken_from_the_arguments() {
    for argument in ["s3cret", "--password=s3cret", "-s3cret", "--s3cret"] {
        let said = run_with(&["hash-password", argument], WORDS.as_bytes()).refused();
        assert!(said.contains("cannot be passed as an argument"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

/// Runs a command under util-linux' `script`, which provides a terminal.
#[test]
fn on_a_terminal_it_is_asked_for_twice_and_not_shown() {
    let asked = |answers: [&str; 2]| {
        let program = env!("CARGO_BIN_EXE_secure-exporter");
        let mut child = Command::new("script")
            .args(["-qec", &format!("{program} hash-password --cost 10")])
            .arg("/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut seen = String::new();
        for (prompt, answer) in ["Password: ", "Repeat it: "].iter().zip(answers) {
            let mut byte = [0];
            while !seen.ends_with(prompt) {
                assert_eq!(output.read(&mut byte).unwrap(), 1, "{seen}");
                seen.push(char::from(byte[0]));
            }
            // The terminal turns off echo shortly after the prompt, and discards earlier input.
            std::thread::sleep(std::time::Duration::from_millis(300));
            writeln!(input, "{answer}").unwrap();
        }
        output.read_to_string(&mut seen).unwrap();
        (child.wait().unwrap().code(), seen)
    };
    let (code, seen) = asked([WORDS, WORDS]);
    assert_eq!(code, Some(0), "{seen}");
    assert!(!seen.contains("horse"), "{seen}");
    let hash = seen
        .lines()
        .find(|line| line.starts_with("$2b$10$"))
        .unwrap();
    assert!(bcrypt::verify(WORDS, hash.trim_end()).unwrap());

    let (code, seen) = asked([WORDS, "correct horse batterie"]);
    assert!(code == Some(1) && seen.contains("differ"), "{seen}");
    assert!(!seen.contains("$2b$") && !seen.contains("horse"), "{seen}");
}

/// A directory in which `web-config init` has run for localhost.
struct Made {
    folder: TempDir,
    ended: Ended,
}

impl Made {
    fn new(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("conf");
        let arguments = [
            "--host",
            "localhost",
            "--directory",
            directory.to_str().unwrap(),
        ];
        let ended = run(&[&["web-config", "init"], &arguments[..], options].concat()).well();
        Self { folder, ended }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("conf").join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    fn run(&self, command: &[&str], options: &[&str]) -> Ended {
        let directory = self.path("");
        let place = ["--directory", directory.to_str().unwrap()];
        run(&[command, &place, options].concat())
    }

    fn check(&self) -> Ended {
        run(&["check-config", self.path("config.yml").to_str().unwrap()])
    }

    /// Scrapes like Prometheus: verified, with the password from the file.
    fn scrape(&self, exporter: &Exporter) -> Reply {
        let authority = self.path("prometheus/ca.crt");
        let user = format!("prometheus:{}", self.read("prometheus/password"));
        let options = ["--cacert", authority.to_str().unwrap(), "-u", &user];
        exporter.curl("https", "/metrics", &options)
    }
}

const FILES: [(&str, u32); 8] = [
    ("config.yml", 0o600),
    ("tls.crt", 0o644),
    ("tls.key", 0o600),
    ("ca.crt", 0o644),
    ("ca.key", 0o600),
    ("prometheus/ca.crt", 0o644),
    ("prometheus/password", 0o600),
    ("prometheus/scrape.yml", 0o644),
];

#[test]
fn init_makes_what_a_verified_scrape_needs() {
    let made = Made::new(&[]);
    for (name, mode) in FILES {
        assert_eq!(made.mode(name), mode, "{name}");
    }
    assert_eq!((made.mode(""), made.mode("prometheus")), (0o700, 0o700));
    let job = made.read("prometheus/scrape.yml");
    for line in [
        "ca_file: ca.crt",
        "password_file: password",
        "server_name: \"localhost\"",
        "- \"localhost:9100\"",
    ] {
        assert!(job.contains(line), "{job}");
    }
    assert!(!job.contains("insecure_skip_verify") && made.ended.printed.contains(&job));
    let said = format!("{}{}", made.ended.printed, made.ended.said);
    let hash = made.read("config.yml");
    let hash = hash
        .split_whitespace()
        .find(|word| word.starts_with("$2b$10$"))
        .unwrap();
    for secret in [
        made.read("prometheus/password").as_str(),
        hash,
        "PRIVATE KEY",
    ] {
        assert!(!said.contains(secret), "a secret in the output");
    }

    let exporter = Exporter::start(&[
        &format!("--web.config.file={}", made.path("config.yml").display()),
        "--web.require=tls,auth",
    ]);
    assert_eq!(made.scrape(&exporter).status, 200);
    assert_eq!(exporter.get("/metrics", &[]).status, 401);
}

#[test]
fn existing_files_are_only_overwritten_on_request() {
    let made = Made::new(&[]);
    let before = FILES.map(|(name, _)| made.read(name));
    let names = |folder: &Path| fs::read_dir(folder).unwrap().count();
    let count = names(&made.path(""));
    let again = ["--host", "localhost"];
    let said = made.run(&["web-config", "init"], &again).refused();
    assert!(
        said.contains("ca.key") && said.contains("--overwrite"),
        "{said}"
    );
    assert_eq!(FILES.map(|(name, _)| made.read(name)), before);
    // A single existing file is reason enough.
    fs::remove_file(made.path("config.yml")).unwrap();
    made.run(&["web-config", "init"], &again).refused();
    assert!(!made.path("config.yml").exists());

    made.run(
        &["web-config", "init"],
        &[&again[..], &["--overwrite"]].concat(),
    )
    .well();
    for ((name, mode), before) in FILES.iter().zip(before) {
        let same = made.read(name) == before;
        assert_eq!(same, *name == "prometheus/scrape.yml", "{name}");
        assert_eq!(made.mode(name), *mode, "{name}");
    }
    assert_eq!(names(&made.path("")), count);
}

#[test]
fn a_renewal_reaches_a_running_exporter_and_keeps_all_else() {
    let made = Made::new(&[]);
    fs::set_permissions(made.path("tls.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let exporter = Exporter::with_config(&made.path("config.yml"));
    let kept = ["config.yml", "ca.crt", "ca.key", "prometheus/password"];
    let before = kept.map(|name| made.read(name));
    let (mut certificate, mut key) = (made.read("tls.crt"), made.read("tls.key"));
    let early = made.run(&["web-config", "renew", "--when-due"], &[]).well();
    assert!(
        early.printed.contains("is renewed only in"),
        "{}",
        early.printed
    );
    assert_eq!(made.read("tls.crt"), certificate);

    for (options, keeps_key) in [(&[][..], true), (&["--key", "ed25519"], false)] {
        let reloads = exporter.log().matches("configuration reloaded").count();
        made.run(&["web-config", "renew"], options).well();
        assert_ne!(made.read("tls.crt"), certificate);
        assert_eq!(made.read("tls.key") == key, keeps_key);
        wait_for("the reload", || {
            (exporter.log().matches("configuration reloaded").count() > reloads).then_some(())
        });
        // With the CA that Prometheus has had from the beginning.
        assert_eq!(made.scrape(&exporter).status, 200);
        assert!(
            !exporter.log().contains("not reloaded"),
            "{}",
            exporter.log()
        );
        (certificate, key) = (made.read("tls.crt"), made.read("tls.key"));
    }
    assert_eq!(kept.map(|name| made.read(name)), before);
    assert_eq!((made.mode("tls.key"), made.mode("tls.crt")), (0o640, 0o644));
}

#[test]
fn a_renewal_is_due_in_the_last_third() {
    let made = Made::new(&[]);
    for (times, renewed) in [(2, false), (10, true)] {
        expiring(&made, 10 * 3600, times);
        let before = made.read("tls.crt");
        let ended = made.run(&["web-config", "renew", "--when-due"], &[]).well();
        assert_eq!(made.read("tls.crt") != before, renewed, "{}", ended.printed);
    }
}

/// Installs a certificate for localhost that expires in `left` seconds, after a lifetime of `times` as long, and the CA
/// that signed it.
fn expiring(made: &Made, left: i64, times: i64) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&authority_key).unwrap().pem();
    fs::write(made.path("ca.crt"), &certificate).unwrap();
    fs::write(made.path("ca.key"), authority_key.serialize_pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&certificate, authority_key).unwrap();
    let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    leaf.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(left);
    leaf.not_before = leaf.not_after - time::Duration::seconds(left.abs() * times);
    let key = KeyPair::from_pem(&made.read("tls.key")).unwrap();
    fs::write(
        made.path("tls.crt"),
        leaf.signed_by(&key, &issuer).unwrap().pem(),
    )
    .unwrap();
}

#[test]
fn check_config_prints_what_the_file_configures() {
    let made = Made::new(&["--key", "rsa-2048", "--username", "scraper"]);
    let good = made.check().well();
    for part in [
        "localhost",
        "in 36",
        "matches the certificate",
        "scraper",
        "cost 10",
        "1.2 to 1.3",
    ] {
        assert!(good.printed.contains(part), "{part}: {}", good.printed);
    }
    assert_eq!(good.said, "");

    let soon = Made::new(&["--duration", "250h"]).check().well();
    assert!(soon.said.contains("expires in 10 days"), "{}", soon.said);

    expiring(&made, -60, 1000);
    let over = made.check();
    assert_eq!(over.code, Some(1));
    assert!(over.said.contains("expired at"), "{}", over.said);
}

#[test]
fn check_config_names_the_place_of_a_mistake() {
    let made = Made::new(&[]);
    let good = made.read("config.yml");
    let other = Made::new(&[]);
    let cases = [
        (good.replace("key_file", "keyfile"), "line 3: "),
        (good.replace("$2b$10$", "$apr1$"), "line 5: "),
        (
            good.replace("  key_file: tls.key\n", ""),
            "line 2: tls_server_config: no private key",
        ),
        (format!("{good}rate_limit: 5\n"), "line 6: "),
        (
            good.replace("tls.key", other.path("tls.key").to_str().unwrap()),
            "do not match",
        ),
        (good.replace("tls.crt", "absent.crt"), "absent.crt"),
    ];
    for (text, place) in cases {
        fs::write(made.path("config.yml"), text).unwrap();
        let said = made.check().refused();
        assert!(said.contains(place), "{place}: {said}");
    }
}

#[test]
fn check_config_warns_of_what_is_open() {
    let made = Made::new(&[]);
    fs::write(made.path("config.yml"), "").unwrap();
    let open = made.check().well();
    assert!(open.printed.contains("plain HTTP"), "{}", open.printed);
    assert!(
        open.said
            .contains("metrics are served without authentication"),
        "{}",
        open.said
    );
    assert!(open.said.contains("no tls_server_config"), "{}", open.said);

    let made = Made::new(&[]);
    for name in ["config.yml", "tls.key"] {
        fs::set_permissions(made.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let readable = made.check().well().said;
    assert_eq!(
        readable.matches("can be read by every user").count(),
        2,
        "{readable}"
    );
}

#[test]
fn commands_are_found_by_the_help_and_flags_stay_flags() {
    let help = run(&["--help"]).well().printed;
    for name in [
        "hash-password",
        "web-config",
        "check-config",
        "--web.config.file",
    ] {
        assert!(help.contains(name), "{name}");
    }
    for command in [
        &["hash-password", "--help"][..],
        &["web-config", "--help"],
        &["web-config", "init", "--help"],
        &["web-config", "renew", "--help"],
        &["check-config", "--help"],
    ] {
        assert!(
            run(command)
                .well()
                .printed
                .contains("Usage: secure-exporter")
        );
    }
    assert!(run(&["web-config"]).refused().contains("init"));
    assert!(
        run(&["--log.level=info", "check-config"])
            .refused()
            .contains("unexpected check-config")
    );
}
