//! Typical mistakes on a bare host: they are refused at the start with the reason, and do not affect an exporter that is
//! already running.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use testbed::{
    certificate::self_signed,
    host::{Host, TLS, htpasswd},
    slot::Slot,
    wait::wait_until,
};

/// A mistake: how to make it, and words of the error message.
struct Mistake {
    name: &'static str,
    make: fn(&Host) -> Result<()>,
    words: &'static [&'static str],
}

const MISTAKES: [Mistake; 9] = [
    Mistake {
        name: "an empty certificate",
        make: |host| host.write("node_exporter.crt", ""),
        words: &["node_exporter.crt"],
    },
    Mistake {
        name: "no certificate",
        make: |host| Ok(fs::remove_file(host.path("node_exporter.crt"))?),
        words: &["node_exporter.crt"],
    },
    Mistake {
        name: "a half-written certificate",
        make: |host| halve(host, "node_exporter.crt"),
        words: &["node_exporter.crt"],
    },
    Mistake {
        name: "a half-written key",
        make: |host| halve(host, "node_exporter.key"),
        words: &["node_exporter.key"],
    },
    Mistake {
        name: "the key of another certificate",
        make: |host| {
            let folder = host.path("other");
            fs::create_dir_all(&folder)?;
            self_signed(&folder, "other")?;
            fs::copy(folder.join("other.key"), host.path("node_exporter.key"))?;
            Ok(())
        },
        words: &["node_exporter.key", "node_exporter.crt"],
    },
    Mistake {
        name: "an unknown key",
        make: |host| host.write("config.yml", &format!("{}basic_auth_user:\n  a: b\n", TLS)),
        words: &["config.yml", "basic_auth_user", "line 4"],
    },
    Mistake {
        name: "a hash that is none",
        make: |host| {
            host.write(
                "config.yml",
                &format!("{TLS}basic_auth_users:\n  node: s3cr3t-text\n"),
            )
        },
        words: &["config.yml", "node", "bcrypt", "htpasswd -nbBC 12"],
    },
    Mistake {
        name: "an emptied configuration",
        make: |host| host.write("config.yml", ""),
        words: &[],
    },
    Mistake {
        name: "users that were emptied",
        make: |host| host.write("config.yml", &format!("{TLS}basic_auth_users: {{}}\n")),
        words: &["basic_auth_users"],
    },
];

#[test]
fn a_mistake_at_the_start_is_named() -> Result<()> {
    let slot = Slot::shared();
    for mistake in MISTAKES {
        let host = protected(&slot)?;
        (mistake.make)(&host)?;
        let said = host.refused(&["--web.require=tls,auth"])?;
        check_words(&mistake, &said)?;
    }
    Ok(())
}

#[test]
fn a_mistake_while_it_runs_changes_nothing() -> Result<()> {
    let slot = Slot::shared();
    let host = protected(&slot)?;
    let good = |name: &str| fs::read_to_string(host.path(name));
    let files = ["config.yml", "node_exporter.crt", "node_exporter.key"];
    let kept = [good(files[0])?, good(files[1])?, good(files[2])?];
    let exporter = host.start(&["--web.require=tls,auth"])?;
    for mistake in MISTAKES {
        let before = exporter.log()?.len();
        let said = || -> Result<String> {
            Ok(exporter.log()?.get(before..).unwrap_or_default().to_owned())
        };
        (mistake.make)(&host)?;
        wait_until(mistake.name, Duration::from_secs(20), || {
            Ok(said()?.contains("configuration not reloaded").then_some(()))
        })?;
        check_words(&mistake, &said()?)?;
        serves_as_before(&host, mistake.name)?;
        for (file, text) in files.iter().zip(&kept) {
            host.write(file, text)?;
        }
        wait_until("the fixed configuration", Duration::from_secs(20), || {
            Ok(said()?
                .contains("configuration on disk is the one in use")
                .then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn an_md5_hash_is_refused_with_its_cause() -> Result<()> {
    let slot = Slot::shared();
    let host = Host::with_certificate(&slot)?;
    // The command that many guides contain: without -B it silently creates a hash that is not bcrypt.
    let hash = htpasswd(&["-nbC", "12"], "walnut")?;
    assert!(hash.starts_with("$apr1$"));
    host.write(
        "config.yml",
        &format!("{TLS}basic_auth_users:\n  node: {hash}\n"),
    )?;
    let said = host.refused(&[])?;
    for words in [
        "MD5",
        "$apr1$",
        "`htpasswd -nbC 12`",
        "-B is missing",
        "htpasswd -nbBC 12",
    ] {
        assert!(said.contains(words), "no {words} in: {said}");
    }
    assert!(!said.contains(&hash), "the hash is in the log");
    Ok(())
}

/// A host with a password, `walnut`.
fn protected(slot: &Slot) -> Result<Host> {
    let host = Host::with_certificate(slot)?;
    let hash = htpasswd(&["-nbBC", "5"], "walnut")?;
    host.write(
        "config.yml",
        &format!("{TLS}basic_auth_users:\n  node: {hash}\n"),
    )?;
    Ok(host)
}

fn halve(host: &Host, name: &str) -> Result<()> {
    let text = fs::read_to_string(host.path(name))?;
    host.write(name, text.get(..text.len() / 2).unwrap_or_default())
}

fn check_words(mistake: &Mistake, said: &str) -> Result<()> {
    for word in mistake.words {
        ensure!(
            said.contains(word),
            "{}: no {word:?} in: {said}",
            mistake.name
        );
    }
    for secret in ["s3cr3t-text", "$2y$05$", "MII"] {
        ensure!(
            !said.contains(secret),
            "{}: a secret in: {said}",
            mistake.name
        );
    }
    Ok(())
}

fn serves_as_before(host: &Host, name: &str) -> Result<()> {
    let right = host.get("/metrics").user("node", "walnut").send()?;
    ensure!(right.status == 200, "{name}: HTTP {}", right.status);
    let open = host.get("/metrics").send()?;
    ensure!(
        open.status == 401,
        "{name}: open to everybody: HTTP {}",
        open.status
    );
    Ok(())
}
