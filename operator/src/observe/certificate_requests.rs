//! What a resource has asked of cert-manager, and what it answered.

use kube::{Api, Client, Resource, api::ListParams};

use crate::{
    names::Owner, observe::children::controllers, supplied::cert_manager::CertificateRequest,
};

/// The requests of one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// These are there.
    Open(Vec<CertificateRequest>),
    /// cert-manager is not installed: nothing can be asked.
    NotInstalled,
    /// The operator's role does not allow it.
    Forbidden,
    /// They could not be read, and why.
    Unread(String),
}

/// Reads the requests that `owner` controls.
///
/// # Errors
/// The API server did not answer.
pub async fn certificate_requests(client: &Client, owner: &Owner) -> Result<Asked, kube::Error> {
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
