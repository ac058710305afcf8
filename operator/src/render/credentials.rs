//! The published credentials, taken from the state.

use crate::{
    render::{bundle::bundle, error::RenderError},
    rotation::state::{Client, State},
    spec::ValidSpec,
};
use secure_exporter_pki::secret_text::SecretText;

/// The published parts of the state, checked to be present and not empty.
pub(crate) struct Credentials<'a> {
    pub(crate) bundle: String,
    /// `None` if the authentication methods do not require it.
    pub(crate) password: Option<&'a SecretText>,
    /// `None` if the authentication methods do not require it.
    pub(crate) client: Option<&'a Client>,
}

impl<'a> Credentials<'a> {
    pub(crate) fn of(spec: &ValidSpec, state: &'a State) -> Result<Self, RenderError> {
        let password = spec.methods.ask_password().then(|| password(state));
        let client = spec.methods.ask_certificate().then(|| client(state));
        let bundle = bundle(&state.authorities);
        if bundle.trim().is_empty() {
            return Err(RenderError::EmptyBundle);
        }
        if !state
            .authorities
            .contains_key(&state.leaf.authority_generation)
        {
            return Err(RenderError::MissingGeneration {
                what: "authority",
                generation: state.leaf.authority_generation,
            });
        }
        Ok(Self {
            bundle,
            password: password.transpose()?,
            client: client.transpose()?,
        })
    }
}

fn password(state: &State) -> Result<&SecretText, RenderError> {
    if state.passwords.is_empty() {
        return Err(RenderError::NoUsers);
    }
    let active = state.passwords.get(&state.active_password);
    active
        .and_then(|active| active.password.as_ref())
        .ok_or(RenderError::MissingGeneration {
            what: "password",
            generation: state.active_password,
        })
}

fn client(state: &State) -> Result<&Client, RenderError> {
    let client = state
        .client
        .as_ref()
        .ok_or(RenderError::NoClientCertificate)?;
    if state.authorities.contains_key(&client.authority_generation) {
        return Ok(client);
    }
    // No exporter with this CA bundle would accept it.
    Err(RenderError::MissingGeneration {
        what: "authority",
        generation: client.authority_generation,
    })
}
