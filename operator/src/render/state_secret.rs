//! Secret `<name>-state`: the only authority, written before anything that is rendered from it.

use k8s_openapi::api::core::v1::Secret;

use crate::names::Owner;
use crate::rotation::state::State;

/// The Secret with the rotation state. Nobody mounts it.
pub fn state_secret(owner: &Owner, state: &State) -> Secret {
    Secret {
        metadata: owner.published(owner.state_secret(), state.generation),
        type_: Some("secureexporter.dev/state".to_owned()),
        data: Some(state.to_data()),
        ..Secret::default()
    }
}
