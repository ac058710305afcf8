//! The rotation state of one resource: the only authority over its keys, certificates and passwords.
//!
//! It lives in the Secret `<name>-state`, which nobody mounts. Everything else is a pure function of it and the spec.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

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
    /// The data of the Secret that holds this state.
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        todo!()
    }

    /// Reads the state from the data of its Secret.
    pub fn from_data(data: &BTreeMap<String, ByteString>) -> Result<Self, StateError> {
        let _ = data;
        todo!()
    }
}
