//! Secret `<name>-state`: the source of truth, written before anything that is rendered from it.

use k8s_openapi::api::core::v1::Secret;

use crate::{
    names::{Owner, STATE_TYPE},
    rotation::{order::Order, state::State},
};

/// Renders the Secret with the rotation state and the order from another issuer. It is never mounted. Before the first
/// certificate of another issuer, it contains only the order.
pub fn state_secret(owner: &Owner, state: Option<&State>, request: Option<&Order>) -> Secret {
    let generation = state.map_or(0, |state| state.generation);
    let mut data = state.map(State::to_data).unwrap_or_default();
    data.extend(request.map(Order::to_data).unwrap_or_default());
    Secret {
        metadata: owner.published(owner.state_secret(), generation),
        type_: Some(STATE_TYPE.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}
