//! Parses a configuration: all keys must be known, and sections must not be empty.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::{
    config::WebConfig,
    http::{HttpServerConfig, RateLimit, ResponseHeader, parse_duration},
    tls::{CipherSuite, ClientAuthType, Curve, NameResult, TlsServerConfig, TlsVersion},
    users::{BcryptHash, UserHashes},
};

/// What is wrong with the file, and where. Never contains a hash or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct ParseError {
    /// The line, counted from 1, if there is one.
    pub line: Option<u64>,
    /// The error, and how to fix it.
    pub message: String,
}

pub(crate) fn web_config(text: &str) -> Result<WebConfig, ParseError> {
    let is_blank = |line: &str| {
        matches!(line.trim(), "" | "---" | "...") || line.trim_start().starts_with('#')
    };
    if text.lines().all(is_blank) {
        return Ok(WebConfig::default());
    }
    let raw: Option<RawConfig> = serde_saphyr::from_str_with_options(text, yaml_options())
        .map_err(|error| name_key(text, yaml_error(&error)))?;
    let Some(raw) = raw else {
        return Ok(WebConfig::default());
    };
    Ok(WebConfig {
        tls_server_config: raw.tls_server_config.map(tls).transpose()?,
        http_server_config: raw.http_server_config.map(http).transpose()?,
        basic_auth_users: raw
            .basic_auth_users
            .map_or_else(|| Ok(BTreeMap::new()), users)?,
        rate_limit: raw.rate_limit.map(rate_limit).transpose()?.flatten(),
    })
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default, deserialize_with = "present")]
    tls_server_config: Option<Spanned<Option<RawTls>>>,
    http_server_config: Option<RawHttp>,
    #[serde(default, deserialize_with = "present")]
    basic_auth_users: Option<Spanned<Option<RawUsers>>>,
    rate_limit: Option<Spanned<RawRateLimit>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    cert_file: Option<String>,
    key_file: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    #[serde(default, deserialize_with = "present")]
    client_ca_file: Option<Spanned<Option<String>>>,
    #[serde(default, deserialize_with = "present")]
    client_ca: Option<Spanned<Option<String>>>,
    client_auth_type: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "present")]
    client_allowed_sans: Option<Spanned<Option<Vec<String>>>>,
    min_version: Option<Spanned<String>>,
    max_version: Option<Spanned<String>>,
    cipher_suites: Option<Vec<Spanned<String>>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<Spanned<String>>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    http2: Option<bool>,
    headers: Option<Entries<Spanned<Option<String>>>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRateLimit {
    interval: Option<Spanned<String>>,
    burst: Option<u32>,
}

type RawUsers = Entries<Spanned<RawHashes>>;

/// One hash or a list of hashes; a key without a value is an empty list.
struct RawHashes(Vec<String>);

fn tls(raw: Spanned<Option<RawTls>>) -> Result<TlsServerConfig, ParseError> {
    let line = raw.referenced.line();
    let raw = filled("tls_server_config", raw)?;
    let given = |text: &String| !text.trim().is_empty();
    let config = TlsServerConfig {
        cert_file: raw.cert_file.filter(given),
        key_file: raw.key_file.filter(given),
        cert: raw.cert.filter(given),
        key: raw.key.filter(given),
        client_ca_file: text("client_ca_file", raw.client_ca_file)?,
        client_ca: text("client_ca", raw.client_ca)?,
        client_auth_type: raw
            .client_auth_type
            .filter(|name| !name.value.is_empty())
            .map(|name| each("client_auth_type", name, ClientAuthType::from_name))
            .transpose()?,
        client_allowed_sans: raw.client_allowed_sans.map(allowed_sans).transpose()?,
        min_version: raw
            .min_version
            .map(|name| each("min_version", name, TlsVersion::from_name))
            .transpose()?,
        max_version: raw
            .max_version
            .map(|name| each("max_version", name, TlsVersion::from_name))
            .transpose()?,
        cipher_suites: raw
            .cipher_suites
            .into_iter()
            .flatten()
            .map(|name| each("cipher_suites", name, CipherSuite::from_name))
            .collect::<Result<_, _>>()?,
        prefer_server_cipher_suites: raw.prefer_server_cipher_suites,
        curve_preferences: raw
            .curve_preferences
            .into_iter()
            .flatten()
            .map(|name| each("curve_preferences", name, Curve::from_name))
            .collect::<Result<_, _>>()?,
    };
    check_tls(&config).map_err(|message| at(line, &format!("tls_server_config: {message}")))?;
    Ok(config)
}

