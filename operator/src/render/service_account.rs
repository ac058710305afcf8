//! ServiceAccount of the exporter's pods, without permissions and without a token.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::names::Owner;

pub(crate) fn service_account(owner: &Owner) -> ServiceAccount {
    ServiceAccount {
        metadata: owner.child(owner.workload()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
