//! The children of a resource as they are.

use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;

use crate::{
    api::SecureExporter, names::Owner, report::pod_problems::Complaint,
    rotation::state::published::Published,
};

/// What stands under the name of a child.
pub enum Child<K> {
    /// Nothing.
    Absent,
    /// An object that is made from this resource.
    Ours(K),
    /// An object that is not: it is never touched, and its name is taken.
    Foreign,
    /// An object that the garbage collector is about to remove: it is being deleted, or belongs to a deleted resource of the
    /// same name.
    Leftover,
    /// It could not be read.
    Unknown(kube::Error),
}

impl<K> Child<K> {
    /// The object, where it is made from this resource.
    pub fn ours(&self) -> Option<&K> {
        match self {
            Self::Ours(object) => Some(object),
            Self::Absent | Self::Foreign | Self::Leftover | Self::Unknown(_) => None,
        }
    }
}

impl<K: Resource> Child<K> {
    pub(crate) fn of(read: Result<Option<K>, kube::Error>, owner: &Owner) -> Self {
        match read {
            Err(error) => Self::Unknown(error),
            Ok(None) => Self::Absent,
            Ok(Some(object)) if is_leftover(object.meta(), owner) => Self::Leftover,
            Ok(Some(object)) => {
                let is_ours = controllers(object.meta()).any(|it| it.uid == owner.uid);
                if is_ours {
                    Self::Ours(object)
                } else {
                    Self::Foreign
                }
            }
        }
    }
}

/// Whether it is neither ours nor another's any more: it is on its way out, or its owner is.
fn is_leftover(object: &ObjectMeta, owner: &Owner) -> bool {
    let is_earlier = |reference: &OwnerReference| {
        reference.kind == SecureExporter::kind(&())
            && reference.name == owner.name
            && reference.uid != owner.uid
    };
    object.deletion_timestamp.is_some() || controllers(object).any(is_earlier)
}

/// The children of one resource as they are, and complaints.
pub struct Observed {
    /// The Secret with the rotation state.
    pub state: Child<Secret>,
    /// What the exporters mount.
    pub server: Child<Secret>,
    /// What Prometheus mounts.
    pub scrape: Child<Secret>,
    /// The public bundle.
    pub authority: Child<ConfigMap>,
    /// ServiceAccount of the pods.
    pub service_account: Child<ServiceAccount>,
    /// For discovery.
    pub role: Child<Role>,
    /// For discovery.
    pub role_binding: Child<RoleBinding>,
    /// The headless Service.
    pub service: Child<Service>,
    /// The exporter.
    pub daemon_set: Child<DaemonSet>,
    /// What stands in the way of its pods.
    pub complaints: Option<Result<Vec<Complaint>, kube::Error>>,
}

impl Observed {
    /// What the state can be made again from.
    pub fn published(&self) -> Published<'_> {
        Published {
            server: self.server.ours(),
            scrape: self.scrape.ours(),
            bundle: self.authority.ours(),
            bundle_is_foreign: matches!(self.authority, Child::Foreign),
        }
    }
}

pub(crate) fn controllers(object: &ObjectMeta) -> impl Iterator<Item = &OwnerReference> {
    object
        .owner_references
        .iter()
        .flatten()
        .filter(|reference| reference.controller == Some(true))
}