/// Checks rules that involve several keys.
fn check_tls(tls: &TlsServerConfig) -> Result<(), String> {
    let has_cert = tls.cert_file.is_some() || tls.cert.is_some();
    let has_key = tls.key_file.is_some() || tls.key.is_some();
    let has_client_ca = tls.client_ca_file.is_some() || tls.client_ca.is_some();
    let auth = tls.client_auth_type.unwrap_or_default();
    let verifies = matches!(
        auth,
        ClientAuthType::VerifyClientCertIfGiven | ClientAuthType::RequireAndVerifyClientCert
    );
    if !has_cert {
        return Err("no certificate: set cert_file (a path) or cert (PEM)".into());
    }
    if !has_key {
        return Err("no private key: set key_file (a path) or key (PEM)".into());
    }
    if has_client_ca && auth == ClientAuthType::NoClientCert {
        return Err(
            "client CA's have been configured without a Client Auth Policy: \
                    set client_auth_type: RequireAndVerifyClientCert"
                .into(),
        );
    }
    if verifies && !has_client_ca {
        return Err(format!(
            "client_auth_type {} needs client_ca_file or client_ca",
            auth.as_str()
        ));
    }
    if tls.client_allowed_sans.is_some() && auth == ClientAuthType::NoClientCert {
        return Err(
            "client_allowed_sans without client_auth_type checks nothing: \
                    set client_auth_type: RequireAndVerifyClientCert"
                .into(),
        );
    }
    let (min, max) = (
        tls.min_version.unwrap_or(TlsVersion::Tls12),
        tls.max_version.unwrap_or(TlsVersion::Tls13),
    );
    if min > max {
        return Err(format!(
            "min_version {} is above max_version {}",
            min.as_str(),
            max.as_str()
        ));
    }
    let suites_for_tls12 = tls.cipher_suites.iter().any(|suite| !suite.is_tls13());
    if !tls.cipher_suites.is_empty() && !suites_for_tls12 && max == TlsVersion::Tls12 {
        return Err("cipher_suites names only suites of TLS 1.3 while max_version is TLS12".into());
    }
    Ok(())
}

fn http(raw: RawHttp) -> Result<HttpServerConfig, ParseError> {
    let mut headers = BTreeMap::new();
    for (name, value) in raw.headers.map(|headers| headers.0).unwrap_or_default() {
        let line = Some(value.referenced.line());
        let wrong = |message| ParseError {
            line,
            message: format!("http_server_config: headers: {message}"),
        };
        let name = name.ok_or_else(|| wrong("a header has no name".to_owned()))?;
        let header = ResponseHeader::from_name(&name).map_err(wrong)?;
        if let Some(value) = value.value {
            header.check_value(&value).map_err(wrong)?;
            headers.insert(header, value);
        }
    }
    Ok(HttpServerConfig {
        http2: raw.http2,
        headers,
    })
}

fn users(raw: Spanned<Option<RawUsers>>) -> Result<BTreeMap<String, UserHashes>, ParseError> {
    let line = raw.referenced.line();
    let raw = raw
        .value
        .filter(|users| !users.0.is_empty())
        .ok_or_else(|| {
            at(
                line,
                "basic_auth_users is present but empty, which would turn off authentication; \
                  add a user, or remove the key to serve without authentication",
            )
        })?;
    raw.0
        .into_iter()
        .map(|(name, hashes)| user(name, hashes))
        .collect()
}

fn user(name: Option<String>, raw: Spanned<RawHashes>) -> Result<(String, UserHashes), ParseError> {
    let line = raw.referenced.line();
    let name = name.ok_or_else(|| {
        at(
            line,
            "basic_auth_users: a user has no name; put names such as null or ~ in quotes",
        )
    })?;
    let wrong = |reason: String| at(line, &format!("basic_auth_users: user {name:?}: {reason}"));
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        return Err(wrong(
            "a user name must not be empty nor contain a colon or control characters".into(),
        ));
    }
    let hashes: Vec<_> = raw
        .value
        .0
        .iter()
        .map(|hash| BcryptHash::parse(hash))
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(e.to_string()))?;
    let hashes = UserHashes::new(hashes).map_err(|e| wrong(e.to_string()))?;
    hashes
        .check_work()
        .map_err(|e| at(line, &format!("basic_auth_users: user {name:?} {e}")))?;
    Ok((name, hashes))
}

/// In this format an interval of zero turns the limit off, and so does an empty section.
fn rate_limit(raw: Spanned<RawRateLimit>) -> Result<Option<RateLimit>, ParseError> {
    let line = raw.referenced.line();
    let raw = raw.value;
    let interval = match raw.interval {
        None if raw.burst.is_none() => return Ok(None),
        None => return Err(at(line, "rate_limit: interval is missing, for example 1s")),
        Some(text) => parse_duration(&text.value).ok_or_else(|| {
            at(
                text.referenced.line(),
                &format!(
                    "rate_limit: interval {:?} is not a duration such as 1s or 100ms",
                    text.value
                ),
            )
        })?,
    };
    if interval.is_zero() {
        return Ok(None);
    }
    match raw.burst {
        None | Some(0) => Err(at(
            line,
            "rate_limit: burst must be at least 1; with 0 every request would be refused",
        )),
        Some(burst) => Ok(Some(RateLimit { interval, burst })),
    }
}

