//! ConfigMap `<name>-ca`: the public CA bundle, for users and trust-manager.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use crate::{names::Owner, render::credentials::Credentials, rotation::state::State};

pub(crate) fn ca_config_map(
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
