//! What was last applied, and the version in which it was found to be as rendered. As long as the same is rendered and the
//! object still has that version, applying it again would change nothing. If the same is rendered and the object differs,
//! another client changed it.

use std::collections::HashMap;

use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::names::Owner;

/// The objects that need not be applied again.
#[derive(Debug, Default)]
pub struct Verified(Mutex<HashMap<Place, Found>>);

/// Kind, namespace and name.
type Place = (String, String, String);

#[derive(Debug, PartialEq, Eq)]
struct Found {
    uid: Option<String>,
    /// In which it was found to be as rendered; `None` if it never was. Compared by equality only.
    version: Option<String>,
    /// The API server counts changes of the spec, where the kind has one.
    generation: Option<i64>,
    /// Hash of what was rendered.
    digest: [u8; 32],
}

impl Verified {
    /// Whether `present`, as it was read, is the version that was verified for `wanted`.
    pub(crate) fn holds<K>(&self, present: &K, wanted: &K) -> bool
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let version = version(present);
        version.is_some() && self.find(present, wanted, |found| found.version == version)
    }

    /// Whether `wanted` was the last that was applied to the object `present`.
    pub(crate) fn was_applied<K>(&self, present: &K, wanted: &K) -> bool
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        self.find(present, wanted, |_| true)
    }

    /// Whether also the spec of `present` is unchanged since.
    pub(crate) fn has_same_generation<K>(&self, present: &K, wanted: &K) -> bool
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let generation = present.meta().generation;
        generation.is_some() && self.find(present, wanted, |found| found.generation == generation)
    }

    /// Whether `wanted` was applied to an object of this name, if there is none now.
    pub(crate) fn is_lost<K>(&self, wanted: &K) -> bool
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let digest = digest(wanted);
        let verified = self.0.lock();
        let found = verified.get(&place(wanted));
        digest.is_some() && found.map(|found| found.digest) == digest
    }

    fn find<K>(&self, present: &K, wanted: &K, is_it: impl Fn(&Found) -> bool) -> bool
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let (uid, digest) = (present.uid(), digest(wanted));
        let verified = self.0.lock();
        verified
            .get(&place(wanted))
            .is_some_and(|found| found.uid == uid && Some(found.digest) == digest && is_it(found))
    }

    /// Notes that `written` is as `wanted`. `written` is what the API server returned.
    pub(crate) fn note<K>(&self, written: &K, wanted: &K)
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        self.insert(written, wanted, version(written));
    }

    /// Notes that `wanted` was applied, but that `written` differs from it.
    pub(crate) fn note_differing<K>(&self, written: &K, wanted: &K)
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        self.insert(written, wanted, None);
    }

    fn insert<K>(&self, written: &K, wanted: &K, version: Option<String>)
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let found = digest(wanted).map(|digest| Found {
            uid: written.uid(),
            version,
            generation: written.meta().generation,
            digest,
        });
        let mut verified = self.0.lock();
        match found {
            Some(found) => verified.insert(place(wanted), found),
            None => verified.remove(&place(wanted)),
        };
    }

    /// Forgets an object that the operator itself deletes.
    pub(crate) fn forget_object<K: Resource<DynamicType = ()>>(&self, object: &K) {
        self.0.lock().remove(&place(object));
    }

    /// Forgets the objects of a deleted resource.
    pub(crate) fn forget(&self, owner: &Owner) {
        let names = [owner.workload(), owner.discovery()];
        let mut verified = self.0.lock();
        verified.retain(|(_, namespace, name), _| {
            *namespace != owner.namespace || !names.contains(name)
        });
    }
}

fn digest<K: Serialize>(wanted: &K) -> Option<[u8; 32]> {
    let rendered = serde_json::to_vec(wanted).ok()?;
    Some(Sha256::digest(rendered).into())
}

/// `None` if the object cannot be recognised again.
fn version<K: Resource>(object: &K) -> Option<String> {
    object.resource_version().filter(|it| !it.is_empty())
}

fn place<K: Resource<DynamicType = ()>>(object: &K) -> Place {
    let namespace = object.namespace().unwrap_or_default();
    (K::kind(&()).into_owned(), namespace, object.name_any())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceAccount;
    use serde_json::json;

    use super::*;

    fn account(uid: &str, version: &str, label: &str) -> ServiceAccount {
        let metadata = json!({"name": "nodes", "namespace": "monitoring", "uid": uid,
            "resourceVersion": version, "labels": {"a": label}});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn only_the_same_version_of_the_same_object_for_the_same_content_is_verified() {
        let (verified, wanted) = (Verified::default(), account("", "", "1"));
        let written = account("u", "7", "1");
        assert!(!verified.holds(&written, &wanted));
        verified.note(&written, &wanted);
        assert!(verified.holds(&written, &wanted));
        assert!(
            !verified.holds(&account("u", "8", "1"), &wanted),
            "it changed"
        );
        assert!(
            !verified.holds(&account("u", "6", "1"), &wanted),
            "a restored backup"
        );
        assert!(
            !verified.holds(&account("v", "7", "1"), &wanted),
            "it is another one"
        );
        assert!(
            !verified.holds(&written, &account("", "", "2")),
            "another spec"
        );
        verified.forget(&Owner::nodes());
        assert!(!verified.holds(&written, &wanted));
    }

    #[test]
    fn what_was_applied_is_known_in_every_version_of_the_object() {
        let (verified, wanted) = (Verified::default(), account("", "", "1"));
        assert!(!verified.is_lost(&wanted));
        verified.note_differing(&account("u", "7", "2"), &wanted);
        assert!(!verified.holds(&account("u", "7", "2"), &wanted));
        assert!(verified.was_applied(&account("u", "8", "2"), &wanted));
        assert!(verified.is_lost(&wanted));
        assert!(!verified.was_applied(&account("v", "8", "2"), &wanted));
        let changed = account("", "", "3");
        assert!(!verified.was_applied(&account("u", "8", "2"), &changed));
        assert!(!verified.is_lost(&changed), "another spec");
        assert!(!verified.has_same_generation(&account("u", "8", "2"), &wanted));
        verified.forget_object(&wanted);
        assert!(!verified.is_lost(&wanted));
    }

    #[test]
    fn an_object_without_a_version_is_never_verified() {
        let verified = Verified::default();
        let object: ServiceAccount = serde_json::from_value(json!({"metadata": {}})).unwrap();
        verified.note(&object, &object);
        assert!(!verified.holds(&object, &object));
    }
}