fn allowed_sans(raw: Spanned<Option<Vec<String>>>) -> Result<Vec<String>, ParseError> {
    let line = raw.referenced.line();
    let sans = filled("client_allowed_sans", raw)?;
    if sans.is_empty() || sans.iter().any(String::is_empty) {
        return Err(at(
            line,
            "client_allowed_sans has an empty list or entry; name the SANs or remove the key",
        ));
    }
    Ok(sans)
}

/// Returns the value of a key that is present; a key without a value is refused.
fn filled<T>(key: &str, raw: Spanned<Option<T>>) -> Result<T, ParseError> {
    let line = raw.referenced.line();
    raw.value.ok_or_else(|| {
        at(
            line,
            &format!("{key} is present but empty; fill it or remove the key"),
        )
    })
}

fn text(key: &str, raw: Option<Spanned<Option<String>>>) -> Result<Option<String>, ParseError> {
    let Some(raw) = raw else { return Ok(None) };
    let line = raw.referenced.line();
    match filled(key, raw)? {
        text if text.trim().is_empty() => Err(at(
            line,
            &format!("{key} is present but empty; fill it or remove the key"),
        )),
        text => Ok(Some(text)),
    }
}

fn each<T>(
    key: &str,
    name: Spanned<String>,
    read: impl Fn(&str) -> NameResult<T>,
) -> Result<T, ParseError> {
    read(&name.value).map_err(|message| {
        at(
            name.referenced.line(),
            &format!("tls_server_config: {key}: {message}"),
        )
    })
}

fn at(line: u64, message: &str) -> ParseError {
    ParseError {
        line: Some(line),
        message: message.to_owned(),
    }
}

/// Distinguishes a key without a value from an absent key.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // A snippet of the file would write hashes and keys to logs.
        with_snippet: false,
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
    }
}

fn yaml_error(error: &serde_saphyr::Error) -> ParseError {
    use serde_saphyr::Error as E;
    let message = match error.without_snippet() {
        E::SerdeUnknownField {
            field, expected, ..
        } => {
            format!(
                "unknown key {field:?}; allowed here: {}",
                expected.join(", ")
            )
        }
        E::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key {key:?}"),
        // serde would repeat the value, which may be a hash.
        E::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | E::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => {
            let kind = unexpected
                .split(['"', '`'])
                .next()
                .unwrap_or_default()
                .trim();
            format!("found {kind} where {expected} belongs")
        }
        other => match other.to_string() {
            text if text.contains("$2") || text.contains("PRIVATE") => {
                "this is not valid YAML".to_owned()
            }
            // The position is added in front.
            text => text
                .rsplit_once(" at line ")
                .map_or(text.as_str(), |(reason, _)| reason)
                .to_owned(),
        },
    };
    ParseError {
        line: error
            .location()
            .map(|location| location.line())
            .filter(|line| *line > 0),
        message,
    }
}

/// The keys that a message may contain. Anything else in the file may be a secret in the wrong place.
const KEYS: [&str; 21] = [
    "tls_server_config",
    "cert_file",
    "key_file",
    "cert",
    "key",
    "client_ca_file",
    "client_ca",
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
    "http_server_config",
    "http2",
    "headers",
    "basic_auth_users",
    "rate_limit",
    "interval",
    "burst",
];

/// Adds the keys that contain the error's line to its message, which only describes the value.
fn name_key(text: &str, error: ParseError) -> ParseError {
    let place = error.line.and_then(|line| usize::try_from(line).ok());
    let Some(place) = place else { return error };
    let mut keys: Vec<&str> = Vec::new();
    let mut inner = usize::MAX;
    let above: Vec<&str> = text.lines().take(place).collect();
    for (distance, line) in above.iter().rev().enumerate() {
        let content = line.trim_start();
        let indentation = line.len() - content.len();
        let Some((key, _)) = content.split_once(':') else {
            // An entry of a list may have the same indentation as its key.
            if distance == 0 && content.starts_with('-') {
                inner = indentation + 1;
            } else if distance == 0 && !content.is_empty() {
                inner = indentation;
            }
            continue;
        };
        let key = key.trim_matches(['"', '\'', ' ']);
        if indentation < inner && !content.starts_with(['#', '-']) {
            inner = indentation;
            if KEYS.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys.reverse();
    match keys.last() {
        Some(key) if !error.message.contains(*key) => ParseError {
            message: format!("{}: {}", keys.join(": "), error.message),
            ..error
        },
        _ => error,
    }
}

/// The entries of a mapping in the order of the file. `None` is a key with the value null.
struct Entries<V>(Vec<(Option<String>, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for RawHashes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HashesVisitor;

        impl<'de> Visitor<'de> for HashesVisitor {
            type Value = RawHashes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bcrypt hash or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(RawHashes(vec![text.to_owned()]))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(RawHashes(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut hashes = Vec::new();
                while let Some(hash) = seq.next_element()? {
                    hashes.push(hash);
                }
                Ok(RawHashes(hashes))
            }
        }
        deserializer.deserialize_any(HashesVisitor)
    }
}
