//! The format of the state in its Secret: PEM files and passwords in separate keys, so that a user can read them with the
//! usual tools, and everything that is not secret in `state.json`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use secure_exporter_web_config::{BcryptHash, UserHashes};
use serde::{Deserialize, Serialize};

use crate::{
    rotation::state::{
        Authority, AuthorityStage, Client, Leaf, Password, PasswordStage, Progress, State,
    },
    spec::ValidSpec,
    supplied::credentials::Users,
};
use secure_exporter_pki::{
    inspect::{InspectError, certificates, check_key_matches, facts},
    secret_text::SecretText,
};

/// Why a stored state is unusable. It is never replaced silently, because a new state has a new CA, which no scraper
/// trusts.
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
        /// What is wrong, without the content of the value.
        problem: String,
    },
}

impl State {
    /// Returns the data of the Secret for this state.
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
            if let Some(key) = &authority.key_pem {
                put(authority_key_key(*generation), key.expose());
            }
            if let Some(cross) = &authority.cross_pem {
                put(cross_key(*generation), cross);
            }
        }
        put(LEAF_CERTIFICATE_KEY.to_owned(), &self.leaf.certificate_pem);
        put(LEAF_KEY_KEY.to_owned(), self.leaf.key_pem.expose());
        if let Some(client) = &self.client {
            put(CLIENT_CERTIFICATE_KEY.to_owned(), &client.certificate_pem);
            put(CLIENT_KEY_KEY.to_owned(), client.key_pem.expose());
        }
        for (generation, password) in &self.passwords {
            if let Some(text) = &password.password {
                put(password_key(*generation), text.expose());
            }
            put(hash_key(*generation), password.hash.expose());
        }
        if !self.users.is_empty() {
            put(USERS_KEY.to_owned(), &write_users(&self.users));
        }
        if let Some(spec) = &self.accepted {
            let text = serde_json::to_string_pretty(spec).unwrap_or_default();
            put(ACCEPTED_SPEC_KEY.to_owned(), &format!("{text}\n"));
        }
        // Maps of plain values and times can always be serialized as JSON.
        let index = serde_json::to_string_pretty(&Index::of(self)).unwrap_or_default();
        put(INDEX_KEY.to_owned(), &format!("{index}\n"));
        data
    }

    /// Parses the state from the data of its Secret, and checks everything that can be checked without a clock: that every
    /// part exists, that private keys match their certificates, and that hashes are valid. Ignores unknown keys.
    ///
    /// # Errors
    /// [`StateError`] names the key in the Secret, never its content.
    pub fn from_data(data: &BTreeMap<String, ByteString>) -> Result<Self, StateError> {
        let index = Index::read(data)?;
        index.check_references()?;
        let authorities = index
            .authorities
            .iter()
            .map(|(generation, entry)| Ok((*generation, entry.read(data, *generation)?)))
            .collect::<Result<_, StateError>>()?;
        let passwords = index
            .passwords
            .iter()
            .map(|(generation, entry)| Ok((*generation, entry.read(data, *generation)?)))
            .collect::<Result<_, StateError>>()?;
        Ok(Self {
            generation: index.generation,
            active_authority: index.active_authority,
            authority_progress: index.authority_progress,
            active_password: index.active_password,
            password_progress: index.password_progress,
            users: read_users(data, index.users)?,
            accepted: accepted_spec(data),
            handled: index.handled,
            leaf: index.leaf.read(data)?,
            client: index
                .client
                .map(|entry| entry.read_client(data))
                .transpose()?,
            authorities,
            passwords,
        })
    }
}

/// Version of the format. A later version is refused, because this operator would lose what it does not know.
const FORMAT: u32 = 1;

const INDEX_KEY: &str = "state.json";
const LEAF_CERTIFICATE_KEY: &str = "leaf.crt";
const LEAF_KEY_KEY: &str = "leaf.key";
const CLIENT_CERTIFICATE_KEY: &str = "client.crt";
const CLIENT_KEY_KEY: &str = "client.key";
/// The accepted spec. A separate key, which earlier versions of the operator ignore.
const ACCEPTED_SPEC_KEY: &str = "accepted-spec.json";
/// The additional users in the format of `htpasswd`: a user and a hash on each line.
const USERS_KEY: &str = "users.htpasswd";

fn authority_certificate_key(generation: u64) -> String {
    format!("ca-{generation}.crt")
}

fn authority_key_key(generation: u64) -> String {
    format!("ca-{generation}.key")
}

fn cross_key(generation: u64) -> String {
    format!("ca-{generation}.cross.crt")
}

