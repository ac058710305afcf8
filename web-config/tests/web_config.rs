//! The file as written by users and by the operator.

#![allow(clippy::unwrap_used)] // it is all tests

use std::collections::BTreeMap;
use std::time::Duration;

use secure_exporter_web_config::{
    BcryptHash, ClientAuthType, Curve, HttpServerConfig, RateLimit, ResponseHeader,
    TlsServerConfig, TlsVersion, UserHashes, WebConfig,
};

const HASH: &str = "$2y$10$MXjBwpmKxIYjyCOS7Gq6U.DbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i";
const OTHER: &str = "$2b$12$abcdefghijklmnopqrstuuDbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i";

fn hash(text: &str) -> BcryptHash {
    BcryptHash::parse(text).unwrap()
}

fn refusal(text: &str) -> String {
    WebConfig::parse(text).unwrap_err().to_string()
}

fn tls_with(line: &str) -> String {
    format!("tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n  {line}\n")
}

#[test]
fn the_file_of_the_old_manual_procedure_is_read() {
    let config = WebConfig::parse(&format!(
        "tls_server_config:\n  cert_file: node_exporter.crt\n  key_file: node_exporter.key\nbasic_auth_users:\n  prometheus: {HASH}\n"
    ))
    .unwrap();
    let tls = config.tls_server_config.unwrap();
    assert_eq!(
        (tls.cert_file.as_deref(), tls.key_file.as_deref()),
        (Some("node_exporter.crt"), Some("node_exporter.key"))
    );
    assert_eq!(
        config.basic_auth_users["prometheus"].as_slice(),
        [hash(HASH)]
    );
}

#[test]
fn an_empty_file_is_the_default() {
    for text in ["", "\n", "# nothing\n", "---\n# nothing\n"] {
        assert_eq!(WebConfig::parse(text), Ok(WebConfig::default()), "{text:?}");
    }
}

#[test]
fn a_key_without_a_value_is_an_absent_key() {
    for text in [
        "~\n",
        "null\n",
        "http_server_config:\n",
        "http_server_config: {}\nrate_limit: ~\n",
        "rate_limit: {}\n",
        "rate_limit:\n  interval:\n  burst: null\n",
    ] {
        let config = WebConfig::parse(text).unwrap();
        let default = WebConfig {
            http_server_config: config.http_server_config.clone(),
            ..WebConfig::default()
        };
        assert_eq!(config, default, "{text:?}");
        let http = config.http_server_config.unwrap_or_default();
        assert_eq!(http, HttpServerConfig::default(), "{text:?}");
    }
    for headers in [
        "headers:",
        "headers: ~",
        "headers: {}",
        "headers:\n    X-Frame-Options:",
    ] {
        let config = WebConfig::parse(&format!("http_server_config:\n  {headers}\n  http2: ~\n"));
        let http = config.unwrap().http_server_config.unwrap();
        assert_eq!(http, HttpServerConfig::default(), "{headers}");
    }
    let plain = WebConfig::parse(&tls_with("")).unwrap();
    for key in [
        "cert",
        "key",
        "client_auth_type",
        "min_version",
        "max_version",
        "cipher_suites",
        "prefer_server_cipher_suites",
        "curve_preferences",
    ] {
        for value in ["", " ~", " null"] {
            let config = WebConfig::parse(&tls_with(&format!("{key}:{value}")));
            assert_eq!(config.as_ref(), Ok(&plain), "{key}:{value}");
        }
    }
    for line in [
        "client_auth_type: ''",
        "cert: ''",
        "key: ''",
        "cipher_suites: []",
    ] {
        assert_eq!(
            WebConfig::parse(&tls_with(line)).as_ref(),
            Ok(&plain),
            "{line}"
        );
    }
}

