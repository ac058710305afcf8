//! Secret `<name>-server`, which the exporter's pods mount.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use secure_exporter_web_config::{
    BcryptHash, ClientAuthType, TlsServerConfig, TlsVersion, UserHashes, WebConfig,
};

use zeroize::Zeroizing;

use crate::{
    api::MinTlsVersion,
    names::Owner,
    render::{credentials::Credentials, error::RenderError, secret_data::secret_data},
    rotation::state::State,
    spec::ValidSpec,
};

/// Key of the CA bundle for client certificates. It contains the same CAs that the scrapers trust.
const CLIENT_CA: &str = "client-ca.crt";

pub(crate) fn server_secret(
    spec: &ValidSpec,
    owner: &Owner,
    state: &State,
    credentials: &Credentials<'_>,
) -> Result<Secret, RenderError> {
    let web_config = web_config(spec, state)?;
    let mut data = vec![
        ("web-config.yml", web_config.as_str()),
        ("tls.crt", &state.leaf.certificate_pem),
        ("tls.key", state.leaf.key_pem.expose()),
    ];
    if spec.methods.ask_certificate() {
        data.push((CLIENT_CA, &credentials.bundle));
    }
    Ok(Secret {
        metadata: owner.published(owner.server_secret(), state.generation),
        // With this type other tools can check that certificate and key exist.
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(secret_data(data)),
        ..Secret::default()
    })
}

/// Renders the web configuration file in node_exporter's format, with paths relative to the file itself.
fn web_config(spec: &ValidSpec, state: &State) -> Result<Zeroizing<String>, RenderError> {
    let asks_certificate = spec.methods.ask_certificate();
    let basic_auth_users = if spec.methods.ask_password() {
        let mut users = state.users.clone();
        // Inserted last, so that no additional user can override it.
        users.insert(spec.username.clone(), hashes(state)?);
        users
    } else {
        BTreeMap::new()
    };
    let config = WebConfig {
        tls_server_config: Some(TlsServerConfig {
            cert_file: Some("tls.crt".to_owned()),
            key_file: Some("tls.key".to_owned()),
            client_ca_file: asks_certificate.then(|| CLIENT_CA.to_owned()),
            client_auth_type: asks_certificate
                .then_some(ClientAuthType::RequireAndVerifyClientCert),
            min_version: Some(match spec.min_tls_version {
                MinTlsVersion::Tls12 => TlsVersion::Tls12,
                MinTlsVersion::Tls13 => TlsVersion::Tls13,
            }),
            ..TlsServerConfig::default()
        }),
        http_server_config: None,
        basic_auth_users,
        rate_limit: None,
    };
    Ok(Zeroizing::new(config.to_yaml()))
}

fn hashes(state: &State) -> Result<UserHashes, RenderError> {
    // The active password comes first, because almost every request has it.
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
    UserHashes::new(hashes).map_err(|_| RenderError::NoUsers)
}
