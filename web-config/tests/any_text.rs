//! Every text is either a configuration or refused, and a parsed configuration has the same meaning after it is written
//! again.

#![allow(clippy::unwrap_used)] // it is all tests

use proptest::prelude::*;
use secure_exporter_web_config::WebConfig;

/// Inputs found by fuzzing; see CONTRIBUTING.md.
const CORPUS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../exporter/fuzz/corpus/web_config"
);

/// Every section, in a short and a long form.
const WHOLE: &str = r#"tls_server_config:
  cert_file: "a.crt"
  key_file: a.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [a.example, "b.example"]
  min_version: TLS12
  cipher_suites:
    - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
  curve_preferences: [X25519, CurveP256]
http_server_config:
  http2: false
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  prometheus: $2y$10$MXjBwpmKxIYjyCOS7Gq6U.DbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i
  other: [$2y$10$MXjBwpmKxIYjyCOS7Gq6U.DbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i]
rate_limit:
  interval: 1m30s
  burst: 3
"#;

fn means_the_same_when_written_again(text: &str) -> Result<(), String> {
    let Ok(config) = WebConfig::parse(text) else {
        return Ok(());
    };
    let written = config.to_yaml();
    match WebConfig::parse(&written) {
        Ok(again) if again == config => Ok(()),
        other => Err(format!("{text:?} became {written:?}, which is {other:?}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        prop_assert_eq!(means_the_same_when_written_again(&text), Ok(()));
    }

    #[test]
    fn an_edited_configuration_is_read_or_refused(
        begin in 0..WHOLE.len(),
        gone in 0_usize..30,
        come in "([ -~]|\n  |\n){0,8}",
    ) {
        let end = (begin + gone).min(WHOLE.len());
        let text = [&WHOLE[..begin], &come, &WHOLE[end..]].concat();
        prop_assert_eq!(means_the_same_when_written_again(&text), Ok(()));
    }
}

#[test]
fn the_whole_configuration_is_understood() {
    WebConfig::parse(WHOLE).unwrap();
    means_the_same_when_written_again(WHOLE).unwrap();
}

#[test]
fn what_fuzzing_found_is_read_or_refused() {
    for entry in std::fs::read_dir(CORPUS).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        if let Ok(text) = std::str::from_utf8(&bytes) {
            means_the_same_when_written_again(text).unwrap();
        }
    }
}