#[test]
fn whatever_is_refused_is_refused_with_the_name_of_its_key() {
    let mut cases = vec![
        (
            format!("basic_auth_users:\n  null: {HASH}\n"),
            "basic_auth_users",
        ),
        (
            format!("basic_auth_users:\n  ~: {HASH}\n"),
            "basic_auth_users",
        ),
        ("basic_auth_users: [a]\n".to_owned(), "basic_auth_users"),
        ("basic_auth_users: a\n".to_owned(), "basic_auth_users"),
        (
            "basic_auth_users:\n  a:\n    b: c\n".to_owned(),
            "basic_auth_users",
        ),
        (
            "basic_auth_users:\n  a:\n  - ~\n".to_owned(),
            "basic_auth_users",
        ),
        ("tls_server_config: text\n".to_owned(), "tls_server_config"),
        ("tls_server_config: []\n".to_owned(), "tls_server_config"),
        ("http_server_config: 1\n".to_owned(), "http_server_config"),
        ("http_server_config:\n  http2: maybe\n".to_owned(), "http2"),
        (
            "http_server_config:\n  headers: [a]\n".to_owned(),
            "headers",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: ''\n".to_owned(),
            "X-Frame-Options",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: []\n".to_owned(),
            "headers",
        ),
        ("rate_limit: 5\n".to_owned(), "rate_limit"),
        (
            "rate_limit:\n  interval: 1s\n  burst: many\n".to_owned(),
            "burst",
        ),
        (
            "rate_limit:\n  interval: []\n  burst: 1\n".to_owned(),
            "interval",
        ),
    ];
    for key in [
        "cert_file",
        "key_file",
        "cert",
        "key",
        "client_ca_file",
        "client_ca",
    ] {
        let others = ["cert_file: a", "key_file: b"];
        let others = others
            .iter()
            .filter(|line| !line.starts_with(&format!("{key}:")));
        let others: String = others.map(|line| format!("  {line}\n")).collect();
        for value in ["[a]", "{a: b}"] {
            cases.push((
                format!("tls_server_config:\n{others}  {key}: {value}\n"),
                key,
            ));
        }
    }
    for key in ["min_version", "max_version", "client_auth_type"] {
        for value in ["[a]", "{a: b}", "other"] {
            cases.push((tls_with(&format!("{key}: {value}")), key));
        }
    }
    for key in ["min_version", "max_version"] {
        cases.push((tls_with(&format!("{key}: ''")), key));
    }
    for key in ["cipher_suites", "curve_preferences", "client_allowed_sans"] {
        for value in ["a", "{a: b}", "[[a]]", "[~]", "\n  - ~", "\n    - {a: b}"] {
            cases.push((tls_with(&format!("{key}: {value}")), key));
        }
    }
    cases.push((
        tls_with("prefer_server_cipher_suites: maybe"),
        "prefer_server_cipher_suites",
    ));
    for (text, key) in cases {
        let message = refusal(&text);
        assert!(message.contains(key), "{text:?}: {message}");
        assert!(!message.contains(HASH), "{message}");
    }
}

#[test]
fn what_is_present_but_empty_is_refused_with_its_line() {
    let cases = [
        (
            "basic_auth_users:\n",
            "line 1",
            "basic_auth_users is present but empty",
        ),
        (
            "basic_auth_users: {}\n",
            "line 1",
            "basic_auth_users is present but empty",
        ),
        (
            "rate_limit:\n  interval: 1s\n  burst: 1\nbasic_auth_users: null\n",
            "line 4",
            "basic_auth_users is present but empty",
        ),
        (
            "basic_auth_users:\n  alice:\n",
            "alice",
            "at least one hash",
        ),
        (
            "basic_auth_users:\n  alice: []\n",
            "line 2",
            "at least one hash",
        ),
        (
            "basic_auth_users:\n  alice: ''\n",
            "line 2",
            "not a bcrypt hash",
        ),
        (
            "tls_server_config:\n",
            "line 1",
            "tls_server_config is present but empty",
        ),
        (
            "tls_server_config: {}\n",
            "tls_server_config",
            "no certificate",
        ),
        (
            "tls_server_config:\n  cert_file: a\n  key_file:\n",
            "tls_server_config",
            "set key_file",
        ),
        (
            "tls_server_config:\n  cert_file: ''\n  key_file: a\n",
            "tls_server_config",
            "set cert_file",
        ),
        (
            "tls_server_config:\n  cert_file: a\n  key_file: a\n  client_ca_file: ~\n",
            "line 4",
            "client_ca_file is present but empty",
        ),
        (
            "tls_server_config:\n  cert_file: a\n  key_file: a\n  client_allowed_sans:\n",
            "line 4",
            "client_allowed_sans is present but empty",
        ),
        (
            "rate_limit:\n  burst: 3\n",
            "line 2",
            "rate_limit: interval is missing",
        ),
    ];
    for (text, place, reason) in cases {
        let message = refusal(text);
        assert!(
            message.contains(place) && message.contains(reason),
            "{text:?}: {message}"
        );
    }
}

