//! Client certificates: requested in the handshake, enforced for each path.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it is all tests

use std::sync::Arc;

use crate::web_support::{
    Connection, Exporter, PASSWORD, Pair, Volume, basic, client_config, hash, unix_now, wait_for,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const REQUIRED: &str = "  client_auth_type: RequireAndVerifyClientCert\n";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key in one file, for curl.
    fn client(&self, directory: &std::path::Path, name: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let path = directory.join(format!("{name}.pem"));
        std::fs::write(&path, certificate.pem() + &key.serialize_pem()).unwrap();
        path.display().to_string()
    }
}

fn start(authority: &Authority, settings: &str) -> (Exporter, Volume) {
    let volume = Volume::new(&as_files(&files(&Pair::new(), authority, settings)));
    (Exporter::with_config(&volume.config()), volume)
}

/// Names and contents.
fn files(pair: &Pair, authority: &Authority, settings: &str) -> [(&'static str, String); 4] {
    let config = format!(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n  client_ca_file: client-ca.crt\n{settings}\
         basic_auth_users:\n  alice: {}\n",
        hash(PASSWORD)
    );
    [
        ("web-config.yml", config),
        ("tls.crt", pair.certificate.clone()),
        ("tls.key", pair.key.clone()),
        ("client-ca.crt", authority.0.pem()),
    ]
}

fn as_files<'a>(files: &'a [(&'static str, String); 4]) -> [(&'a str, &'a str); 4] {
    files.each_ref().map(|(name, text)| (*name, text.as_str()))
}

/// A client that keeps its sessions and presents a certificate.
fn client(
    server: &Pair,
    authority: &Authority,
    name: &str,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let directory = tempfile::tempdir().unwrap();
    let pem = std::fs::read(authority.client(directory.path(), name)).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(&pem).unwrap()],
            PrivateKeyDer::from_pem_slice(&pem).unwrap(),
        );
    Arc::new(config.unwrap())
}

/// Created with openssl's defaults, and valid for a hundred years.
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/certificates");

#[test]
fn certificates_of_version_1_serve_and_are_accepted_and_a_broken_one_is_skipped() {
    let read = |name: &str| std::fs::read_to_string(format!("{CERTIFICATES}/{name}")).unwrap();
    let authority = Authority::new();
    let pair = Pair {
        certificate: read("v1.crt"),
        key: read("v1.key"),
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let mut files = files(&pair, &authority, REQUIRED);
    files[3].1 = [broken, &read("ca.crt"), &authority.0.pem()].concat();
    let volume = Volume::new(&as_files(&files));
    let exporter = Exporter::with_config(&volume.config());
    exporter.wait_for_log("client-ca.crt: certificate 1 (line 1) is damaged and is skipped");
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("v1.pem").display().to_string();
    std::fs::write(&old, read("v1.crt") + &read("v1.key")).unwrap();
    let password = format!("alice:{PASSWORD}");
    for certificate in [&old, &authority.client(directory.path(), "new.example")] {
        for version in ["1.2", "1.3"] {
            let options = ["--tls-max", version, "-u", &password, "--cert", certificate];
            let reply = exporter.get("/metrics", &options);
            assert_eq!(reply.status, 200, "{certificate} {version}");
        }
    }
}

#[test]
fn errors_describe_what_is_wrong_with_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |certificate: &str, key: &str| {
        let config = directory.path().join("web.yml");
        let text = format!(
            "tls_server_config:\n  cert_file: {CERTIFICATES}/{certificate}\n  key_file: {CERTIFICATES}/{key}\n"
        );
        std::fs::write(&config, text).unwrap();
        crate::web_support::refusal(&[&format!("--web.config.file={}", config.display())])
    };
    let weak = refused("rsa1024.crt", "rsa1024.key");
    assert!(weak.contains("has 1024 bits, which is too weak"), "{weak}");
    let foreign = refused("ca.crt", "v1.key");
    assert!(foreign.contains("do not match"), "{foreign}");
    let swapped = refused("v1.crt", "v1.crt");
    assert!(
        swapped.contains("a certificate, not a private key"),
        "{swapped}"
    );
}

