//! ConfigMap `<name>-ca`: the public trust bundle, for people and trust-manager.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::Credentials;
use crate::names::Owner;
use crate::rotation::state::State;

pub(super) fn ca_config_map(
    owner: &Owner,
    state: &State,
    credentials: &Credentials<'_>,
) -> ConfigMap {
    ConfigMap {
        metadata: owner.published(owner.ca_config_map(), state.generation),
        data: Some(BTreeMap::from([(
            "ca.crt".to_owned(),
            credentials.bundle.clone(),
        )])),
        ..ConfigMap::default()
    }
}
