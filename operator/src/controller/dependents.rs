//! Which resources reference which objects of users, and whether those objects are watched.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    names::Owner,
    observe::{pods::ResourceName, watch_health::WatchHealth},
    spec::{
        ValidSpec,
        issuer::{Place, PlaceKind, ValidIssuer},
    },
};

/// An object of a user, by kind and name.
type Reference = (PlaceKind, String);

/// The references of all resources.
#[derive(Debug, Default)]
pub struct Dependents {
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// By uid of the resource.
    references: HashMap<String, (Owner, BTreeSet<Reference>)>,
    /// The watches, by namespace (`None` is all namespaces) and kind.
    watches: HashMap<(Option<String>, PlaceKind), WatchHealth>,
}

impl Dependents {
    /// Takes note of what a resource references. Called before any of it is read, so that no change is missed.
    pub fn set(&self, owner: &Owner, spec: &ValidSpec) {
        let references = references(spec);
        let mut known = self.known.lock();
        if references.is_empty() {
            known.references.remove(&owner.uid);
            return;
        }
        let entry = (owner.clone(), references);
        known.references.insert(owner.uid.clone(), entry);
        self.changed.notify_waiters();
    }

    /// Forgets a resource.
    pub fn forget(&self, uid: &str) {
        self.known.lock().references.remove(uid);
    }

    /// Whether every change of what a resource references causes a pass.
    pub fn are_watched(&self, owner: &Owner) -> bool {
        let known = self.known.lock();
        let Some((_, references)) = known.references.get(&owner.uid) else {
            return true;
        };
        let now = Instant::now();
        references.iter().all(|(kind, _)| {
            let own = known.watches.get(&(Some(owner.namespace.clone()), *kind));
            let watch = own.or_else(|| known.watches.get(&(None, *kind)));
            watch.is_some_and(|watch| watch.is_current(now))
        })
    }

    /// Waits until a resource in the namespace, or in any, references an object of this kind.
    pub(super) async fn wait_for_reference(&self, namespace: Option<&str>, kind: PlaceKind) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.all(namespace, kind).is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// The resources in the namespace, or in any, that reference an object of this kind.
    pub(super) fn all(&self, namespace: Option<&str>, kind: PlaceKind) -> Vec<ResourceName> {
        self.matching(|owner, (other, _)| {
            *other == kind && namespace.is_none_or(|namespace| owner.namespace == namespace)
        })
    }

    /// The resources that reference this object.
    pub(super) fn of(&self, namespace: &str, kind: PlaceKind, name: &str) -> Vec<ResourceName> {
        self.matching(|owner, (other, of_object)| {
            *other == kind && of_object == name && owner.namespace == namespace
        })
    }

    /// Takes note that a watch shows all objects, or begins to list them.
    pub(super) fn listed(&self, namespace: Option<&str>, kind: PlaceKind, is_listed: bool) {
        let mut known = self.known.lock();
        let place = (namespace.map(str::to_owned), kind);
        known.watches.entry(place).or_default().is_listed = is_listed;
    }

    /// Takes note that a watch failed.
    pub(super) fn failed(&self, namespace: Option<&str>, kind: PlaceKind) {
        let mut known = self.known.lock();
        let place = (namespace.map(str::to_owned), kind);
        known.watches.entry(place).or_default().failed = Some(Instant::now());
    }

    /// Takes note that the watches of the namespace, or of all, have ended.
    pub(super) fn close(&self, namespace: Option<&str>) {
        let mut known = self.known.lock();
        known
            .watches
            .retain(|(other, _), _| other.as_deref() != namespace);
    }

    fn matching(&self, test: impl Fn(&Owner, &Reference) -> bool) -> Vec<ResourceName> {
        let known = self.known.lock();
        let matching = known.references.values().filter(|(owner, references)| {
            references.iter().any(|reference| test(owner, reference))
        });
        let names = matching.map(|(owner, _)| (owner.namespace.clone(), owner.name.clone()));
        names.collect()
    }
}