#[test]
fn a_required_certificate_is_required_beside_the_password_and_not_of_probes() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _volume) = start(&authority, REQUIRED);
    let right = authority.client(directory.path(), "prometheus.example");
    let foreign = Authority::new().client(directory.path(), "foreign.example");
    let password = format!("alice:{PASSWORD}");
    for version in ["1.2", "1.3"] {
        let get = |path: &str, options: &[&str]| {
            exporter.get(path, &[&["--tls-max", version], options].concat())
        };
        assert_eq!(
            get("/metrics", &["-u", &password, "--cert", &right]).status,
            200
        );
        assert_eq!(get("/metrics", &["--cert", &right]).status, 401);
        assert_eq!(get("/metrics", &["-u", &password]).status, 403);
        assert_eq!(get("/-/healthy", &[]).status, 200);
        assert_eq!(
            get("/-/healthy", &["--cert", &foreign]).status,
            0,
            "a foreign certificate ends the handshake"
        );
    }
    let metrics = exporter.get("/metrics", &["-u", &password, "--cert", &right]);
    for sample in [
        "handshake_failures_total{reason=\"client_certificate\"}",
        "authentications_total{result=\"certificate_missing\"}",
    ] {
        let count = metrics.sample(&format!("secure_exporter_{sample}"));
        assert_eq!(count, Some(2.0), "{sample}");
    }
}

#[test]
fn allowed_names_are_compared_with_every_presented_certificate() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let settings = "  client_auth_type: VerifyClientCertIfGiven\n  client_allowed_sans: [prometheus.example]\n";
    let (exporter, _volume) = start(&authority, settings);
    let password = format!("alice:{PASSWORD}");
    let status = |certificate: &str| {
        exporter
            .get("/metrics", &["-u", &password, "--cert", certificate])
            .status
    };
    assert_eq!(
        status(&authority.client(directory.path(), "prometheus.example")),
        200
    );
    assert_eq!(
        status(&authority.client(directory.path(), "other.example")),
        403
    );
    assert_eq!(exporter.get("/metrics", &["-u", &password]).status, 200);
}

#[test]
fn allowed_names_hold_in_resumed_sessions() {
    let (pair, authority) = (Pair::new(), Authority::new());
    let settings = format!("{REQUIRED}  client_allowed_sans: [prometheus.example]\n");
    let volume = Volume::new(&as_files(&files(&pair, &authority, &settings)));
    let exporter = Exporter::with_config(&volume.config());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (name, status) in [("prometheus.example", "200"), ("other.example", "403")] {
            let client = client(&pair, &authority, name, version);
            for resumed in [false, true] {
                let mut connection = Connection::open_by(&exporter, client.clone()).unwrap();
                let head = connection
                    .get("/metrics", &basic("alice", PASSWORD))
                    .unwrap();
                assert_eq!(connection.is_resumed(), resumed, "{version:?}");
                assert!(
                    head.starts_with(&format!("http/1.1 {status}")),
                    "{version:?} {name} {resumed}: {head}"
                );
            }
        }
    }
    let refused = "secure_exporter_authentications_total{result=\"certificate_name_not_allowed\"}";
    let directory = tempfile::tempdir().unwrap();
    let certificate = authority.client(directory.path(), "prometheus.example");
    let metrics = exporter.get(
        "/metrics",
        &["-u", &format!("alice:{PASSWORD}"), "--cert", &certificate],
    );
    assert_eq!(metrics.sample(refused), Some(4.0));
}

