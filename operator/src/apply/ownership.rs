//! Which objects may be overwritten, and which of their metadata is ours.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use crate::{
    apply::{drift::lacking_metadata, error::ApplyError},
    observe::children::{Child, controllers},
};

/// Returns our own object, or `None` if there is no object of this name.
///
/// # Errors
/// The object belongs to another controller or user, or could not be read.
pub(crate) fn own<'a, K: Resource<DynamicType = ()>>(
    present: &'a Child<K>,
    name: &str,
) -> Result<Option<&'a K>, ApplyError> {
    let (kind, name) = (K::kind(&()), name.to_owned());
    match present {
        Child::Absent => Ok(None),
        Child::Ours(object) => Ok(Some(object)),
        Child::Foreign => Err(ApplyError::Taken { kind, name }),
        Child::Restored(owner) => Err(ApplyError::Restored {
            kind,
            name,
            owner: owner.clone(),
        }),
        Child::Leftover => Err(ApplyError::Leftover { kind, name }),
        Child::Unknown(error) => Err(ApplyError::unread(kind, name, error)),
    }
}

/// Whether `present` has our labels, annotations and owner reference.
pub(crate) fn keeps<K: Resource>(present: &K, wanted: &K) -> bool {
    lacking_metadata(present.meta(), wanted.meta()).is_empty()
}

/// Merges the labels and annotations that others added to `present` into our object.
pub(crate) fn adopt_foreign_metadata<K: Resource>(wanted: &mut K, present: &K) {
    let merge = |wanted: &mut Option<BTreeMap<String, String>>,
                 present: &Option<BTreeMap<String, String>>| {
        let wanted = wanted.get_or_insert_default();
        for (key, value) in present.iter().flatten() {
            wanted.entry(key.clone()).or_insert_with(|| value.clone());
        }
    };
    let (labels, annotations) = (&present.meta().labels, &present.meta().annotations);
    merge(&mut wanted.meta_mut().labels, labels);
    merge(&mut wanted.meta_mut().annotations, annotations);
}

/// Whether the same resource controls both objects.
pub(crate) fn has_same_controller(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    controllers(one).any(|it| controllers(other).any(|that| it.uid == that.uid))
}
