//! Adoption of objects that were restored from a backup. Pure.
//!
//! A backup tool such as Velero restores objects with their labels and annotations, but without their ownerReferences, and the
//! resource with another uid. Labels and names prove nothing, because any user who can create Secrets could plant a CA, so the
//! operator adopts such objects only if the resource says so: `secureexporter.dev/adopt: <uid of this resource>`. That counts
//! once. To adopt again, remove the annotation and set it again.

use std::collections::BTreeMap;

use crate::names::{ADOPT_ANNOTATION, Owner};

/// The name under which a used permission is remembered, beside the handled requests.
pub const ADOPT: &str = "adopt";

/// Whether restored objects may be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// The resource says nothing.
    NotAsked,
    /// They may.
    Allowed,
    /// The permission was used before.
    Used,
    /// The annotation has this value, which is not the uid of the resource: it comes from the backup, or is wrong.
    Mistaken(String),
}

impl Adoption {
    /// Reads the annotation. `handled` is what the status says was handled: unlike the restored Secrets, it can only have been
    /// written by the operator.
    pub fn read(
        annotations: Option<&BTreeMap<String, String>>,
        handled: &BTreeMap<String, String>,
        owner: &Owner,
    ) -> Self {
        let value = annotations.and_then(|all| all.get(ADOPT_ANNOTATION));
        match value.map(|value| value.trim()) {
            None => Self::NotAsked,
            Some(value) if value != owner.uid => Self::Mistaken(value.to_owned()),
            Some(value) if handled.get(ADOPT).map(String::as_str) == Some(value) => Self::Used,
            Some(_) => Self::Allowed,
        }
    }

    /// Remembers that the permission was used, or that it was withdrawn.
    pub fn remember(&self, owner: &Owner, handled: &mut BTreeMap<String, String>) {
        match self {
            Self::Allowed | Self::Used => {
                handled.insert(ADOPT.to_owned(), owner.uid.clone());
            }
            Self::NotAsked | Self::Mistaken(_) => {
                handled.remove(ADOPT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            name: "nodes".into(),
            namespace: "monitoring".into(),
            uid: "u-1".into(),
        }
    }

    fn read(value: &str, handled: &BTreeMap<String, String>) -> Adoption {
        let annotations = BTreeMap::from([(ADOPT_ANNOTATION.to_owned(), value.to_owned())]);
        Adoption::read(Some(&annotations), handled, &owner())
    }

    #[test]
    fn only_the_uid_of_this_resource_allows_it_and_only_once() {
        let mut handled = BTreeMap::new();
        assert_eq!(Adoption::read(None, &handled, &owner()), Adoption::NotAsked);
        let mistaken = Adoption::Mistaken("u-0".to_owned());
        assert_eq!(read("u-0", &handled), mistaken);
        assert_eq!(read("u-1", &handled), Adoption::Allowed);
        read("u-1", &handled).remember(&owner(), &mut handled);
        assert_eq!(read("u-1", &handled), Adoption::Used);
        read("u-1", &handled).remember(&owner(), &mut handled);
        assert_eq!(read("u-1", &handled), Adoption::Used);
        Adoption::NotAsked.remember(&owner(), &mut handled);
        assert_eq!(read("u-1", &handled), Adoption::Allowed);
    }
}
