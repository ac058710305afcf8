//! An invalid configuration is refused at the start, with the reason and the fix.

use crate::web_support::{Exporter, PASSWORD, Pair, Volume, config_text, hash, refusal};

fn refused_config(config: &str, options: &[&str]) -> String {
    let volume = Volume::with(&Pair::new(), config);
    let file = format!("--web.config.file={}", volume.config().display());
    refusal(&[&[file.as_str()], options].concat())
}

#[test]
fn what_is_required_must_be_there() {
    let auth_only = format!("basic_auth_users:\n  alice: {}\n", hash(PASSWORD));
    let tls_only = "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n";
    for (config, require, named) in [
        ("", "tls,auth", "tls_server_config"),
        ("", "auth", "basic_auth_users"),
        (auth_only.as_str(), "tls,auth", "tls_server_config"),
        (tls_only, "tls,auth", "basic_auth_users"),
    ] {
        let reason = refused_config(config, &[&format!("--web.require={require}")]);
        assert!(
            reason.contains("--web.require") && reason.contains(named),
            "{reason}"
        );
    }
    assert!(refusal(&["--web.require=tls"]).contains("--web.config.file"));
    assert!(
        refusal(&["--web.require=tls", "--web.config.file=/does/not/exist.yml"])
            .contains("cannot read /does/not/exist.yml")
    );
}

#[test]
fn an_md5_hash_is_explained() {
    let reason = refused_config(&config_text("$apr1$abcdefgh$0123456789012345678901"), &[]);
    for part in ["alice", "MD5", "$apr1$", "htpasswd -nbBC 12", "line 5"] {
        assert!(reason.contains(part), "{part} is missing: {reason}");
    }
    assert!(!reason.contains("0123456789"), "{reason}");
}

#[test]
fn hashes_that_make_wrong_passwords_expensive_are_refused() {
    let list = |hash: &str, count: usize| {
        let lines = format!("\n    - {hash}").repeat(count);
        config_text(&lines)
    };
    let reason = refused_config(&list(&hash(PASSWORD), 9), &[]);
    for part in ["alice", "9 hashes", "at most 8", "line 6"] {
        assert!(reason.contains(part), "{part} is missing: {reason}");
    }
    let costly = hash(PASSWORD).replacen("$04$", "$16$", 1);
    let reason = refused_config(&list(&costly, 3), &[]);
    assert!(reason.contains("two of cost 16"), "{reason}");
}

#[test]
fn mistakes_are_named_with_their_place() {
    let good = config_text(&hash(PASSWORD));
    let cases = [
        (format!("{good}unknown_thing: 1\n"), "line 6"),
        (
            good.replace("cert_file: tls.crt", "cert_file: absent.crt"),
            "absent.crt",
        ),
        (
            good.replace("key_file: tls.key", "key_file: tls.crt"),
            "not a private key",
        ),
        (
            format!("{good}rate_limit:\n  burst: 3\n"),
            "interval is missing",
        ),
        ("basic_auth_users:\n".to_owned(), "present but empty"),
        (
            good.replace(
                "key_file: tls.key",
                "key_file: tls.key\n  min_version: TLS10",
            ),
            "TLS10",
        ),
    ];
    for (config, place) in cases {
        let reason = refused_config(&config, &[]);
        assert!(reason.contains(place), "{place} is missing: {reason}");
    }
    let reason = refused_config(&format!("{good}unknown_thing: 1\n"), &[]);
    assert!(
        reason.contains("unknown_thing") && reason.contains("tls_server_config"),
        "{reason}"
    );
}

#[test]
fn flags_are_refused_by_name() {
    assert!(refusal(&["--collector.ntp"]).contains("ntp is not implemented"));
    assert!(refusal(&["--no-such-flag"]).contains("unknown long flag '--no-such-flag'"));
    assert!(
        refusal(&["--collector.netdev.device-exclude=("])
            .contains("--collector.netdev.device-exclude")
    );
}

#[test]
fn a_network_that_is_not_the_hosts_is_never_shown_as_such() {
    // As in a container with its own procfs: process 1 has the same network as this process.
    let reason = refusal(&["--host.network=apart"]);
    assert!(
        reason.contains("has the same network") && reason.contains("--path.procfs"),
        "{reason}"
    );
    let empty = tempfile::tempdir().unwrap();
    let procfs = format!("--path.procfs={}", empty.path().display());
    let reason = refusal(&["--host.network=apart", &procfs]);
    assert!(
        reason.contains("does not show") && reason.contains("hidepid"),
        "{reason}"
    );
    let reason = refusal(&["--host.network=apart", "--collector.netdev.address-info"]);
    assert!(
        reason.contains("--collector.netdev.address-info"),
        "{reason}"
    );
}

#[test]
fn a_taken_port_is_named() {
    let first = Exporter::start(&[]);
    let address = format!("--web.listen-address={}", first.address);
    let reason = refusal(&[&address]);
    assert!(
        reason.contains(&first.address.to_string()) && reason.contains("--web.listen-address"),
        "{reason}"
    );
}

#[test]
fn a_port_alone_is_both_families() {
    // Port 0 for each: the system chooses free ones.
    let exporter = Exporter::start(&["--web.listen-address=:0"]);
    let log = exporter.log();
    let all = log
        .lines()
        .filter(|line| line.contains("Listening on"))
        .nth(1);
    let all = all.map_or_else(
        || {
            exporter.wait_for_log("address=[::]:");
            exporter.log()
        },
        str::to_owned,
    );
    let port = all
        .split("[::]:")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    for host in ["127.0.0.1", "[::1]"] {
        let output = std::process::Command::new("curl")
            .args([
                "-q",
                "-s",
                "--noproxy",
                "*",
                &format!("http://{host}:{port}/-/healthy"),
            ])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"Healthy\n", "{host}");
    }
}
