//! Secret `<name>-server`: what the exporter's pods mount.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use secure_exporter_web_config::{BcryptHash, TlsServerConfig, TlsVersion, UserHashes, WebConfig};

use super::{RenderError, secret_data};
use crate::api::{MinTlsVersion, ValidSpec};
use crate::names::Owner;
use crate::rotation::state::State;

pub(super) fn server_secret(
    spec: &ValidSpec,
    owner: &Owner,
    state: &State,
) -> Result<Secret, RenderError> {
    let web_config = web_config(spec, state)?;
    Ok(Secret {
        metadata: owner.published(owner.server_secret(), state.generation),
        // The type lets other tools check that certificate and key are there.
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(secret_data([
            ("web-config.yml", &web_config),
            ("tls.crt", &state.leaf.certificate_pem),
            ("tls.key", state.leaf.key_pem.expose()),
        ])),
        ..Secret::default()
    })
}

/// The web configuration file, as a person would have written it for node_exporter: paths relative to the file itself.
fn web_config(spec: &ValidSpec, state: &State) -> Result<String, RenderError> {
    // The active password first: it is the one that almost every request carries.
    let (active, others): (Vec<_>, Vec<_>) = state
        .passwords
        .iter()
        .partition(|(generation, _)| **generation == state.active_password);
    let hashes = active
        .into_iter()
        .chain(others)
        .map(|(generation, password)| {
            BcryptHash::parse(password.hash.expose()).map_err(|_| RenderError::BadHash {
                generation: *generation,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let hashes = UserHashes::new(hashes).map_err(|_| RenderError::NoUsers)?;
    let config = WebConfig {
        tls_server_config: Some(TlsServerConfig {
            cert_file: Some("tls.crt".to_owned()),
            key_file: Some("tls.key".to_owned()),
            min_version: Some(match spec.min_tls_version {
                MinTlsVersion::Tls12 => TlsVersion::Tls12,
                MinTlsVersion::Tls13 => TlsVersion::Tls13,
            }),
            ..TlsServerConfig::default()
        }),
        http_server_config: None,
        basic_auth_users: BTreeMap::from([(spec.username.clone(), hashes)]),
        rate_limit: None,
    };
    Ok(config.to_yaml())
}
