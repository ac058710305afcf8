//! The effect of each field of `tls_server_config` and `http_server_config` on handshakes and responses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it is all tests

use std::sync::Arc;

use crate::web_support::{
    Connection, Exporter, PASSWORD, Pair, Volume, basic, client_config, client_config_of, hash,
};
use rustls::crypto::aws_lc_rs::{ALL_KX_GROUPS, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ClientConfig, NamedGroup, ProtocolVersion};

const FILES: &str = "  cert_file: tls.crt\n  key_file: tls.key\n";

fn serving(pair: &Pair, tls: &str, rest: &str) -> (Exporter, Volume) {
    let volume = Volume::with(pair, &format!("tls_server_config:\n{tls}{rest}"));
    (Exporter::with_config(&volume.config()), volume)
}

fn reaches(exporter: &Exporter, config: ClientConfig) -> std::io::Result<Connection> {
    Connection::open_by(exporter, Arc::new(config))
}

/// A client that offers these groups, the first with a share.
fn offering(pair: &Pair, groups: &[NamedGroup]) -> ClientConfig {
    let mut provider = default_provider();
    let group = |name: &NamedGroup| ALL_KX_GROUPS.iter().find(|one| one.name() == *name);
    provider.kx_groups = groups.iter().map(|name| *group(name).unwrap()).collect();
    client_config_of(pair, provider)
}

fn group(connection: &Connection) -> NamedGroup {
    let group = connection.session().negotiated_key_exchange_group();
    group.unwrap().name()
}

#[test]
fn the_key_exchange_withstands_quantum_computers_where_the_client_does() {
    use NamedGroup::{X25519, X25519MLKEM768, secp256r1};
    let pair = Pair::new();
    let (exporter, _volume) = serving(&pair, FILES, "");
    for (offered, expected) in [
        (&[X25519MLKEM768, X25519, secp256r1][..], X25519MLKEM768),
        (&[X25519, secp256r1], X25519),
        (&[secp256r1], secp256r1),
    ] {
        let connection = reaches(&exporter, offering(&pair, offered)).unwrap();
        assert_eq!(group(&connection), expected, "{offered:?}");
    }
}

#[test]
fn curves_are_those_that_were_named() {
    use NamedGroup::{X25519, X25519MLKEM768, secp256r1, secp384r1};
    let pair = Pair::new();
    let curves = format!("{FILES}  curve_preferences: [CurveP384]\n");
    let (exporter, _volume) = serving(&pair, &curves, "");
    let all = [X25519MLKEM768, X25519, secp256r1, secp384r1];
    let connection = reaches(&exporter, offering(&pair, &all)).unwrap();
    assert_eq!(group(&connection), secp384r1);
    assert!(reaches(&exporter, offering(&pair, &all[..2])).is_err());
}

#[test]
fn versions_and_suites_are_those_that_were_named() {
    let pair = Pair::new();
    let speaking = |version: &'static rustls::SupportedProtocolVersion| {
        let provider = Arc::new(default_provider());
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    };
    let (old, new) = (&rustls::version::TLS12, &rustls::version::TLS13);
    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    for (settings, of_old, of_new) in [
        ("", true, true),
        ("  min_version: TLS13\n", false, true),
        ("  max_version: TLS12\n", true, false),
        (
            &*format!("  cipher_suites: [{suite}]\n  prefer_server_cipher_suites: false\n"),
            true,
            true,
        ),
    ] {
        let (exporter, _volume) = serving(&pair, &format!("{FILES}{settings}"), "");
        let answers = |version| reaches(&exporter, speaking(version));
        assert_eq!(
            (answers(old).is_ok(), answers(new).is_ok()),
            (of_old, of_new),
            "{settings}"
        );
        if let Ok(connection) = answers(new) {
            assert_eq!(
                connection.session().protocol_version(),
                Some(ProtocolVersion::TLSv1_3)
            );
        }
        if settings.contains(suite) {
            let negotiated = answers(old).unwrap().session().negotiated_cipher_suite();
            assert_eq!(
                negotiated.unwrap().suite(),
                CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            );
        }
    }
}

