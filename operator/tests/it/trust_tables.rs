//! Which client can verify which server during a CA rotation: every combination of what exporters may serve and what
//! scrapers may trust, with rustls, OpenSSL and Go. For client certificates the same with exchanged roles: what scrapers may
//! present and what exporters may trust. The rotation only allows the combinations that work in these tables.

use std::{fs, path::Path, process::Command};

use jiff::{SignedDuration, Timestamp};
use secure_exporter_pki::{
    IssuedPair, KeyType, LeafParameters, Serial, Subject, cross_sign,
    inspect::{verify, verify_client},
    issue_authority, issue_client, issue_leaf,
};
use tempfile::TempDir;

const NAME: &str = "nodes.monitoring.svc";

/// Who presents the certificate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Exporter,
    Scraper,
}

/// What an exporter may serve, or a scraper present.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Served {
    Old,
    NewWithCross,
    New,
}

/// What a scraper may trust, or an exporter.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trusted {
    Old,
    Both,
    New,
}

const SERVED: [Served; 3] = [Served::Old, Served::NewWithCross, Served::New];
const TRUSTED: [Trusted; 3] = [Trusted::Old, Trusted::Both, Trusted::New];

/// The table. Two combinations fail, and a rotation must never allow them.
fn works(served: Served, trusted: Trusted) -> bool {
    !matches!(
        (served, trusted),
        (Served::Old, Trusted::New) | (Served::New, Trusted::Old)
    )
}

struct Material {
    old: IssuedPair,
    new: IssuedPair,
    cross: String,
    old_leaf: IssuedPair,
    new_leaf: IssuedPair,
}

impl Material {
    fn of(role: Role, key_type: KeyType) -> Self {
        let now = Timestamp::now();
        let serial = |byte| Serial::from_bytes([byte; 16]);
        let authority = |generation, byte| {
            issue_authority("nodes.monitoring", generation, now, serial(byte)).unwrap()
        };
        let (old, new) = (authority(1, 1), authority(2, 2));
        let cross = cross_sign(
            "nodes.monitoring",
            2,
            &new.key_pem,
            &old.certificate_pem,
            &old.key_pem,
            now,
            serial(3),
        )
        .unwrap();
        let leaf = |authority: &IssuedPair, byte| {
            let parameters = parameters(key_type);
            let (certificate, key) = (&authority.certificate_pem, &authority.key_pem);
            let serial = serial(byte);
            match role {
                Role::Exporter => issue_leaf(&parameters, certificate, key, now, serial),
                Role::Scraper => issue_client(&parameters, None, certificate, key, now, serial),
            }
            .unwrap()
        };
        Self {
            old_leaf: leaf(&old, 4),
            new_leaf: leaf(&new, 5),
            old,
            new,
            cross,
        }
    }

    fn chain(&self, served: Served) -> String {
        match served {
            Served::Old => self.old_leaf.certificate_pem.clone(),
            Served::New => self.new_leaf.certificate_pem.clone(),
            Served::NewWithCross => format!("{}{}", self.new_leaf.certificate_pem, self.cross),
        }
    }

    fn bundle(&self, trusted: Trusted) -> String {
        let (old, new) = (&self.old.certificate_pem, &self.new.certificate_pem);
        match trusted {
            Trusted::Old => old.clone(),
            Trusted::New => new.clone(),
            Trusted::Both => format!("{old}{new}"),
        }
    }

    fn cells(&self) -> impl Iterator<Item = (Served, Trusted, String, String)> {
        SERVED.into_iter().flat_map(move |served| {
            TRUSTED.map(|trusted| (served, trusted, self.chain(served), self.bundle(trusted)))
        })
    }
}

fn parameters(key_type: KeyType) -> LeafParameters {
    LeafParameters {
        key_type,
        subject: Subject {
            common_name: "nodes".into(),
            organization: None,
            organizational_unit: None,
            country: None,
            province: None,
            locality: None,
        },
        dns_names: vec![NAME.into()],
        ip_addresses: Vec::new(),
        duration: SignedDuration::from_hours(1),
    }
}

#[test]
fn rustls_sees_the_table_with_every_kind_of_key() {
    for key_type in [
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::Rsa2048,
        KeyType::Ed25519,
    ] {
        for role in [Role::Exporter, Role::Scraper] {
            let material = Material::of(role, key_type);
            for (served, trusted, chain, bundle) in material.cells() {
                let now = Timestamp::now();
                let outcome = match role {
                    Role::Exporter => verify(&chain, &bundle, NAME, now),
                    Role::Scraper => verify_client(&chain, &bundle, now),
                };
                assert_eq!(
                    outcome.is_ok(),
                    works(served, trusted),
                    "{role:?} with {key_type:?}: {served:?} meets {trusted:?}: {outcome:?}"
                );
            }
        }
    }
}

#[test]
fn openssl_sees_the_table_with_every_kind_of_key() {
    for key_type in [KeyType::EcdsaP256, KeyType::Rsa2048, KeyType::Ed25519] {
        for (role, options) in [
            (
                Role::Exporter,
                &["-purpose", "sslserver", "-verify_hostname", NAME][..],
            ),
            (Role::Scraper, &["-purpose", "sslclient"][..]),
        ] {
            let material = Material::of(role, key_type);
            for (served, trusted, chain, bundle) in material.cells() {
                let folder = files(&chain, &bundle);
                let verified = Command::new("openssl")
                    .current_dir(folder.path())
                    .args(["verify", "-CAfile", "bundle.pem", "-untrusted", "chain.pem"])
                    .args(options)
                    .arg("chain.pem")
                    .output()
                    .expect("openssl is needed: apt-get install openssl");
                assert_eq!(
                    verified.status.success(),
                    works(served, trusted),
                    "{role:?} with {key_type:?}: {served:?} meets {trusted:?}: {}",
                    String::from_utf8_lossy(&verified.stderr)
                );
            }
        }
    }
}

/// Prometheus verifies as Go does, and shows its client certificate to Go in node_exporter. Go is needed by the tests against real servers anyway.
#[test]
fn go_sees_the_table_with_every_kind_of_key() {
    let build = TempDir::new().unwrap();
    let verifier = build.path().join("verify");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&verifier)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go/verify.go"))
        .env("GOFLAGS", "-mod=mod")
        .output()
        .expect("go is needed: install Go 1.26");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    for key_type in [KeyType::EcdsaP256, KeyType::Rsa2048, KeyType::Ed25519] {
        for (role, name) in [(Role::Exporter, Some(NAME)), (Role::Scraper, None)] {
            let material = Material::of(role, key_type);
            for (served, trusted, chain, bundle) in material.cells() {
                let folder = files(&chain, &bundle);
                let verified = Command::new(&verifier)
                    .current_dir(folder.path())
                    .args(["bundle.pem", "chain.pem"])
                    .args(name)
                    .output()
                    .unwrap();
                assert_eq!(
                    verified.status.success(),
                    works(served, trusted),
                    "{role:?} with {key_type:?}: {served:?} meets {trusted:?}: {}",
                    String::from_utf8_lossy(&verified.stderr)
                );
            }
        }
    }
}

fn files(chain: &str, bundle: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("chain.pem"), chain).unwrap();
    fs::write(folder.path().join("bundle.pem"), bundle).unwrap();
    folder
}
