//! The rotation state of one resource: the only authority over its keys, certificates and passwords.
//!
//! It lives in the Secret `<name>-state`, which nobody mounts. Everything else is a pure function of it and the spec.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use secure_exporter_web_config::BcryptHash;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pki::inspect::{InspectError, check_key_matches, inspect};
use crate::secret_text::SecretText;

/// All secrets of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Counts the changes of the state, from 1. What is published carries it, and a lower one never replaces a higher.
    pub generation: u64,
    /// Certificate authorities by generation.
    pub authorities: BTreeMap<u64, Authority>,
    /// Generation of the authority that signs.
    pub active_authority: u64,
    /// The certificate that the exporters serve.
    pub leaf: Leaf,
    /// Passwords by generation.
    pub passwords: BTreeMap<u64, Password>,
    /// Generation of the password that scrapers are told to use.
    pub active_password: u64,
}

/// A certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM.
    pub key_pem: SecretText,
}

/// The certificate that the exporters serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM.
    pub key_pem: SecretText,
    /// Generation of the authority that signed it.
    pub authority_generation: u64,
    /// [`LeafParameters::fingerprint`](crate::pki::LeafParameters::fingerprint) of what it was issued with.
    pub parameters: String,
}

/// A password and its hash. The hash is kept because a new one of the same password would be another text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The password.
    pub password: SecretText,
    /// Its bcrypt hash.
    pub hash: SecretText,
    /// The cost with which it was hashed.
    pub cost: u32,
}

/// Why a stored state was refused. It is never replaced silently: a new start would be a new authority, which every
/// scraper refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A key is missing from the Secret.
    #[error("key {key:?} is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// A key's value is damaged.
    #[error("key {key:?} is damaged: {problem}")]
    Damaged {
        /// The key.
        key: String,
        /// What is wrong with it, without its content.
        problem: String,
    },
}

impl State {
    /// The data of the Secret that holds this state: PEM files and passwords under keys of their own, so that a person
    /// can read them with the usual tools, and the rest in `state.json`.
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        let mut put = |key: String, text: &str| {
            data.insert(key, ByteString(text.as_bytes().to_vec()));
        };
        for (generation, authority) in &self.authorities {
            put(
                authority_certificate_key(*generation),
                &authority.certificate_pem,
            );
            put(authority_key_key(*generation), authority.key_pem.expose());
        }
        put(LEAF_CERTIFICATE_KEY.to_owned(), &self.leaf.certificate_pem);
        put(LEAF_KEY_KEY.to_owned(), self.leaf.key_pem.expose());
        for (generation, password) in &self.passwords {
            put(password_key(*generation), password.password.expose());
            put(hash_key(*generation), password.hash.expose());
        }
        let passwords: serde_json::Map<String, Value> = self
            .passwords
            .iter()
            .map(|(generation, password)| (generation.to_string(), json!({"cost": password.cost})))
            .collect();
        let index = json!({
            "format": FORMAT,
            "generation": self.generation,
            "authorities": self.authorities.keys().collect::<Vec<_>>(),
            "activeAuthority": self.active_authority,
            "leaf": {
                "authority": self.leaf.authority_generation,
                "parameters": self.leaf.parameters,
            },
            "passwords": passwords,
            "activePassword": self.active_password,
        });
        put(INDEX_KEY.to_owned(), &format!("{index:#}\n"));
        data
    }

    /// Reads the state from the data of its Secret, and checks all that can be checked without a clock: that every
    /// part is there, that keys belong to their certificates, that hashes are hashes.
    ///
    /// # Errors
    /// [`StateError`] names the key of the Secret, and never its content. Keys that no part of the state names are
    /// ignored.
    pub fn from_data(data: &BTreeMap<String, ByteString>) -> Result<Self, StateError> {
        let index = Index::read(data)?;
        let authorities = index
            .authorities
            .iter()
            .map(|generation| Ok((*generation, Authority::read(data, *generation)?)))
            .collect::<Result<BTreeMap<_, _>, StateError>>()?;
        let passwords = index
            .passwords
            .iter()
            .map(|(generation, entry)| {
                Ok((*generation, Password::read(data, *generation, entry.cost)?))
            })
            .collect::<Result<BTreeMap<_, _>, StateError>>()?;
        let leaf = Leaf::read(data, index.leaf)?;
        let named = |what: &str, generation: u64, exists: bool| {
            exists.then_some(generation).ok_or_else(|| {
                damaged(
                    INDEX_KEY,
                    format!("it names {what} {generation}, which it does not list"),
                )
            })
        };
        named(
            "leaf.authority",
            leaf.authority_generation,
            authorities.contains_key(&leaf.authority_generation),
        )?;
        Ok(Self {
            generation: index.generation,
            active_authority: named(
                "activeAuthority",
                index.active_authority,
                authorities.contains_key(&index.active_authority),
            )?,
            active_password: named(
                "activePassword",
                index.active_password,
                passwords.contains_key(&index.active_password),
            )?,
            authorities,
            leaf,
            passwords,
        })
    }
}

