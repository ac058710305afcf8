//! The kinds of the objects that are written, as metrics and errors name them.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Secret, Service, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};

use crate::supplied::cert_manager::CertificateRequest;

/// The kind as metrics and errors name it.
pub(crate) trait Named {
    const KIND: &'static str;
}

macro_rules! named {
    ($($kind:ident),*) => {$(
        impl Named for $kind {
            const KIND: &'static str = stringify!($kind);
        }
    )*};
}

named!(
    CertificateRequest,
    Secret,
    ConfigMap,
    DaemonSet,
    Service,
    ServiceAccount,
    Role,
    RoleBinding
);
