//! Writes the CertificateRequests of a resource.

use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
};

use crate::{
    apply::{Writer, as_manager, error::ApplyError},
    supplied::cert_manager::{Asked, CertificateRequest},
};

impl Writer<'_> {
    /// Creates the wanted CertificateRequest, and deletes all other ones of the resource.
    ///
    /// # Errors
    /// [`ApplyError`]
    pub async fn certificate_requests(
        &self,
        wanted: Option<CertificateRequest>,
        asked: &Asked,
    ) -> Result<(), ApplyError> {
        let Asked::Open(all) = asked else {
            return Ok(());
        };
        let is_wanted = |one: &CertificateRequest| {
            let wanted = wanted.as_ref();
            wanted.is_some_and(|wanted| wanted.name_any() == one.name_any())
        };
        for one in all.iter().filter(|one| !is_wanted(one)) {
            self.withdraw_request(one).await?;
        }
        match &wanted {
            Some(request) if !all.iter().any(is_wanted) => self.ask(request).await,
            _ => Ok(()),
        }
    }

    /// Creates a CertificateRequest. Its name contains a hash of the signing request, so that one that exists is this one, from a
    /// create whose answer was lost: the next pass, which follows a conflict at once, finds it.
    async fn ask(&self, wanted: &CertificateRequest) -> Result<(), ApplyError> {
        let created = self.api_of(wanted).create(&as_manager(), wanted).await;
        created.map_err(|source| ApplyError::api("create", wanted, source))?;
        self.metrics.wrote(CertificateRequest::kind(&()));
        Ok(())
    }

    /// Deletes a CertificateRequest that is completed or no longer wanted. It is no error if it is already gone.
    async fn withdraw_request(&self, present: &CertificateRequest) -> Result<(), ApplyError> {
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: present.metadata.uid.clone(),
            resource_version: None,
        });
        let api = self.api_of(present);
        match api.delete(&present.name_any(), &parameters).await {
            Ok(_) => {
                self.metrics.wrote(CertificateRequest::kind(&()));
                Ok(())
            }
            Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(()),
            Err(source) => Err(ApplyError::api("delete", present, source)),
        }
    }
}