/// The objects of users that a spec references.
fn references(spec: &ValidSpec) -> BTreeSet<Reference> {
    let secret = |name: &String| (PlaceKind::Secret, name.clone());
    let at = |place: &Place| (place.kind, place.name.clone());
    let mut references: BTreeSet<Reference> = match &spec.issuer {
        ValidIssuer::Managed => BTreeSet::new(),
        ValidIssuer::Provided {
            secret_name,
            bundle,
        } => BTreeSet::from([secret(secret_name), at(bundle)]),
        ValidIssuer::CertManager { bundle, .. } => bundle.iter().map(at).collect(),
    };
    references.extend(spec.password_secret.iter().map(|place| secret(&place.name)));
    references.extend(spec.users_secret.iter().map(secret));
    references
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(spec: serde_json::Value) -> ValidSpec {
        let spec = serde_json::from_value(spec).unwrap();
        ValidSpec::parse(&spec, &Owner::nodes()).unwrap()
    }

    fn provided() -> ValidSpec {
        spec(json!({
            "authentication": {"basicAuth": {
                "passwordSecretRef": {"name": "password"}, "usersSecretRef": {"name": "users"}}},
            "tls": {"issuer": {"type": "Provided", "provided": {"secretName": "corporate",
                "caBundleRef": {"configMapKeyRef": {"name": "roots", "key": "ca.pem"}}}}},
        }))
    }

    #[test]
    fn everything_that_a_spec_references_is_watched() {
        let names = |kind| {
            let references = references(&provided());
            let of_kind = references.into_iter().filter(|(other, _)| *other == kind);
            of_kind.map(|(_, name)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(PlaceKind::Secret), ["corporate", "password", "users"]);
        assert_eq!(names(PlaceKind::ConfigMap), ["roots"]);
        assert!(references(&spec(json!({}))).is_empty());
    }

    #[test]
    fn a_change_concerns_the_resources_that_reference_the_object() {
        let (dependents, nodes) = (Dependents::default(), Owner::nodes());
        dependents.set(&nodes, &provided());
        let of = |namespace, kind, name| dependents.of(namespace, kind, name).len();
        let namespace = nodes.namespace.as_str();
        assert_eq!(of(namespace, PlaceKind::Secret, "users"), 1);
        assert_eq!(of(namespace, PlaceKind::Secret, "roots"), 0);
        assert_eq!(of("elsewhere", PlaceKind::Secret, "users"), 0);
        dependents.set(&nodes, &spec(json!({})));
        assert_eq!(of(namespace, PlaceKind::Secret, "users"), 0);
    }

    #[test]
    fn only_a_working_watch_replaces_regular_reads() {
        let (dependents, nodes) = (Dependents::default(), Owner::nodes());
        assert!(dependents.are_watched(&nodes), "it references nothing");
        dependents.set(&nodes, &provided());
        assert!(!dependents.are_watched(&nodes));
        dependents.listed(None, PlaceKind::Secret, true);
        assert!(!dependents.are_watched(&nodes), "no ConfigMap is watched");
        dependents.listed(None, PlaceKind::ConfigMap, true);
        assert!(dependents.are_watched(&nodes));
        dependents.failed(None, PlaceKind::Secret);
        assert!(!dependents.are_watched(&nodes));
        dependents.close(None);
        dependents.listed(Some("elsewhere"), PlaceKind::Secret, true);
        assert!(!dependents.are_watched(&nodes));
    }

    #[tokio::test]
    async fn nothing_is_watched_before_something_is_referenced() {
        let (dependents, nodes) = (Dependents::default(), Owner::nodes());
        let referenced = dependents.wait_for_reference(Some("monitoring"), PlaceKind::ConfigMap);
        let mut referenced = std::pin::pin!(referenced);
        assert!(futures::poll!(referenced.as_mut()).is_pending());
        dependents.set(&nodes, &provided());
        referenced.await;
    }
}