#[test]
fn unknown_and_duplicate_keys_are_named_with_their_line() {
    let cases = [
        (
            "# comment\nbasic_auth_user:\n  a: b\n".to_owned(),
            "line 2",
            "\"basic_auth_user\"",
        ),
        (tls_with("cert_fil: x"), "line 4", "\"cert_fil\""),
        (
            "http_server_config:\n  http3: true\n".to_owned(),
            "line 2",
            "\"http3\"",
        ),
        (tls_with("cert_file: b.crt"), "line 4", "cert_file"),
        (
            format!("basic_auth_users:\n  a: {HASH}\n  a: {HASH}\n"),
            "line 3",
            "\"a\"",
        ),
    ];
    for (text, place, name) in cases {
        let message = refusal(&text);
        assert!(
            message.contains(place) && message.contains(name),
            "{text:?}: {message}"
        );
    }
}

#[test]
fn weak_settings_are_refused_with_the_fix() {
    let cases = [
        (tls_with("min_version: TLS10"), "TLS10", "TLS12"),
        (tls_with("min_version: TLS11"), "TLS11", "TLS12"),
        (
            tls_with("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]"),
            "CBC",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ),
        (
            tls_with("cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]"),
            "unknown cipher suite",
            "choose from",
        ),
        (
            tls_with("curve_preferences: [CurveP224]"),
            "unknown curve",
            "X25519",
        ),
        (
            tls_with("client_auth_type: Sometimes"),
            "\"Sometimes\"",
            "RequireAndVerifyClientCert",
        ),
        (
            tls_with("client_ca_file: ca.crt"),
            "without a Client Auth Policy",
            "client_auth_type",
        ),
        (
            tls_with("client_auth_type: RequireAndVerifyClientCert"),
            "needs client_ca_file",
            "client_ca",
        ),
        (
            tls_with("client_allowed_sans: [a]"),
            "checks nothing",
            "client_auth_type",
        ),
        (
            tls_with("min_version: TLS13\n  max_version: TLS12"),
            "TLS13",
            "above max_version",
        ),
        (
            "basic_auth_users:\n  alice: $apr1$x$yyyyyyyyyyyyyyyyyyyyyy\n".to_owned(),
            "$apr1$",
            "htpasswd -nbBC 12",
        ),
        (
            "http_server_config:\n  headers:\n    Server: x\n".to_owned(),
            "\"Server\"",
            "cannot be configured",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: maybe\n".to_owned(),
            "X-Frame-Options",
            "sameorigin",
        ),
        (
            "rate_limit:\n  interval: 1s\n".to_owned(),
            "burst",
            "at least 1",
        ),
        (
            "rate_limit:\n  interval: soon\n  burst: 1\n".to_owned(),
            "\"soon\"",
            "100ms",
        ),
    ];
    for (text, name, fix) in cases {
        let message = refusal(&text);
        assert!(
            message.contains(name) && message.contains(fix),
            "{text:?}: {message}"
        );
    }
}