#[test]
fn certificates_stand_in_files_or_in_the_configuration_and_files_win() {
    let (pair, other) = (Pair::new(), Pair::new());
    let inline = |name: &str, pem: &str| {
        format!("  {name}: |\n    {}\n", pem.trim().replace('\n', "\n    "))
    };
    for settings in [
        inline("cert", &pair.certificate) + &inline("key", &pair.key),
        format!("  cert_file: tls.crt\n{}", inline("key", &pair.key)),
        FILES.to_owned() + &inline("cert", &other.certificate) + &inline("key", &other.key),
    ] {
        let (exporter, _volume) = serving(&pair, &settings, "");
        assert!(Connection::open(&exporter, &pair).is_ok());
        assert!(Connection::open(&exporter, &other).is_err());
    }
}

#[test]
fn http2_is_offered_unless_it_is_turned_off() {
    let pair = Pair::new();
    for (settings, version) in [
        ("", "http/2 "),
        ("http_server_config:\n  http2: no\n", "http/1.1 "),
    ] {
        let (exporter, _volume) = serving(&pair, FILES, settings);
        let reply = exporter.get("/-/healthy", &["--http2"]);
        assert!(
            reply.status == 200 && reply.head.starts_with(version),
            "{}",
            reply.head
        );
        let mut unknown = client_config(&pair);
        unknown.alpn_protocols = vec![b"spdy/3".to_vec()];
        assert!(
            reaches(&exporter, unknown).is_err(),
            "an unknown protocol is accepted"
        );
    }
}

#[test]
fn headers_are_on_answers_of_every_kind() {
    let pair = Pair::new();
    let rest = format!(
        "http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=31536000\n    \
         X-Content-Type-Options: nosniff\n    X-Frame-Options: sameorigin\n    X-XSS-Protection: 1; mode=block\n    \
         Content-Security-Policy: default-src 'self'\nbasic_auth_users:\n  alice: {}\n",
        hash(PASSWORD)
    );
    let (exporter, _volume) = serving(&pair, FILES, &rest);
    let user = format!("alice:{PASSWORD}");
    for (path, options, status) in [
        ("/metrics", &["-u", &user][..], 200),
        ("/other", &["-u", &user], 404),
        ("/metrics?collect[]=x", &["-g", "-u", &user], 400),
        ("/metrics", &[], 401),
    ] {
        let reply = exporter.get(path, options);
        assert_eq!(reply.status, status, "{path}");
        for line in [
            "strict-transport-security: max-age=31536000",
            "x-content-type-options: nosniff",
            "x-frame-options: sameorigin",
            "x-xss-protection: 1; mode=block",
            "content-security-policy: default-src 'self'",
        ] {
            assert_eq!(
                reply.head.matches(line).count(),
                1,
                "{path}: {}",
                reply.head
            );
        }
    }
}

#[test]
fn any_client_certificate_will_do_where_none_is_verified() {
    let pair = Pair::new();
    let unknown = Pair::new();
    let presenting = || {
        let mut config = client_config(&pair);
        let certificate = CertificateDer::from_pem_slice(unknown.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(unknown.key.as_bytes()).unwrap();
        config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(
            rustls::sign::CertifiedKey::from_der(vec![certificate], key, &default_provider())
                .unwrap(),
        ));
        config
    };
    for (settings, with, without) in [
        ("  client_auth_type: RequestClientCert\n", "200", "200"),
        ("  client_auth_type: RequireAnyClientCert\n", "200", "403"),
        (
            "  client_auth_type: RequireClientCert\n  client_allowed_sans: [other]\n",
            "403",
            "403",
        ),
        (
            "  client_auth_type: RequestClientCert\n  client_allowed_sans: [localhost]\n",
            "200",
            "200",
        ),
    ] {
        let (exporter, _volume) = serving(&pair, &format!("{FILES}{settings}"), "");
        for (config, status) in [(presenting(), with), (client_config(&pair), without)] {
            let head = reaches(&exporter, config)
                .unwrap()
                .get("/metrics", "")
                .unwrap();
            assert!(
                head.starts_with(&format!("http/1.1 {status}")),
                "{settings}: {head}"
            );
        }
    }
}

#[test]
fn users_are_asked_for_their_password_without_tls_too() {
    let volume = Volume::new(&[(
        "web-config.yml",
        &format!("basic_auth_users:\n  alice: {}\n", hash(PASSWORD)),
    )]);
    let exporter = Exporter::with_config(&volume.config());
    let status = |options: &[&str]| exporter.get_plain("/metrics", options).status;
    assert_eq!(status(&[]), 401);
    assert_eq!(status(&["-u", &format!("alice:{PASSWORD}")]), 200);
    let header = format!("Authorization: {}", basic("alice", "wrong"));
    assert_eq!(status(&["-H", &header]), 401);
}