/// Version of the format of the Secret. A later one is refused, because what this version does not know it would lose.
const FORMAT: u32 = 1;

const INDEX_KEY: &str = "state.json";
const LEAF_CERTIFICATE_KEY: &str = "leaf.crt";
const LEAF_KEY_KEY: &str = "leaf.key";

fn authority_certificate_key(generation: u64) -> String {
    format!("ca-{generation}.crt")
}

fn authority_key_key(generation: u64) -> String {
    format!("ca-{generation}.key")
}

fn password_key(generation: u64) -> String {
    format!("password-{generation}")
}

fn hash_key(generation: u64) -> String {
    format!("password-{generation}.bcrypt")
}

/// `state.json`: everything that is not secret, and which other keys there are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Index {
    #[serde(rename = "format")]
    _format: u32,
    generation: u64,
    authorities: Vec<u64>,
    active_authority: u64,
    leaf: LeafEntry,
    passwords: BTreeMap<u64, PasswordEntry>,
    active_password: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeafEntry {
    authority: u64,
    parameters: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordEntry {
    cost: u32,
}

impl Index {
    fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let json = text(data, INDEX_KEY)?;
        let problem = |error: serde_json::Error| damaged(INDEX_KEY, error.to_string());
        let Version { format } = serde_json::from_str(json).map_err(problem)?;
        if format != FORMAT {
            return Err(damaged(
                INDEX_KEY,
                format!(
                    "it has format {format}, and this operator reads format {FORMAT}: run the operator version that wrote it"
                ),
            ));
        }
        serde_json::from_str(json).map_err(problem)
    }
}

impl Authority {
    fn read(data: &BTreeMap<String, ByteString>, generation: u64) -> Result<Self, StateError> {
        let (certificate_key, key_key) = (
            authority_certificate_key(generation),
            authority_key_key(generation),
        );
        let (certificate_pem, key_pem) = pair(data, &certificate_key, &key_key)?;
        let facts = inspect(&certificate_pem)
            .map_err(|error| damaged(&certificate_key, error.to_string()))?;
        if !facts.is_authority {
            return Err(damaged(
                &certificate_key,
                "it is not a certificate authority".to_owned(),
            ));
        }
        Ok(Self {
            certificate_pem,
            key_pem,
        })
    }
}

impl Leaf {
    fn read(data: &BTreeMap<String, ByteString>, entry: LeafEntry) -> Result<Self, StateError> {
        let (certificate_pem, key_pem) = pair(data, LEAF_CERTIFICATE_KEY, LEAF_KEY_KEY)?;
        Ok(Self {
            certificate_pem,
            key_pem,
            authority_generation: entry.authority,
            parameters: entry.parameters,
        })
    }
}

impl Password {
    fn read(
        data: &BTreeMap<String, ByteString>,
        generation: u64,
        cost: u32,
    ) -> Result<Self, StateError> {
        let (password_key, hash_key) = (password_key(generation), hash_key(generation));
        let password = text(data, &password_key)?;
        if password.is_empty() {
            return Err(damaged(&password_key, "it is empty".to_owned()));
        }
        let hash = text(data, &hash_key)?;
        let parsed = BcryptHash::parse(hash)
            .map_err(|_| damaged(&hash_key, "it is not a bcrypt hash".to_owned()))?;
        if parsed.cost() != cost {
            return Err(damaged(
                &hash_key,
                format!("its cost is not {cost}, as {INDEX_KEY} says"),
            ));
        }
        Ok(Self {
            password: SecretText::new(password.to_owned()),
            hash: SecretText::new(hash.to_owned()),
            cost,
        })
    }
}

/// A certificate and the private key that belongs to it.
fn pair(
    data: &BTreeMap<String, ByteString>,
    certificate_key: &str,
    key_key: &str,
) -> Result<(String, SecretText), StateError> {
    let certificate_pem = text(data, certificate_key)?.to_owned();
    let key_pem = SecretText::new(text(data, key_key)?.to_owned());
    check_key_matches(&certificate_pem, &key_pem).map_err(|error| {
        let key = match error {
            InspectError::NoKey | InspectError::UnusableKey | InspectError::KeyMismatch => key_key,
            _ => certificate_key,
        };
        damaged(key, error.to_string())
    })?;
    Ok((certificate_pem, key_pem))
}

