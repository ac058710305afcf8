//! The rotation state of one resource: the source of truth for its keys, certificates and passwords, and for the progress of
//! rotations.
//!
//! It is stored in the Secret `<name>-state`, which is never mounted ([`mod@format`] defines its format). Everything that is
//! published is a pure function of the state and the spec.

pub mod format;
pub mod published;
pub mod rebuild;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use secure_exporter_web_config::BcryptHash;
use serde::{Deserialize, Serialize};

use crate::{spec::ValidSpec, supplied::credentials::Users};
use secure_exporter_pki::{BACKDATING, secret_text::SecretText};

/// The rotation state of one resource, including all its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Counts, from 1, the changes of what is published, and the changes that an older state must not revert. Published objects
    /// have it as an annotation, and a lower generation never replaces a higher one.
    pub generation: u64,
    /// CAs by generation. All of them are in the CA bundle.
    pub authorities: BTreeMap<u64, Authority>,
    /// Generation of the CA that signs, and that verifies the serving certificate.
    pub active_authority: u64,
    /// Progress of a CA rotation; `None` between rotations.
    pub authority_progress: Option<Progress<AuthorityStage>>,
    /// The serving certificate.
    pub leaf: Leaf,
    /// The client certificate; `None` if the authentication methods do not require one.
    pub client: Option<Client>,
    /// Passwords by generation. The exporters accept all of them. Empty if the authentication methods do not require one.
    pub passwords: BTreeMap<u64, Password>,
    /// Generation of the password that is published for the scrapers.
    pub active_password: u64,
    /// Progress of a password rotation; `None` between rotations.
    pub password_progress: Option<Progress<PasswordStage>>,
    /// The additional users: the last valid content of the user-supplied Secret.
    pub users: Users,
    /// The accepted spec, which renewals use while the spec of the resource is invalid. `None` in a state that an earlier
    /// version of the operator wrote.
    pub accepted: Option<ValidSpec>,
    /// The last handled requests by annotation: the whole value of the annotation by subject.
    pub handled: BTreeMap<String, String>,
}

impl State {
    /// Whether the CA of `generation` exists and has its key.
    pub fn signs(&self, generation: u64) -> bool {
        let authority = self.authorities.get(&generation);
        authority.is_some_and(|authority| authority.key_pem.is_some())
    }

    /// Returns how long before its issue the validity of a certificate of this CA begins. For another issuer this is unknown,
    /// and zero is assumed.
    pub fn backdating(&self, generation: u64) -> SignedDuration {
        if self.signs(generation) {
            BACKDATING
        } else {
            SignedDuration::ZERO
        }
    }
}

/// A CA, or the CA bundle of another issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, PEM; for another issuer, all certificates of its CA bundle.
    pub certificate_pem: String,
    /// Its private key, PEM. `None` if it was lost with the state or belongs to another issuer, so that it cannot sign.
    pub key_pem: Option<SecretText>,
    /// The cross certificate, PEM: its key, certified by the previous CA, with which a scraper that only trusts the previous CA
    /// can verify certificates.
    pub cross_pem: Option<String>,
}

/// The serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The certificate, PEM, followed by the cross certificate of its CA, or the intermediates of another issuer.
    pub certificate_pem: String,
    /// Its private key, PEM.
    pub key_pem: SecretText,
    /// Generation of the CA that signed it.
    pub authority_generation: u64,
    /// [`LeafParameters::fingerprint`](secure_exporter_pki::LeafParameters::fingerprint) of what it was issued with, or `supplied`
    /// if it is user-supplied.
    pub parameters: String,
}

/// The client certificate of the scrapers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The certificate, PEM, followed by the cross certificate of its CA, if there is one.
    pub certificate_pem: String,
    /// Its private key, PEM. A renewal keeps it.
    pub key_pem: SecretText,
    /// Generation of the CA that signed it.
    pub authority_generation: u64,
    /// [`LeafParameters::fingerprint`](secure_exporter_pki::LeafParameters::fingerprint) of what it was issued with.
    pub parameters: String,
}

/// A password and its hash. The hash is stored, because hashing the same password again gives another text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The password. `None` if it was lost with the state: exporters still accept it, but it is no longer published.
    pub password: Option<SecretText>,
    /// Its bcrypt hash.
    pub hash: SecretText,
    /// The cost of the hash.
    pub cost: u32,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is user-supplied.
    pub own: bool,
}

impl Password {
    /// Returns the id by which exporters report its use: [`BcryptHash::id`]. `None` if the hash is invalid.
    pub fn id(&self) -> Option<String> {
        BcryptHash::parse(self.hash.expose())
            .ok()
            .map(|hash| hash.id())
    }
}

/// The current stage of a rotation, and since when it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress<S> {
    /// The stage.
    pub stage: S,
    /// When the stage was entered.
    pub since: Timestamp,
    /// When everything that it publishes was read back from the API server. All timers start at this time, because nothing
    /// could be received before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
}

impl<S> Progress<S> {
    /// Creates a stage that is entered now.
    pub fn begin(stage: S, now: Timestamp) -> Self {
        Self {
            stage,
            since: now,
            confirmed: None,
        }
    }
}

/// The stages of a CA rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorityStage {
    /// The CA bundle contains both; the exporters still serve a certificate of the old CA.
    TrustPublished,
    /// The exporters serve a certificate of the new CA; the CA bundle still contains both.
    LeafSwitched,
    /// Scrapers use a client certificate of the new CA; exporters still trust both. Only used if the client certificate could
    /// not be switched together with the serving certificate.
    ClientSwitched,
    /// The state was rebuilt from what is published. It is unknown which CAs every scraper has, and which CA's certificates the
    /// exporters serve: until the overlap is over, only certificates of the active CA may be served, and no CA may leave the
    /// CA bundle before every exporter has confirmed that it serves a certificate of another one.
    Rebuilt,
}

impl AuthorityStage {
    /// Returns the name that the status has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TrustPublished => "TrustPublished",
            Self::LeafSwitched => "LeafSwitched",
            Self::ClientSwitched => "ClientSwitched",
            Self::Rebuilt => "Rebuilt",
        }
    }
}

/// The stages of a password rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasswordStage {
    /// The exporters accept both passwords; scrapers still use the old one.
    Accepting,
    /// Scrapers use the new password; the exporters still accept both.
    ClientSwitched,
}

impl PasswordStage {
    /// Returns the name that the status has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepting => "Accepting",
            Self::ClientSwitched => "ClientSwitched",
        }
    }
}
