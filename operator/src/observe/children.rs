//! The generated objects of a resource as they exist in the API server.

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
    api::SecureExporter,
    names::{ChildKind, Owner},
    report::{pod_problems::Complaint, problem::Reading},
    rotation::state::published::Published,
    secret_object::wipe,
};

/// The object with the name of a generated one.
#[derive(Default)]
pub enum Child<K> {
    /// There is none.
    #[default]
    Absent,
    /// An object that belongs to this resource.
    Ours(K),
    /// An object that does not belong to this resource. It is never changed.
    Foreign,
    /// An object with the labels of this resource and without an owner, as a backup tool restores it. It is not changed until
    /// the resource allows its adoption.
    Restored(Owner),
    /// An object that the garbage collector will remove: it is being deleted, or belongs to a deleted resource of the same
    /// name.
    Leftover,
    /// It could not be read.
    Unknown(kube::Error),
}

impl<K> Child<K> {
    /// Returns the object if it belongs to this resource.
    pub fn ours(&self) -> Option<&K> {
        match self {
            Self::Ours(object) => Some(object),
            Self::Absent
            | Self::Foreign
            | Self::Restored(_)
            | Self::Leftover
            | Self::Unknown(_) => None,
        }
    }

    fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

impl<K: Resource> Child<K> {
    /// Whether the object is ours by adoption: it has no owner yet.
    pub(crate) fn is_adopted(&self) -> bool {
        self.ours()
            .is_some_and(|object| controllers(object.meta()).next().is_none())
    }

    /// Whose the object is. `adopts`: a restored object counts as ours.
    pub(crate) fn of(read: Result<Option<K>, kube::Error>, owner: &Owner, adopts: bool) -> Self {
        match read {
            Err(error) => Self::Unknown(error),
            Ok(None) => Self::Absent,
            Ok(Some(object)) if is_leftover(object.meta(), owner) => Self::Leftover,
            Ok(Some(object)) => {
                let is_ours = controllers(object.meta()).any(|it| it.uid == owner.uid);
                match is_restored(object.meta(), owner) {
                    _ if is_ours => Self::Ours(object),
                    true if adopts => Self::Ours(object),
                    true => Self::Restored(owner.clone()),
                    false => Self::Foreign,
                }
            }
        }
    }
}

/// Whether the object has the labels of a generated object of this resource, and no owner.
fn is_restored(object: &ObjectMeta, owner: &Owner) -> bool {
    let labels = object.labels.as_ref();
    let has_labels = owner
        .labels()
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    has_labels && controllers(object).next().is_none()
}

/// Whether the object is being deleted, or its owner was deleted.
fn is_leftover(object: &ObjectMeta, owner: &Owner) -> bool {
    let is_earlier = |reference: &OwnerReference| {
        reference.kind == SecureExporter::kind(&())
            && reference.name == owner.name
            && reference.uid != owner.uid
    };
    object.deletion_timestamp.is_some() || controllers(object).any(is_earlier)
}

/// The generated objects of one resource, and the problems of its pods. It has no `Debug`, because it contains keys and
/// passwords, which are wiped when it is dropped.
#[derive(Default)]
pub struct Observed {
    /// The Secret with the rotation state.
    pub state: Child<Secret>,
    /// The Secret that the exporters mount.
    pub server: Child<Secret>,
    /// The Secret that Prometheus mounts.
    pub scrape: Child<Secret>,
    /// The ConfigMap with the public CA bundle.
    pub authority: Child<ConfigMap>,
    /// The ServiceAccount of the pods.
    pub service_account: Child<ServiceAccount>,
    /// For the discovery of the pods.
    pub role: Child<Role>,
    /// For the discovery of the pods.
    pub role_binding: Child<RoleBinding>,
    /// The headless Service.
    pub service: Child<Service>,
    /// The DaemonSet of the exporter.
    pub daemon_set: Child<DaemonSet>,
    /// The problems of its pods; `None` if the DaemonSet could not be read.
    pub complaints: Option<Complaints>,
}

/// The problems of the pods, as far as they could be read.
#[derive(Default)]
pub struct Complaints {
    /// The problems, each once.
    pub found: Vec<Complaint>,
    /// What could not be read, so that there may be other problems.
    pub unread: Vec<(Reading, kube::Error)>,
    /// Whether the events of the DaemonSet were read, which are not watched.
    pub reads_events: bool,
}

impl Observed {
    /// Returns the objects from which the state can be rebuilt.
    pub fn published(&self) -> Published<'_> {
        Published {
            server: self.server.ours(),
            scrape: self.scrape.ours(),
            bundle: self.authority.ours(),
            bundle_is_foreign: matches!(self.authority, Child::Foreign | Child::Restored(_)),
        }
    }