fn text<'a>(data: &'a BTreeMap<String, ByteString>, key: &str) -> Result<&'a str, StateError> {
    let bytes = data.get(key).ok_or_else(|| StateError::Missing {
        key: key.to_owned(),
    })?;
    std::str::from_utf8(&bytes.0).map_err(|_| damaged(key, "it is not text".to_owned()))
}

fn damaged(key: &str, problem: String) -> StateError {
    StateError::Damaged {
        key: key.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::pki::{Serial, issue, password};

    fn authority(byte: u8) -> Authority {
        let now: Timestamp = "2026-11-23T15:00:00Z".parse().unwrap();
        let pair = issue::issue_authority("n.m", 1, now, Serial::from_bytes([byte; 16])).unwrap();
        Authority {
            certificate_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
        }
    }

    fn state() -> State {
        let (one, two) = (authority(1), authority(2));
        let password = |text: &str| Password {
            password: SecretText::new(text.to_owned()),
            hash: password::hash(&SecretText::new(text.to_owned()), 4).unwrap(),
            cost: 4,
        };
        State {
            generation: 7,
            // Which certificate the leaf is does not matter here, only that its key fits.
            leaf: Leaf {
                certificate_pem: two.certificate_pem.clone(),
                key_pem: two.key_pem.clone(),
                authority_generation: 2,
                parameters: "fingerprint".into(),
            },
            authorities: BTreeMap::from([(1, one), (2, two)]),
            active_authority: 2,
            passwords: BTreeMap::from([(3, password("old-secret")), (4, password("new-secret"))]),
            active_password: 4,
        }
    }

    #[test]
    fn a_state_comes_back_as_it_went_in() {
        let state = state();
        let data = state.to_data();
        assert_eq!(State::from_data(&data), Ok(state.clone()));
        assert_eq!(State::from_data(&data).unwrap().to_data(), data);
        let index = text(&data, INDEX_KEY).unwrap();
        assert!(
            !index.contains("secret") && !index.contains("$2b$"),
            "{index}"
        );
    }

    #[test]
    fn a_missing_key_is_named_and_nothing_starts_anew() {
        let complete = state().to_data();
        for key in complete.keys() {
            let mut data = complete.clone();
            data.remove(key);
            assert_eq!(
                State::from_data(&data),
                Err(StateError::Missing { key: key.clone() })
            );
        }
        assert!(State::from_data(&BTreeMap::new()).is_err());
    }

    #[test]
    fn a_damaged_key_is_named_without_its_content() {
        let complete = state().to_data();
        for key in complete.keys() {
            for bytes in [&b""[..], b"\xff\xfe", b"s3cret-garbage"] {
                let is_password = !key.contains('.') && bytes == b"s3cret-garbage";
                if is_password {
                    continue; // Any text is a password.
                }
                let mut data = complete.clone();
                data.insert(key.clone(), ByteString(bytes.to_vec()));
                let error = State::from_data(&data).unwrap_err();
                assert!(
                    matches!(&error, StateError::Damaged { key: named, .. } if named == key),
                    "{key}: {error}"
                );
                assert!(!error.to_string().contains("s3cret"), "{error}");
            }
        }
    }

    #[test]
    fn exchanged_parts_are_refused() {
        let complete = state().to_data();
        for (to, from, named) in [
            ("ca-1.key", "ca-2.key", "ca-1.key"),
            ("leaf.crt", "ca-1.crt", "leaf.key"),
        ] {
            let mut data = complete.clone();
            data.insert(to.to_owned(), complete[from].clone());
            let error = State::from_data(&data).unwrap_err();
            assert!(
                matches!(&error, StateError::Damaged { key, .. } if key == named),
                "{error}"
            );
        }
    }

    #[test]
    fn an_index_that_names_what_is_not_there_is_refused() {
        let complete = state().to_data();
        for (from, to) in [
            ("\"activeAuthority\": 2", "\"activeAuthority\": 3"),
            ("\"activePassword\": 4", "\"activePassword\": 5"),
            ("\"authority\": 2", "\"authority\": 9"),
            ("\"format\": 1", "\"format\": 2"),
            ("\"format\": 1", "\"format\": 1, \"stage\": \"new\""),
            ("\"cost\": 4", "\"cost\": 5"),
        ] {
            let mut data = complete.clone();
            let index = text(&complete, INDEX_KEY).unwrap();
            assert!(index.contains(from), "{from} in {index}");
            let changed = index.replacen(from, to, 1);
            data.insert(INDEX_KEY.to_owned(), ByteString(changed.into_bytes()));
            assert!(State::from_data(&data).is_err(), "{to}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", state());
        for secret in ["old-secret", "new-secret", "$2b$", "PRIVATE"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
