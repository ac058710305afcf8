//! Writes the PodMonitor. It is the last object that a pass writes, because it refers to the others; and the only generated
//! one that the operator deletes, because it contains nothing that could be lost.

use kube::{
    Api, Resource,
    api::{DeleteParams, Preconditions},
};

use crate::{
    apply::{Writer, error::ApplyError},
    monitoring::{PodMonitor, StoredMonitor},
    names::Owner,
    observe::children::Child,
};

impl Writer<'_> {
    /// Writes the PodMonitor if one is wanted. Otherwise deletes it, unless it does not belong to the resource.
    ///
    /// # Errors
    /// [`ApplyError`]
    pub(crate) async fn pod_monitor(
        &self,
        owner: &Owner,
        wanted: Option<PodMonitor>,
        present: &Child<StoredMonitor>,
    ) -> Result<(), ApplyError> {
        if let Some(wanted) = wanted {
            return self.small(StoredMonitor::from(wanted), present).await;
        }
        let name = owner.workload();
        match present {
            Child::Ours(found) => self.deleted(owner, found).await,
            Child::Unknown(error) => Err(ApplyError::unread(PodMonitor::kind(&()), name, error)),
            Child::Absent | Child::Foreign | Child::Restored(_) | Child::Leftover => Ok(()),
        }
    }

    async fn deleted(&self, owner: &Owner, found: &StoredMonitor) -> Result<(), ApplyError> {
        self.verified.forget_object(found);
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: found.meta().uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let api: Api<PodMonitor> = Api::namespaced(self.client.clone(), &owner.namespace);
        match api.delete(&owner.workload(), &parameters).await {
            Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(()),
            deleted => {
                deleted.map_err(|source| ApplyError::api("delete", found, source))?;
                self.metrics.wrote(PodMonitor::kind(&()));
                Ok(())
            }
        }
    }
}
