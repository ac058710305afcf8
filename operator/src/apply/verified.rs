//! What was found to be as rendered right after it was written. As long as the same is rendered and the object still has that
//! version, applying it again would change nothing.

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
    /// Compared by equality only.
    version: String,
    /// Hash of what was rendered.
    digest: [u8; 32],
}

impl Verified {
    /// Whether `present`, as it was read, is the version that was verified for `wanted`.
    pub(crate) fn holds<K>(&self, present: &K, wanted: &K) -> bool
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let found = Found::of(present, wanted);
        found.is_some() && self.0.lock().get(&place(wanted)) == found.as_ref()
    }

    /// Notes that `written` is as `wanted`. `written` is what the API server returned.
    pub(crate) fn note<K>(&self, written: &K, wanted: &K)
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let mut verified = self.0.lock();
        match Found::of(written, wanted) {
            Some(found) => verified.insert(place(wanted), found),
            None => verified.remove(&place(wanted)),
        };
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

impl Found {
    /// `None` if the object cannot be recognised again.
    fn of<K: Resource + Serialize>(object: &K, wanted: &K) -> Option<Self> {
        Some(Self {
            uid: object.uid(),
            version: object.resource_version().filter(|it| !it.is_empty())?,
            digest: Sha256::digest(serde_json::to_vec(wanted).ok()?).into(),
        })
    }
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
    fn an_object_without_a_version_is_never_verified() {
        let verified = Verified::default();
        let object: ServiceAccount = serde_json::from_value(json!({"metadata": {}})).unwrap();
        verified.note(&object, &object);
        assert!(!verified.holds(&object, &object));
    }
}
