//! Writes Leases, each only in the version that was read.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ObjectMeta, Preconditions},
};

use crate::{
    apply::as_manager,
    names::{APP_NAME, LEASE, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL},
};

/// Creates the Lease, or replaces the one that was read.
pub(crate) async fn write(
    api: &Api<Lease>,
    present: Option<Lease>,
    wanted: LeaseSpec,
) -> Result<Lease, kube::Error> {
    let Some(mut lease) = present else {
        let labels = [(NAME_LABEL, APP_NAME), (MANAGED_BY_LABEL, MANAGED_BY)];
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                labels: Some(labels.map(|(key, value)| (key.into(), value.into())).into()),
                ..ObjectMeta::default()
            },
            spec: Some(wanted),
        };
        return api.create(&as_manager(), &lease).await;
    };
    lease.spec = Some(wanted);
    lease.metadata.managed_fields = None;
    replace(api, &lease).await
}

/// Replaces the Lease, unless it has changed since it was read.
pub(crate) async fn replace(api: &Api<Lease>, lease: &Lease) -> Result<Lease, kube::Error> {
    api.replace(LEASE, &as_manager(), lease).await
}

/// Deletes the Lease, unless it has changed since it was read.
pub(crate) async fn delete(api: &Api<Lease>, lease: &Lease) -> Result<(), kube::Error> {
    let parameters = DeleteParams::default().preconditions(Preconditions {
        uid: lease.uid(),
        resource_version: lease.resource_version(),
    });
    api.delete(LEASE, &parameters).await.map(drop)
}

/// Whether the Lease was changed, created or deleted after it was read.
pub(crate) fn is_overtaken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(refused) if matches!(refused.code, 404 | 409))
}
