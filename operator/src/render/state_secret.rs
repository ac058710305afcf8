//! Secret `<name>-state`: the only authority, written before anything that is rendered from it.

use k8s_openapi::api::core::v1::Secret;

use crate::{
    names::Owner,
    rotation::{order::LeafRequest, state::State},
};

/// The Secret with the rotation state, and with what is asked of an issuer outside. Nobody mounts it. There is no state
/// before the first certificate of such an issuer.
pub fn state_secret(owner: &Owner, state: Option<&State>, request: Option<&LeafRequest>) -> Secret {
    let generation = state.map_or(0, |state| state.generation);
    let mut data = state.map(State::to_data).unwrap_or_default();
    data.extend(request.map(LeafRequest::to_data).unwrap_or_default());
    Secret {
        metadata: owner.published(owner.state_secret(), generation),
        type_: Some("secureexporter.dev/state".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}