fn password_key(generation: u64) -> String {
    format!("password-{generation}")
}

fn hash_key(generation: u64) -> String {
    format!("password-{generation}.bcrypt")
}

/// `state.json`: everything that is not secret, and which other keys exist.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Index {
    format: u32,
    generation: u64,
    authorities: BTreeMap<u64, AuthorityEntry>,
    active_authority: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority_progress: Option<Progress<AuthorityStage>>,
    leaf: LeafEntry,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<LeafEntry>,
    passwords: BTreeMap<u64, PasswordEntry>,
    active_password: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_progress: Option<Progress<PasswordStage>>,
    /// The number of additional users, so that a missing one is noticed.
    #[serde(default, skip_serializing_if = "is_zero")]
    users: usize,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    handled: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuthorityEntry {
    has_key: bool,
    has_cross: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeafEntry {
    authority: u64,
    parameters: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PasswordEntry {
    has_text: bool,
    cost: u32,
    created: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    own: bool,
}

impl Index {
    fn of(state: &State) -> Self {
        let authority = |authority: &Authority| AuthorityEntry {
            has_key: authority.key_pem.is_some(),
            has_cross: authority.cross_pem.is_some(),
        };
        let password = |password: &Password| PasswordEntry {
            has_text: password.password.is_some(),
            cost: password.cost,
            created: password.created,
            own: password.own,
        };
        Self {
            format: FORMAT,
            generation: state.generation,
            authorities: map(&state.authorities, authority),
            active_authority: state.active_authority,
            authority_progress: state.authority_progress,
            leaf: LeafEntry {
                authority: state.leaf.authority_generation,
                parameters: state.leaf.parameters.clone(),
            },
            client: state.client.as_ref().map(|client| LeafEntry {
                authority: client.authority_generation,
                parameters: client.parameters.clone(),
            }),
            passwords: map(&state.passwords, password),
            active_password: state.active_password,
            password_progress: state.password_progress,
            users: state.users.len(),
            handled: state.handled.clone(),
        }
    }

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
                    "it has format {format}, but this operator only supports format {FORMAT}: run the operator version that wrote it"
                ),
            ));
        }
        serde_json::from_str(json).map_err(problem)
    }

    /// Checks that everything in use exists.
    fn check_references(&self) -> Result<(), StateError> {
        let authorities: BTreeSet<_> = self.authorities.keys().collect();
        let passwords: BTreeSet<_> = self.passwords.keys().collect();
        let client = self.client.as_ref();
        let named = [
            Some(("leaf.authority", &self.leaf.authority, &authorities)),
            client.map(|client| ("client.authority", &client.authority, &authorities)),
            Some(("activeAuthority", &self.active_authority, &authorities)),
            // Generation 0 means none: without basic authentication there is no password.
            (self.active_password > 0 || !passwords.is_empty()).then_some((
                "activePassword",
                &self.active_password,
                &passwords,
            )),
        ];
        for (what, generation, listed) in named.into_iter().flatten() {
            if !listed.contains(generation) {
                return Err(damaged(
                    INDEX_KEY,
                    format!("{what} refers to generation {generation}, which is not listed"),
                ));
            }
        }
        Ok(())
    }
}

impl AuthorityEntry {
    fn read(
        &self,
        data: &BTreeMap<String, ByteString>,
        generation: u64,
    ) -> Result<Authority, StateError> {
        let certificate_key = authority_certificate_key(generation);
        let (certificate_pem, key_pem) = if self.has_key {
            let (certificate, key) = pair(data, &certificate_key, &authority_key_key(generation))?;
            (certificate, Some(key))
        } else {
            (text(data, &certificate_key)?.to_owned(), None)
        };
        let cross_pem = self
            .has_cross
            .then(|| text(data, &cross_key(generation)).map(str::to_owned))
            .transpose()?;
        check_authority(&certificate_key, &certificate_pem)?;
        if let Some(cross) = &cross_pem {
            check_authority(&cross_key(generation), cross)?;
        }
        Ok(Authority {
            certificate_pem,
            key_pem,
            cross_pem,
        })
    }
}

fn check_authority(key: &str, certificate_pem: &str) -> Result<(), StateError> {
    let problem = |error: InspectError| damaged(key, error.to_string());
    for certificate in certificates(certificate_pem).map_err(problem)? {
        if !facts(&certificate).map_err(problem)?.is_authority {
            return Err(damaged(key, "it is not a CA certificate".to_owned()));
        }
    }
    Ok(())
}

