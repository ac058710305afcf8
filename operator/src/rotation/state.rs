//! The rotation state of one resource: the only authority over its keys, certificates and passwords, and over how far a
//! rotation has come.
//!
//! It lives in the Secret `<name>-state`, which nobody mounts ([`mod@format`] says how). Everything that is published is a
//! pure function of it and the spec.

pub mod format;
pub mod rebuild;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use secure_exporter_web_config::BcryptHash;
use serde::{Deserialize, Serialize};

pub use crate::rotation::state::format::StateError;
use crate::{spec::ValidSpec, supplied::credentials::Users};
use secure_exporter_pki::{BACKDATING, secret_text::SecretText};

/// All secrets of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Counts the changes of what is published, and those that a state from before would take back, from 1. What is published
    /// carries it, and a lower one never replaces a higher.
    pub generation: u64,
    /// Certificate authorities by generation. All of them are in the trust bundle.
    pub authorities: BTreeMap<u64, Authority>,
    /// Generation of the authority that signs: the one that the leaf is verified by.
    pub active_authority: u64,
    /// How far a change of the authority has come; `None` between changes.
    pub authority_progress: Option<Progress<AuthorityStage>>,
    /// The certificate that the exporters serve.
    pub leaf: Leaf,
    /// The certificate that scrapers present; `None` where none is asked for.
    pub client: Option<Client>,
    /// Passwords by generation. The exporters accept all of them. Empty where none is asked for.
    pub passwords: BTreeMap<u64, Password>,
    /// Generation of the password that scrapers are told to use.
    pub active_password: u64,
    /// How far a change of the password has come; `None` between changes.
    pub password_progress: Option<Progress<PasswordStage>>,
    /// The further users: the last good content of the user's own Secret.
    pub users: Users,
    /// The spec that all of this was made by: what is served is renewed by it while the resource asks for something that
    /// cannot be. `None` in a state that an earlier version of the operator has written.
    pub accepted: Option<ValidSpec>,
    /// The requests, by subject, that were last acted on: the annotation's whole value.
    pub handled: BTreeMap<String, String>,
}

impl State {
    /// Whether the authority of `generation` is there and has its key.
    pub fn signs(&self, generation: u64) -> bool {
        let authority = self.authorities.get(&generation);
        authority.is_some_and(|authority| authority.key_pem.is_some())
    }

    /// How much earlier than its issue the validity of what this authority has signed begins. Of another issuer it is not
    /// known, and taken for nothing.
    pub fn backdating(&self, generation: u64) -> SignedDuration {
        if self.signs(generation) {
            BACKDATING
        } else {
            SignedDuration::ZERO
        }
    }
}

/// A certificate authority, or all those of an issuer that is not the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, PEM; of another issuer, as many as its bundle has.
    pub certificate_pem: String,
    /// Its private key, PEM. `None` where it was lost with the state, or is another issuer's: then nothing is signed here.
    pub key_pem: Option<SecretText>,
    /// Its key, certified by the authority before it, PEM: what lets a scraper that knows only the older one verify.
    pub cross_pem: Option<String>,
}

/// The certificate that the exporters serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The certificate, PEM, and what leads from it to an authority behind it, where anything does: the cross certificate of
    /// its authority, or the intermediates of another issuer.
    pub certificate_pem: String,
    /// Its private key, PEM.
    pub key_pem: SecretText,
    /// Generation of the authority that signed it.
    pub authority_generation: u64,
    /// [`LeafParameters::fingerprint`](secure_exporter_pki::LeafParameters::fingerprint) of what it was issued with, or `supplied`
    /// where somebody else has issued it.
    pub parameters: String,
}

/// The certificate that scrapers present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The certificate, PEM, and the cross certificate of its authority behind it, where there is one.
    pub certificate_pem: String,
    /// Its private key, PEM. A renewal keeps it.
    pub key_pem: SecretText,
    /// Generation of the authority that signed it.
    pub authority_generation: u64,
    /// [`LeafParameters::fingerprint`](secure_exporter_pki::LeafParameters::fingerprint) of what it was issued with.
    pub parameters: String,
}

/// A password and its hash. The hash is kept because a new one of the same password would be another text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The password. `None` where it was lost with the state: it goes on being accepted from those who have it, and
    /// nobody is told it any more.
    pub password: Option<SecretText>,
    /// Its bcrypt hash.
    pub hash: SecretText,
    /// The cost with which it was hashed.
    pub cost: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it is the user's own, and was not generated.
    pub own: bool,
}

impl Password {
    /// What exporters call it when they tell of its use: [`BcryptHash::id`]. `None` for a hash that is none.
    pub fn id(&self) -> Option<String> {
        BcryptHash::parse(self.hash.expose())
            .ok()
            .map(|hash| hash.id())
    }
}

/// A stage that was entered, and since when it is known to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress<S> {
    /// The stage.
    pub stage: S,
    /// When it was decided on.
    pub since: Timestamp,
    /// When everything that it publishes was read back from the API server. All timers start here: what was only
    /// intended has reached nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
}

impl<S> Progress<S> {
    /// A stage that is entered now.
    pub fn begin(stage: S, now: Timestamp) -> Self {
        Self {
            stage,
            since: now,
            confirmed: None,
        }
    }
}

/// The stages between one authority and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorityStage {
    /// Scrapers are told to trust both; the exporters still serve a certificate of the old one.
    TrustPublished,
    /// The exporters serve a certificate of the new one; scrapers still trust both.
    LeafSwitched,
    /// Scrapers present a client certificate of the new one as well; exporters still trust both. A stage of its own only
    /// where the client certificate could not change together with the leaf.
    ClientSwitched,
    /// The state was made again from what is published. Which authorities every scraper has, and which of them an exporter
    /// serves by, is not known: none but the active one may be served by before the overlap is over, and none may leave
    /// the bundle before every exporter has said that it serves by another.
    Rebuilt,
}

/// The stages between one password and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasswordStage {
    /// The exporters accept both; scrapers still use the old one.
    Accepting,
    /// Scrapers use the new one; the exporters still accept both.
    ClientSwitched,
}
