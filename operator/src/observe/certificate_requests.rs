//! Reads the CertificateRequests of a resource.

use kube::{Api, Client, Resource, api::ListParams};

use crate::{
    names::Owner,
    observe::{api_error, children::controllers, supplied::find},
    rotation::order::Order,
    spec::{ValidSpec, issuer::ValidIssuer},
    supplied::{
        cert_manager::{Asked, CertificateRequest},
        certificate::Found,
        reference::ReferencePolicy,
    },
};

/// The CertificateRequests and the CA bundle.
pub struct Read {
    /// The existing requests.
    pub requests: Asked,
    /// The CA bundle in the spec.
    pub bundle: Option<Found>,
    /// Why they could not be read.
    pub failure: Option<kube::Error>,
}

/// Reads the CertificateRequests of the resource, and the CA bundle in the spec. Reads nothing if the issuer is not a
/// cert-manager issuer and no earlier order is pending.
pub async fn read(
    client: &Client,
    policy: ReferencePolicy,
    owner: &Owner,
    spec: &ValidSpec,
    order: Option<&Order>,
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
        match find(client, policy, &owner.namespace, place).await {
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
/// The API server did not answer, or refused the request.
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
