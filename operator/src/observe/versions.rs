//! The versions of the generated objects, as watches of their metadata show them. The content is not kept.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use kube::{Resource, ResourceExt, core::PartialObjectMeta, runtime::watcher::Event};
use parking_lot::Mutex;

use crate::{
    api::SecureExporter,
    names::Owner,
    observe::{
        children::{Child, Observed, controllers},
        pods::ResourceName,
        watch_health::WatchHealth,
    },
};

/// A version of an object. It is only compared for equality.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    uid: Option<String>,
    version: Option<String>,
}

/// A generated object as a pass read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadObject {
    kind: String,
    name: String,
    /// `None` if there is no such object.
    version: Option<Version>,
}

/// Returns the generated objects with the versions that were read; `None` if one of them is not ours, or could not be read.
pub fn read_objects(observed: &Observed, owner: &Owner) -> Option<Vec<ReadObject>> {
    let (workload, discovery) = (owner.workload(), owner.discovery());
    Some(vec![
        read(&observed.state, &owner.state_secret())?,
        read(&observed.server, &owner.server_secret())?,
        read(&observed.scrape, &owner.scrape_secret())?,
        read(&observed.authority, &owner.ca_config_map())?,
        read(&observed.service_account, &workload)?,
        read(&observed.role, &discovery)?,
        read(&observed.role_binding, &discovery)?,
        read(&observed.service, &workload)?,
        read(&observed.daemon_set, &workload)?,
    ])
}

/// Returns an object with the version that was read; `None` if it is not ours, or could not be read.
pub fn read<K: Resource<DynamicType = ()>>(child: &Child<K>, name: &str) -> Option<ReadObject> {
    let version = match child {
        Child::Absent => None,
        Child::Ours(object) => Some(version(object)),
        Child::Foreign | Child::Restored(_) | Child::Leftover | Child::Unknown(_) => return None,
    };
    Some(ReadObject {
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        version,
    })
}

fn version<K: Resource>(object: &K) -> Version {
    Version {
        uid: object.uid(),
        version: object.resource_version(),
    }
}

/// The versions that the watches of all namespaces have shown.
#[derive(Debug, Default)]
pub struct Versions {
    /// By namespace (`None` is all namespaces) and kind.
    watches: Mutex<HashMap<(Option<String>, String), Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    health: WatchHealth,
    /// Whether all objects were ever listed.
    was_listed: bool,
    objects: Objects,
    /// Those of a list that is not complete yet.
    listing: Objects,
}

/// By namespace and name.
type Objects = HashMap<(String, String), ShownObject>;

#[derive(Debug, PartialEq, Eq)]
struct ShownObject {
    version: Version,
    /// The resource that it belongs to.
    owner: Option<ResourceName>,
}

impl Versions {
    /// Takes note of an event of a watch, and returns the resources that it concerns.
    pub fn note<K>(
        &self,
        namespace: Option<&str>,
        event: Event<PartialObjectMeta<K>>,
    ) -> BTreeSet<ResourceName>
    where
        K: Resource<DynamicType = ()>,
    {
        let mut watches = self.watches.lock();
        let shown = watches.entry(watch::<K>(namespace)).or_default();
        match event {
            Event::Init => {
                shown.health.is_listed = false;
                shown.listing = Objects::default();
                BTreeSet::new()
            }
            Event::InitApply(object) => {
                shown
                    .listing
                    .insert(place(&object), ShownObject::of(&object));
                BTreeSet::new()
            }
            Event::InitDone => {
                let before = std::mem::take(&mut shown.objects);
                shown.objects = std::mem::take(&mut shown.listing);
                shown.health.is_listed = true;
                // There is a pass over every resource when the operator starts.
                if !std::mem::replace(&mut shown.was_listed, true) {
                    return BTreeSet::new();
                }
                let (now, before) = (&shown.objects, &before);
                differing(now, before)
                    .chain(differing(before, now))
                    .collect()
            }
            Event::Apply(object) => {
                let object_now = ShownObject::of(&object);
                let now = object_now.owner.clone();
                let before = shown.objects.insert(place(&object), object_now);
                now.into_iter()
                    .chain(before.and_then(|it| it.owner))
                    .collect()
            }
            Event::Delete(object) => {
                let before = shown.objects.remove(&place(&object));
                let last = ShownObject::of(&object).owner;
                last.into_iter()
                    .chain(before.and_then(|it| it.owner))
                    .collect()
            }
        }
    }

    /// Takes note that a watch failed, so that it may miss changes for a while.
    pub fn failed<K: Resource<DynamicType = ()>>(&self, namespace: Option<&str>) {
        let mut watches = self.watches.lock();
        let shown = watches.entry(watch::<K>(namespace)).or_default();
        shown.health.failed = Some(Instant::now());
    }

    /// Ends the watches of one namespace, or of all.
    pub fn close(&self, namespace: Option<&str>) {
        let mut watches = self.watches.lock();
        watches.retain(|(other, _), _| other.as_deref() != namespace);
    }

