//! What a resource has asked of cert-manager, and what it answered.

use kube::{Api, Client, Resource, api::ListParams};

use crate::{
    names::Owner,
    observe::{api_error, children::controllers, supplied::find},
    rotation::order::LeafRequest,
    spec::{ValidSpec, issuer::ValidIssuer},
    supplied::{
        cert_manager::{Asked, CertificateRequest},
        certificate::Found,
    },
};

/// What was read of cert-manager.
pub struct Read {
    /// The requests that are there.
    pub requests: Asked,
    /// The bundle that the spec names.
    pub bundle: Option<Found>,
    /// Why it could not be read.
    pub failure: Option<kube::Error>,
}

/// Reads what an issuer of cert-manager was asked, and the bundle that the spec names for it. Nothing is read, and nothing is
/// there, where none is asked and no order of before is left.
pub async fn read(
    client: &Client,
    owner: &Owner,
    spec: &ValidSpec,
    order: Option<&LeafRequest>,
) -> Read {
    let place = match &spec.issuer {
        ValidIssuer::CertManager { bundle, .. } => Some(bundle.as_ref()),
        ValidIssuer::Managed | ValidIssuer::Provided { .. } => None,
    };
    let mut read = Read {
        requests: Asked::Open(Vec::new()),
        bundle: None,
        failure: None,
    };
    if let Some(Some(place)) = place {
        match find(client, &owner.namespace, place).await {
            Ok(found) => read.bundle = Some(found),
            Err(error) => return read.failed(error),
        }
    }
    if place.is_some() || order.is_some() {
        match certificate_requests(client, owner).await {
            Ok(requests) => read.requests = requests,
            Err(error) => return read.failed(error),
        }
    }
    read
}

impl Read {
    fn failed(self, error: kube::Error) -> Self {
        Self {
            requests: Asked::Unread(api_error::text(&error)),
            failure: Some(error),
            ..self
        }
    }
}

/// Reads the requests that `owner` controls.
///
/// # Errors
/// The API server did not answer.
async fn certificate_requests(client: &Client, owner: &Owner) -> Result<Asked, kube::Error> {
    let api: Api<CertificateRequest> = Api::namespaced(client.clone(), &owner.namespace);
    let ours = ListParams::default().labels(&owner.selector_query());
    match api.list(&ours).await {
        Ok(list) => {
            let controlled = |request: &CertificateRequest| {
                controllers(request.meta()).any(|reference| reference.uid == owner.uid)
            };
            Ok(Asked::Open(
                list.items.into_iter().filter(controlled).collect(),
            ))
        }
        Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(Asked::NotInstalled),
        Err(kube::Error::Api(refused)) if refused.code == 403 => Ok(Asked::Forbidden),
        Err(error) => Err(error),
    }
}
