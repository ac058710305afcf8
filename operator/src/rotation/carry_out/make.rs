//! Generates keys, certificates and passwords: the only part of the rotation that uses random numbers.

use jiff::Timestamp;
use secure_exporter_pki::{
    IssueError, Serial,
    inspect::inspect,
    issue::{cross_sign, issue_authority, issue_client, issue_leaf},
    password::{self, PasswordError},
    secret_text::SecretText,
};

use crate::{
    names::Owner,
    rotation::{
        because::Because,
        state::{Authority, Client, Leaf, Password},
    },
    spec::ValidSpec,
};

/// Why the next state could not be created.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A certificate could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A password could not be generated.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The steps do not lead to a complete state.
    #[error("the next state would have no {0}; this is a bug in the operator")]
    Incomplete(&'static str),
}

/// What the credentials are generated for.
pub(crate) struct Maker<'a> {
    pub(crate) spec: &'a ValidSpec,
    pub(crate) owner: &'a Owner,
    pub(crate) now: Timestamp,
}

impl Maker<'_> {
    /// Generates a CA, with a cross certificate of the previous one if that can still sign.
    pub(crate) fn authority(
        &self,
        generation: u64,
        before: Option<&Authority>,
    ) -> Result<Authority, RotationError> {
        let name = format!("{}.{}", self.owner.name, self.owner.namespace);
        let pair = issue_authority(&name, generation, self.now, Serial::random()?)?;
        let cross_pem = before
            .and_then(|before| Some((&before.certificate_pem, before.key_pem.as_ref()?)))
            .map(|(certificate, key)| {
                let serial = Serial::random()?;
                let (new_key, now) = (&pair.key_pem, self.now);
                cross_sign(&name, generation, new_key, certificate, key, now, serial)
            })
            .transpose()?;
        Ok(Authority {
            certificate_pem: pair.certificate_pem,
            key_pem: Some(pair.key_pem),
            cross_pem,
        })
    }

    /// Issues a serving certificate, signed by `authority` of generation `generation`.
    pub(crate) fn leaf(
        &self,
        authority: &Authority,
        generation: u64,
    ) -> Result<Leaf, RotationError> {
        let parameters = &self.spec.certificate.parameters;
        let (certificate, key) = (&authority.certificate_pem, signing_key(authority)?);
        let pair = issue_leaf(parameters, certificate, key, self.now, Serial::random()?)?;
        Ok(Leaf {
            certificate_pem: self.chain(pair.certificate_pem, authority)?,
            key_pem: pair.key_pem,
            authority_generation: generation,
            parameters: parameters.fingerprint(),
        })
    }

    /// Issues a client certificate, signed by `authority` of generation `generation`.
    pub(crate) fn client(
        &self,
        authority: &Authority,
        generation: u64,
        before: Option<&Client>,
        because: Because,
    ) -> Result<Client, RotationError> {
        let parameters = self.spec.client_parameters();
        // A change of the CA or of the key type needs a new key; a renewal keeps it.
        let keeps_key = matches!(because, Because::Due | Because::Requested);
        let kept = before.filter(|_| keeps_key).map(|client| &client.key_pem);
        let (certificate, key) = (&authority.certificate_pem, signing_key(authority)?);
        let serial = Serial::random()?;
        let pair = issue_client(&parameters, kept, certificate, key, self.now, serial)?;
        Ok(Client {
            certificate_pem: self.chain(pair.certificate_pem, authority)?,
            key_pem: pair.key_pem,
            authority_generation: generation,
            parameters: parameters.fingerprint(),
        })
    }

    /// Hashes the user-supplied password, or a generated one.
    pub(crate) fn password(&self, own: Option<&SecretText>) -> Result<Password, RotationError> {
        let cost = self.spec.bcrypt_cost;
        let password = own.cloned().map_or_else(password::generate, Ok)?;
        Ok(Password {
            own: own.is_some(),
            hash: password::hash(&password, cost)?,
            password: Some(password),
            cost,
            created: self.now,
        })
    }

    /// Returns a certificate followed by the cross certificate of its CA, if that is still valid.
    fn chain(
        &self,
        mut certificate_pem: String,
        authority: &Authority,
    ) -> Result<String, IssueError> {
        if let Some(cross) = &authority.cross_pem
            && inspect(cross).map_err(IssueError::Authority)?.not_after > self.now
        {
            certificate_pem.push_str(cross);
        }
        Ok(certificate_pem)
    }
}

/// The CA bundle of another issuer, without keys.
pub(crate) fn bundle(bundle_pem: &str) -> Authority {
    Authority {
        certificate_pem: bundle_pem.to_owned(),
        key_pem: None,
        cross_pem: None,
    }
}

fn signing_key(authority: &Authority) -> Result<&SecretText, RotationError> {
    let key = authority.key_pem.as_ref();
    key.ok_or(RotationError::Incomplete("key of the active CA"))
}
