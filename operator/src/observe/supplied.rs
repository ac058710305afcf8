//! Reads the user-supplied certificate and CA bundle from the objects in the spec.

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client};
use zeroize::Zeroizing;

use crate::{
    spec::issuer::{Place, PlaceKind},
    supplied::{
        certificate::{Content, Found, Material},
        reference::{Purpose, ReferencePolicy},
    },
};

/// Reads the Secret `secret_name` and the CA bundle.
///
/// # Errors
/// The API server did not answer, or refused the request.
pub async fn provided(
    client: &Client,
    policy: ReferencePolicy,
    namespace: &str,
    secret_name: &str,
    bundle: &Place,
) -> Result<Material, kube::Error> {
    let secret = Api::<Secret>::namespaced(client.clone(), namespace)
        .get_opt(secret_name)
        .await?;
    let of_secret = |key: &str| Found {
        content: secret_content(policy, secret.as_ref(), key),
        place: Place::in_secret(secret_name, key),
    };
    Ok(Material {
        chain: of_secret("tls.crt"),
        key: of_secret("tls.key"),
        bundle: if bundle.kind == PlaceKind::Secret && bundle.name == secret_name {
            of_secret(&bundle.key)
        } else {
            find(client, policy, namespace, bundle).await?
        },
    })
}

/// Reads the content of a place.
///
/// # Errors
/// The API server did not answer, or refused the request.
pub async fn find(
    client: &Client,
    policy: ReferencePolicy,
    namespace: &str,
    place: &Place,
) -> Result<Found, kube::Error> {
    let (name, key) = (&place.name, &place.key);
    let content = match place.kind {
        PlaceKind::Secret => {
            let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
            secret_content(policy, secrets.get_opt(name).await?.as_ref(), key)
        }
        PlaceKind::ConfigMap => {
            let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
            config_map_content(config_maps.get_opt(name).await?.as_ref(), key)
        }
        PlaceKind::CertificateRequest => Content::NoObject,
    };
    Ok(Found {
        place: place.clone(),
        content,
    })
}

fn secret_content(policy: ReferencePolicy, secret: Option<&Secret>, key: &str) -> Content {
    let Some(secret) = secret else {
        return Content::NoObject;
    };
    if let Err(problem) = policy.check(secret, Purpose::Certificate) {
        return Content::Refused(problem);
    }
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    content(data.map(|ByteString(bytes)| bytes.clone()))
}

fn config_map_content(config_map: Option<&ConfigMap>, key: &str) -> Content {
    let Some(config_map) = config_map else {
        return Content::NoObject;
    };
    let text = config_map.data.as_ref().and_then(|data| data.get(key));
    let binary = config_map.binary_data.as_ref();
    let bytes = || Some(binary?.get(key)?.0.clone());
    content(text.map(|text| text.clone().into_bytes()).or_else(bytes))
}

fn content(bytes: Option<Vec<u8>>) -> Content {
    bytes.map_or(Content::NoKey, |bytes| {
        Content::Bytes(Zeroizing::new(bytes))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_taken_from_a_secret_that_may_not_be_referenced() {
        let mut secret: Secret =
            serde_json::from_value(json!({"metadata": {}, "data": {"tls.key": "eA=="}})).unwrap();
        let policy = ReferencePolicy::AnyFitting;
        let content = |secret: &Secret| secret_content(policy, Some(secret), "tls.key");
        assert!(matches!(content(&secret), Content::Bytes(_)));
        secret.type_ = Some("kubernetes.io/ssh-auth".to_owned());
        assert!(matches!(content(&secret), Content::Refused(_)));
    }
}