    /// Returns the objects that are ours by adoption: they have no owner yet. Those for the discovery only if it is wanted:
    /// otherwise they are not written, and never get one.
    pub(crate) fn adopted(&self, discovers: bool) -> Vec<(ChildKind, String)> {
        fn adopted<K: Resource<DynamicType = ()>>(
            kind: ChildKind,
            child: &Child<K>,
        ) -> Option<(ChildKind, String)> {
            let object = child.ours().filter(|_| child.is_adopted())?.meta();
            let name = object.name.as_deref().unwrap_or_default();
            Some((kind, format!("{} {name}", K::kind(&()))))
        }
        let all = [
            adopted(ChildKind::State, &self.state),
            adopted(ChildKind::Server, &self.server),
            adopted(ChildKind::Scrape, &self.scrape),
            adopted(ChildKind::Bundle, &self.authority),
            adopted(ChildKind::ServiceAccount, &self.service_account),
            adopted(ChildKind::Discovery, &self.role).filter(|_| discovers),
            adopted(ChildKind::Discovery, &self.role_binding).filter(|_| discovers),
            adopted(ChildKind::Service, &self.service),
            adopted(ChildKind::DaemonSet, &self.daemon_set),
        ];
        all.into_iter().flatten().collect()
    }

    /// Whether every object could be read that may be a restored one.
    pub(crate) fn is_read(&self) -> bool {
        let unread = [
            self.state.is_unknown(),
            self.server.is_unknown(),
            self.scrape.is_unknown(),
            self.authority.is_unknown(),
            self.service_account.is_unknown(),
            self.role.is_unknown(),
            self.role_binding.is_unknown(),
            self.service.is_unknown(),
            self.daemon_set.is_unknown(),
        ];
        !unread.contains(&true)
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        for child in [&mut self.state, &mut self.server, &mut self.scrape] {
            if let Child::Ours(secret) = child {
                wipe(secret);
            }
        }
    }
}

/// Returns on how many nodes the DaemonSet should run, once its controller has processed the current spec.
pub(crate) fn wanted_nodes(daemon_set: &DaemonSet) -> Option<usize> {
    let status = daemon_set.status.as_ref()?;
    let is_current = status.observed_generation >= daemon_set.metadata.generation;
    let wanted = usize::try_from(status.desired_number_scheduled).ok();
    wanted.filter(|_| is_current)
}

pub(crate) fn controllers(object: &ObjectMeta) -> impl Iterator<Item = &OwnerReference> {
    object
        .owner_references
        .iter()
        .flatten()
        .filter(|reference| reference.controller == Some(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn restored_role() -> Observed {
        let mut observed = Observed::default();
        observed.role = Child::Ours(Role::default());
        observed
    }

    #[test]
    fn an_object_that_is_never_written_does_not_keep_the_permission_to_adopt_open() {
        let observed = restored_role();
        let role = (ChildKind::Discovery, "Role ".to_owned());
        assert_eq!(observed.adopted(true), [role]);
        assert!(observed.adopted(false).is_empty());
    }

    #[test]
    fn the_number_of_nodes_is_known_once_the_controller_has_processed_the_current_spec() {
        let set = |observed: i64| -> DaemonSet {
            let status = json!({"observedGeneration": observed, "desiredNumberScheduled": 5,
                "currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0});
            serde_json::from_value(json!({"metadata": {"generation": 3}, "status": status}))
                .unwrap()
        };
        assert_eq!(wanted_nodes(&set(3)), Some(5));
        assert_eq!(wanted_nodes(&set(2)), None);
        assert_eq!(wanted_nodes(&DaemonSet::default()), None);
    }

    #[test]
    fn an_object_that_could_not_be_read_may_be_a_restored_one() {
        let mut observed = restored_role();
        assert!(observed.is_read());
        observed.server = Child::Unknown(kube::Error::LinesCodecMaxLineLengthExceeded);
        assert!(!observed.is_read());
    }
}