    /// Whether the watches show exactly these versions of the objects in a namespace.
    pub fn show(&self, namespace: &str, objects: &[ReadObject]) -> bool {
        let (watches, now) = (self.watches.lock(), Instant::now());
        objects.iter().all(|object| {
            let own = watches.get(&(Some(namespace.to_owned()), object.kind.clone()));
            let shown = own.or_else(|| watches.get(&(None, object.kind.clone())));
            let Some(shown) = shown.filter(|shown| shown.health.is_current(now)) else {
                return false;
            };
            let place = (namespace.to_owned(), object.name.clone());
            shown.objects.get(&place).map(|it| &it.version) == object.version.as_ref()
        })
    }
}

impl ShownObject {
    fn of<K: Resource<DynamicType = ()>>(object: &PartialObjectMeta<K>) -> Self {
        let owners = controllers(&object.metadata);
        let mut names = owners.filter(|owner| owner.kind == SecureExporter::kind(&()));
        let namespace = object.namespace().unwrap_or_default();
        Self {
            version: version(object),
            owner: names.next().map(|owner| (namespace, owner.name.clone())),
        }
    }
}

fn watch<K: Resource<DynamicType = ()>>(namespace: Option<&str>) -> (Option<String>, String) {
    (namespace.map(str::to_owned), K::kind(&()).into_owned())
}

fn place<K: Resource<DynamicType = ()>>(object: &PartialObjectMeta<K>) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The owners of the objects that are not the same among the others.
fn differing(objects: &Objects, others: &Objects) -> impl Iterator<Item = ResourceName> {
    let differing = objects
        .iter()
        .filter(|(place, object)| others.get(*place) != Some(*object));
    differing.filter_map(|(_, object)| object.owner.clone())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    use super::*;

    fn secret(name: &str, uid: &str, version: &str) -> PartialObjectMeta<Secret> {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "monitoring", "uid": uid,
            "resourceVersion": version, "ownerReferences": [{"apiVersion": "secureexporter.dev/v1alpha1",
                "kind": "SecureExporter", "name": "nodes", "uid": "u", "controller": true}]}}))
        .unwrap()
    }

    fn object(uid_and_version: Option<(&str, &str)>) -> [ReadObject; 1] {
        let version = uid_and_version.map(|(uid, version)| Version {
            uid: Some(uid.to_owned()),
            version: Some(version.to_owned()),
        });
        [ReadObject {
            kind: "Secret".to_owned(),
            name: "nodes-state".to_owned(),
            version,
        }]
    }

    fn nodes() -> BTreeSet<ResourceName> {
        BTreeSet::from([("monitoring".to_owned(), "nodes".to_owned())])
    }

    #[test]
    fn only_the_very_version_that_was_read_counts() {
        let versions = Versions::default();
        let shows = |object: &[ReadObject]| versions.show("monitoring", object);
        let note = |event| versions.note(Some("monitoring"), event);
        assert!(!shows(&object(None)), "there is no watch");
        note(Event::Init);
        note(Event::InitApply(secret("nodes-state", "a", "7")));
        assert!(
            !shows(&object(Some(("a", "7")))),
            "the list is not complete"
        );
        assert!(note(Event::InitDone).is_empty());
        assert!(shows(&object(Some(("a", "7")))));
        // Also a lower one, as after a restored backup of etcd.
        for other in [Some(("a", "8")), Some(("a", "6")), Some(("b", "7")), None] {
            assert!(!shows(&object(other)), "{other:?}");
        }
        assert_eq!(note(Event::Apply(secret("nodes-state", "a", "8"))), nodes());
        assert!(!shows(&object(Some(("a", "7")))));
        assert_eq!(
            note(Event::Delete(secret("nodes-state", "a", "9"))),
            nodes()
        );
        assert!(shows(&object(None)));
        assert!(!versions.show("elsewhere", &object(None)));
    }

    #[test]
    fn a_watch_that_fails_or_ends_shows_nothing() {
        let versions = Versions::default();
        versions.note::<Secret>(None, Event::Init);
        versions.note::<Secret>(None, Event::InitDone);
        assert!(versions.show("monitoring", &object(None)));
        versions.failed::<Secret>(None);
        assert!(!versions.show("monitoring", &object(None)));
        versions.note::<Secret>(Some("monitoring"), Event::Init);
        versions.note::<Secret>(Some("monitoring"), Event::InitDone);
        assert!(versions.show("monitoring", &object(None)));
        versions.close(Some("monitoring"));
        assert!(!versions.show("monitoring", &object(None)));
    }

    #[test]
    fn after_a_lost_watch_only_what_changed_is_looked_at() {
        let versions = Versions::default();
        let note = |event| versions.note(None, event);
        let list = |version: Option<&str>| {
            note(Event::Init);
            if let Some(version) = version {
                note(Event::InitApply(secret("nodes-state", "a", version)));
            }
            note(Event::InitDone)
        };
        assert!(list(Some("7")).is_empty(), "the first list");
        assert!(list(Some("7")).is_empty());
        assert_eq!(list(Some("8")), nodes());
        assert_eq!(list(None), nodes(), "it was deleted");
    }

    #[test]
    fn an_object_that_loses_its_owner_concerns_it() {
        let versions = Versions::default();
        versions.note(None, Event::Apply(secret("nodes-state", "a", "7")));
        let mut orphan = secret("nodes-state", "a", "8");
        orphan.metadata.owner_references = None;
        assert_eq!(versions.note(None, Event::Apply(orphan)), nodes());
    }
}
