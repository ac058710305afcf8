//! Writes the CertificateRequests of a resource.

use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};

use crate::{
    apply::{
        Writer, as_manager, error::ApplyError, is_already_there, ownership::has_same_controller,
    },
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

    /// Creates a CertificateRequest. Existing ones are never changed, so a foreign object of the same name is an error.
    async fn ask(&self, wanted: &CertificateRequest) -> Result<(), ApplyError> {
        match self.api_of(wanted).create(&as_manager(), wanted).await {
            // If the answer to a create was lost, a proxy may send it again, and the second one finds the object of the first.
            Err(source) if is_already_there(&source) => self.recognise(wanted, source).await?,
            created => {
                created.map_err(|source| ApplyError::api("create", wanted, source))?;
            }
        }
        self.metrics.wrote(CertificateRequest::kind(&()));
        Ok(())
    }

    /// Checks that the existing CertificateRequest of this name is the wanted one. The rest of its spec follows from the
    /// request, or is filled in by cert-manager.
    async fn recognise(
        &self,
        wanted: &CertificateRequest,
        refusal: kube::Error,
    ) -> Result<(), ApplyError> {
        let name = wanted.name_any();
        // A list, because the operator has no permission to get one.
        let named = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = self.api_of(wanted).list(&named).await;
        let found = found.map_err(|source| ApplyError::api("list", wanted, source))?;
        let Some(found) = found.items.first() else {
            // Deleted in the meantime: the next pass creates it.
            return Err(ApplyError::api("create", wanted, refusal));
        };
        let kind = CertificateRequest::kind(&());
        if found.meta().deletion_timestamp.is_some() {
            return Err(ApplyError::Leftover { kind, name });
        }
        let is_ours = has_same_controller(found.meta(), wanted.meta())
            && found.spec.request == wanted.spec.request;
        if is_ours {
            Ok(())
        } else {
            Err(ApplyError::Taken { kind, name })
        }
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
