//! Secret `<name>-scrape`: everything that Prometheus mounts.

use k8s_openapi::api::core::v1::Secret;

use crate::{
    names::Owner,
    render::{
        credentials::Credentials,
        error::RenderError,
        scrape_config::{Directory, alloy, scrape_list, scrape_map},
        secret_data::secret_data,
    },
    rotation::state::State,
    spec::ValidSpec,
};

pub(crate) fn scrape_secret(
    spec: &ValidSpec,
    owner: &Owner,
    state: &State,
    credentials: &Credentials<'_>,
) -> Result<Secret, RenderError> {
    // The directory in which prometheus-operator mounts the Secrets of a `Prometheus` resource.
    let mounted = Directory::Absolute(format!("/etc/prometheus/secrets/{}", owner.scrape_secret()));
    let (map, list) = (
        scrape_map(spec, owner, &Directory::OfThisFile)?,
        scrape_list(spec, owner, &mounted)?,
    );
    let alloy = alloy(spec, owner, &mounted);
    let mut data = vec![
        ("ca.crt", credentials.bundle.as_str()),
        // Must be the only key that ends in .yaml, because users write `scrape_config_files: [.../*.yaml]`.
        ("scrape.yaml", &map),
        ("scrape-list", &list),
        ("config.alloy", &alloy),
    ];
    if let Some(password) = credentials.password {
        data.extend([
            ("username", spec.username.as_str()),
            ("password", password.expose()),
        ]);
    }
    if let Some(client) = credentials.client {
        data.extend([
            ("client.crt", client.certificate_pem.as_str()),
            ("client.key", client.key_pem.expose()),
        ]);
    }
    Ok(Secret {
        metadata: owner.published(owner.scrape_secret(), state.generation),
        type_: Some("Opaque".to_owned()),
        data: Some(secret_data(data)),
        ..Secret::default()
    })
}
