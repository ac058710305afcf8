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

    /// Creates a CertificateRequest. Its name contains a hash of the signing request, so that one of ours that exists is this one,
    /// from a create whose answer was lost: the next pass, which follows a conflict at once, finds it.
    async fn ask(&self, wanted: &CertificateRequest) -> Result<(), ApplyError> {
        match self.api_of(wanted).create(&as_manager(), wanted).await {
            Ok(_) => {
                self.metrics.wrote(CertificateRequest::kind(&()));
                Ok(())
            }
            Err(source) if is_already_there(&source) && self.is_foreign(wanted).await => {
                Err(ApplyError::Taken {
                    kind: CertificateRequest::kind(&()),
                    name: wanted.name_any(),
                })
            }
            Err(source) => Err(ApplyError::api("create", wanted, source)),
        }
    }

    /// Whether the CertificateRequest of this name belongs to nobody or to another resource, as one from a backup does. (There is
    /// no right to read a single one.)
    async fn is_foreign(&self, wanted: &CertificateRequest) -> bool {
        let by_name = ListParams::default().fields(&format!("metadata.name={}", wanted.name_any()));
        let found = self.api_of(wanted).list(&by_name).await;
        let found = found.map(|list| list.items).unwrap_or_default();
        let is_ours = |one: &CertificateRequest| has_same_controller(one.meta(), wanted.meta());
        !found.is_empty() && !found.iter().any(is_ours)
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