#[test]
fn a_dropped_authority_opens_neither_old_sessions_nor_old_connections() {
    let (pair, old, new) = (Pair::new(), Authority::new(), Authority::new());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut volume = Volume::new(&as_files(&files(&pair, &old, REQUIRED)));
        let exporter = Exporter::with_config(&volume.config());
        let [known, welcome] =
            [&old, &new].map(|authority| client(&pair, authority, "p.example", version));
        let get =
            |connection: &mut Connection| connection.get("/metrics", &basic("alice", PASSWORD));
        let mut kept = Connection::open_by(&exporter, known.clone()).unwrap();
        assert!(get(&mut kept).unwrap().starts_with("http/1.1 200"));
        let mut resumed = Connection::open_by(&exporter, known.clone()).unwrap();
        assert!(get(&mut resumed).unwrap().starts_with("http/1.1 200") && resumed.is_resumed());

        volume.swap(&as_files(&files(&pair, &new, REQUIRED)));
        exporter.wait_for_log("configuration reloaded");
        assert!(get(&mut kept).is_err(), "{version:?}");
        assert!(kept.is_closed());
        // In TLS 1.3 the client receives the refusal with its first read.
        let refused = Connection::open_by(&exporter, known).and_then(|mut one| {
            assert!(!one.is_resumed(), "{version:?}");
            get(&mut one)
        });
        assert!(refused.is_err(), "{version:?}: {refused:?}");
        let mut fresh = Connection::open_by(&exporter, welcome).unwrap();
        assert!(get(&mut fresh).unwrap().starts_with("http/1.1 200"));
    }
}

#[test]
fn an_expired_certificate_ends_a_kept_connection() {
    let (pair, authority) = (Pair::new(), Authority::new());
    let volume = Volume::new(&as_files(&files(&pair, &authority, REQUIRED)));
    let exporter = Exporter::with_config(&volume.config());
    let mut params = CertificateParams::new(vec!["p.example".to_owned()]).unwrap();
    // Of whole seconds.
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(5);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.0).unwrap();
    let mut config = client_config(&pair);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(
        CertifiedKey::from_der(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            &rustls::crypto::aws_lc_rs::default_provider(),
        )
        .unwrap(),
    ));
    let config = Arc::new(config);
    let get = |connection: &mut Connection| connection.get("/-/status", &basic("alice", PASSWORD));
    let mut kept = Connection::open_by(&exporter, config.clone()).unwrap();
    assert!(get(&mut kept).unwrap().starts_with("http/1.1 200"));
    wait_for("the end of the certificate", || get(&mut kept).err());
    let refused = Connection::open_by(&exporter, config).and_then(|mut one| get(&mut one));
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn connections_of_a_kept_authority_are_answered_after_a_reload() {
    let (pair, authority) = (Pair::new(), Authority::new());
    let mut volume = Volume::new(&as_files(&files(&pair, &authority, REQUIRED)));
    let exporter = Exporter::with_config(&volume.config());
    let client = client(&pair, &authority, "p.example", &rustls::version::TLS13);
    let mut kept = Connection::open_by(&exporter, client).unwrap();
    volume.swap(&as_files(&files(&pair, &authority, REQUIRED)));
    exporter.wait_for_log("configuration reloaded");
    let head = kept.get("/metrics", &basic("alice", PASSWORD)).unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[test]
fn the_use_of_a_verified_certificate_is_reported() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _volume) = start(&authority, REQUIRED);
    let [known, refused] =
        ["p.example", "q.example"].map(|name| authority.client(directory.path(), name));
    let get = |certificate: &str, password: &str| {
        let user = format!("alice:{password}");
        exporter.get("/-/status", &["-u", &user, "--cert", certificate])
    };
    let before = unix_now();
    assert_eq!(
        exporter
            .get("/-/status", &["-u", &format!("alice:{PASSWORD}")])
            .status,
        403
    );
    assert_eq!(get(&refused, "wrong").status, 401);
    let status = get(&known, PASSWORD);
    assert_eq!(status.status, 200);
    let status: Value = serde_json::from_slice(&status.body).unwrap();
    let pem = std::fs::read(&known).unwrap();
    let digest = Sha256::digest(CertificateDer::from_pem_slice(&pem).unwrap());
    let id: String = digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let listed = status["clientCertificates"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &Value::from(id)));
    assert!((before..=unix_now()).contains(&listed[0]["lastUsed"].as_u64().unwrap()));
}