#[test]
fn no_error_repeats_a_secret() {
    let hash_tail = &HASH[10..];
    let cases = [
        format!("basic_auth_users: {HASH}\n"),
        format!("basic_auth_users:\n  a:\n    b: {HASH}\n"),
        format!("basic_auth_users:\n  a: {HASH}x\n"),
        format!("basic_auth_users:\n  a: [{HASH}, [{HASH}]]\n"),
        format!("basic_auth_users:\n  a: {HASH}\n b: {HASH}\n"),
        format!("basic_auth_users:\n- {HASH}\n"),
        format!("rate_limit: {HASH}\n"),
        format!("{HASH}\n"),
        format!("basic_auth_users:\n  a: \"{HASH}\n"),
    ];
    for text in cases {
        let error = WebConfig::parse(&text).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains(hash_tail),
            "{text:?}: {error:?}"
        );
    }
    let config = TlsServerConfig {
        key: Some("very private".into()),
        ..TlsServerConfig::default()
    };
    assert!(!format!("{config:?}").contains("very private"));
}

#[test]
fn a_place_is_named_once() {
    let message = refusal("basic_auth_users: x\n");
    assert_eq!(message.matches("line").count(), 1, "{message}");
    assert!(message.starts_with("line 1: "), "{message}");
}

#[test]
fn older_spellings_are_understood() {
    let config = WebConfig::parse(&tls_with(
        "client_auth_type: RequireClientCert\n  prefer_server_cipher_suites: yes",
    ))
    .unwrap();
    let tls = config.tls_server_config.unwrap();
    assert_eq!(
        tls.client_auth_type,
        Some(ClientAuthType::RequireAnyClientCert)
    );
    assert_eq!(tls.prefer_server_cipher_suites, Some(true));
    assert_eq!(
        WebConfig::parse("rate_limit:\n  interval: 0\n")
            .unwrap()
            .rate_limit,
        None
    );
}

#[test]
fn what_is_written_is_read_back() {
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB+/=\nabc\n-----END CERTIFICATE-----\n";
    for name in [
        "prometheus",
        "no",
        "a b",
        "ünï",
        "1",
        "#x",
        "a\"b\\c",
        "~",
        "-",
        "{a}",
        "y",
    ] {
        let config = WebConfig {
            tls_server_config: Some(TlsServerConfig {
                cert: Some(pem.into()),
                key: Some("-----BEGIN\n\n odd \n".into()),
                client_ca_file: Some("client-ca.crt".into()),
                client_auth_type: Some(ClientAuthType::VerifyClientCertIfGiven),
                client_allowed_sans: Some(vec!["spiffe://a/b".into(), "10.0.0.1".into()]),
                min_version: Some(TlsVersion::Tls13),
                curve_preferences: vec![Curve::X25519, Curve::P256],
                ..TlsServerConfig::default()
            }),
            http_server_config: Some(HttpServerConfig {
                http2: Some(false),
                headers: BTreeMap::from([(
                    ResponseHeader::StrictTransportSecurity,
                    "max-age=3; x".to_owned(),
                )]),
            }),
            basic_auth_users: BTreeMap::from([
                (
                    name.to_owned(),
                    UserHashes::new(vec![hash(HASH), hash(OTHER)]).unwrap(),
                ),
                ("z".to_owned(), hash(OTHER).into()),
            ]),
            rate_limit: Some(RateLimit {
                interval: Duration::from_millis(1500),
                burst: 7,
            }),
        };
        let text = config.to_yaml();
        assert_eq!(WebConfig::parse(&text), Ok(config), "{text}");
    }
    assert_eq!(WebConfig::default().to_yaml(), "");
}

#[test]
fn one_hash_is_written_as_the_stock_exporters_read_it() {
    let config = WebConfig {
        tls_server_config: Some(TlsServerConfig {
            cert_file: Some("tls.crt".into()),
            key_file: Some("tls.key".into()),
            min_version: Some(TlsVersion::Tls12),
            ..TlsServerConfig::default()
        }),
        basic_auth_users: BTreeMap::from([("prometheus".to_owned(), hash(HASH).into())]),
        ..WebConfig::default()
    };
    let expected = format!(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n  min_version: TLS12\nbasic_auth_users:\n  prometheus: {HASH}\n"
    );
    assert_eq!(config.to_yaml(), expected);
}