impl LeafEntry {
    fn read(self, data: &BTreeMap<String, ByteString>) -> Result<Leaf, StateError> {
        let (certificate_pem, key_pem) = pair(data, LEAF_CERTIFICATE_KEY, LEAF_KEY_KEY)?;
        Ok(Leaf {
            certificate_pem,
            key_pem,
            authority_generation: self.authority,
            parameters: self.parameters,
        })
    }

    fn read_client(self, data: &BTreeMap<String, ByteString>) -> Result<Client, StateError> {
        let (certificate_pem, key_pem) = pair(data, CLIENT_CERTIFICATE_KEY, CLIENT_KEY_KEY)?;
        Ok(Client {
            certificate_pem,
            key_pem,
            authority_generation: self.authority,
            parameters: self.parameters,
        })
    }
}

impl PasswordEntry {
    fn read(
        &self,
        data: &BTreeMap<String, ByteString>,
        generation: u64,
    ) -> Result<Password, StateError> {
        let (password_key, hash_key) = (password_key(generation), hash_key(generation));
        let password = self
            .has_text
            .then(|| text(data, &password_key))
            .transpose()?;
        if password.is_some_and(str::is_empty) {
            return Err(damaged(&password_key, "it is empty".to_owned()));
        }
        let hash = text(data, &hash_key)?;
        let parsed = BcryptHash::parse(hash)
            .map_err(|_| damaged(&hash_key, "it is not a bcrypt hash".to_owned()))?;
        if parsed.cost() != self.cost {
            return Err(damaged(
                &hash_key,
                format!("its cost is not {}, the value in {INDEX_KEY}", self.cost),
            ));
        }
        Ok(Password {
            password: password.map(|text| SecretText::new(text.to_owned())),
            hash: SecretText::new(hash.to_owned()),
            cost: self.cost,
            created: self.created,
            own: self.own,
        })
    }
}

/// An accepted spec that cannot be parsed, because another version wrote it, counts as none: it can be derived from what is
/// served, and an error would stop the renewal of the certificate.
fn accepted_spec(data: &BTreeMap<String, ByteString>) -> Option<ValidSpec> {
    serde_json::from_str(text(data, ACCEPTED_SPEC_KEY).ok()?).ok()
}

fn write_users(users: &Users) -> String {
    let lines = users.iter().flat_map(|(name, hashes)| {
        let hashes = hashes.as_slice().iter();
        hashes.map(move |hash| format!("{name}:{}\n", hash.as_str()))
    });
    lines.collect()
}

fn read_users(data: &BTreeMap<String, ByteString>, count: usize) -> Result<Users, StateError> {
    if count == 0 {
        return Ok(Users::new());
    }
    let damage = |line: usize| damaged(USERS_KEY, format!("line {line} is not a user and a hash"));
    let mut hashes: BTreeMap<String, Vec<BcryptHash>> = BTreeMap::new();
    for (index, line) in text(data, USERS_KEY)?.lines().enumerate() {
        let (name, hash) = line.split_once(':').ok_or_else(|| damage(index + 1))?;
        let hash = BcryptHash::parse(hash).map_err(|_| damage(index + 1))?;
        hashes.entry(name.to_owned()).or_default().push(hash);
    }
    if hashes.len() != count {
        let problem = format!("it does not contain {count} users, the number in {INDEX_KEY}");
        return Err(damaged(USERS_KEY, problem));
    }
    let users = hashes.into_iter();
    users
        .map(|(name, hashes)| {
            let hashes = UserHashes::new(hashes).map_err(|_| damage(0))?;
            Ok((name, hashes))
        })
        .collect()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn map<V, E>(from: &BTreeMap<u64, V>, entry: impl Fn(&V) -> E) -> BTreeMap<u64, E> {
    let entries = from.iter();
    entries.map(|(key, value)| (*key, entry(value))).collect()
}

/// Reads a certificate and its private key.
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

/// Reads the text of a key in the Secret.
pub(crate) fn text<'a>(
    data: &'a BTreeMap<String, ByteString>,
    key: &str,
) -> Result<&'a str, StateError> {
    let bytes = data.get(key).ok_or_else(|| StateError::Missing {
        key: key.to_owned(),
    })?;
    std::str::from_utf8(&bytes.0).map_err(|_| damaged(key, "it is not UTF-8 text".to_owned()))
}

/// Creates the error for a damaged key. `problem` must not contain the value.
pub(crate) fn damaged(key: &str, problem: String) -> StateError {
    StateError::Damaged {
        key: key.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests;
