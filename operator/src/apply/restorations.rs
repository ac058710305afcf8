//! What other clients deleted or changed, and the operator restored. Secrets and ConfigMaps, and whatever was deleted, are
//! restored at once every time: so that this is no silent fight, it is counted.

use std::{
    borrow::Cow,
    collections::HashMap,
    mem,
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;

use crate::apply::field_managers::setter;

/// If the same change is undone so many times within [`WINDOW`], it is a fight: one that lasts for half a minute, or one with a
/// round in every minute.
const MANY: usize = 10;

/// How long a restoration counts.
const WINDOW: Duration = Duration::from_secs(600);

/// An object that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restoration {
    /// Its kind.
    pub kind: Cow<'static, str>,
    /// Its name.
    pub name: String,
    /// The paths that had been changed; empty if it was deleted.
    pub fields: Vec<String>,
    /// The field manager that changed them, if it is known.
    pub by: Option<String>,
}

impl Restoration {
    /// An object that had been deleted.
    pub(crate) fn of_deleted<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            kind: K::kind(&()),
            name: object.name_any(),
            fields: Vec::new(),
            by: None,
        }
    }

    /// An object whose `fields` had been changed. `changed` is how it was read.
    pub(crate) fn of_changed<K>(changed: &K, fields: Vec<String>) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self {
            kind: K::kind(&()),
            name: changed.name_any(),
            by: setter(changed.meta(), &fields),
            fields,
        }
    }

    fn change(&self) -> Change {
        ((self.kind.clone(), self.name.clone()), self.fields.clone())
    }

    /// The note of the event.
    pub fn note(&self) -> String {
        let Self { kind, name, .. } = self;
        match &self.fields[..] {
            [] => format!("Restored {kind} {name}, which had been deleted"),
            fields => format!(
                "Restored {kind} {name}, which had been changed: {}{}",
                fields.join(", "),
                self.set_by()
            ),
        }
    }

    /// Who changed it, in brackets; empty if that is not known.
    pub(crate) fn set_by(&self) -> String {
        set_by(self.by.as_deref())
    }
}

/// Who set fields, in brackets; empty if that is not known.
pub(crate) fn set_by(manager: Option<&str>) -> String {
    manager.map_or_else(String::new, |manager| {
        format!(" (last set by the field manager {manager:?})")
    })
}

/// The restorations of all resources.
#[derive(Debug, Default)]
pub struct Restorations(Mutex<HashMap<String, OfResource>>);

/// Kind and name of an object.
type Object = (Cow<'static, str>, String);

/// An object, and the fields of it that were changed.
type Change = (Object, Vec<String>);

/// Of one resource. It contains nothing secret.
#[derive(Debug, Default)]
struct OfResource {
    /// Hash of what was last stored in each generated Secret and ConfigMap.
    stored: HashMap<Object, [u8; 32]>,
    /// When each change was undone.
    recent: HashMap<Change, Vec<Instant>>,
    last: HashMap<Change, Restoration>,
    /// Those that were not taken yet.
    new: Vec<Restoration>,
}

/// What there is to say about the restorations of a resource.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Those since the last look, without those that are repeated.
    pub new: Vec<Restoration>,
    /// The last restoration of each change that is undone again and again.
    pub repeated: Vec<Restoration>,
}

impl Restorations {
    /// Notes the hash of what is stored in an object.
    pub(crate) fn stored<K: Resource<DynamicType = ()>>(&self, object: &K, hash: [u8; 32]) {
        if let Some(uid) = owner(object.meta()) {
            let mut all = self.0.lock();
            let of_resource = all.entry(uid).or_default();
            of_resource.stored.insert(place(object), hash);
        }
    }

    /// Whether another client deleted or changed an object that was stored. `hash` is of what is in it now.
    pub(crate) fn is_changed<K>(&self, object: &K, hash: Option<[u8; 32]>) -> bool
    where
        K: Resource<DynamicType = ()>,
    {
        let all = self.0.lock();
        let of_resource = owner(object.meta()).and_then(|uid| all.get(&uid));
        let stored = of_resource.and_then(|it| it.stored.get(&place(object)));
        stored.is_some_and(|stored| Some(*stored) != hash)
    }

    /// Notes a restoration. `object` belongs to the resource.
    pub(crate) fn note(&self, object: &ObjectMeta, restoration: Restoration, now: Instant) {
        let Some(uid) = owner(object) else {
            return;
        };
        let mut all = self.0.lock();
        let of_resource = all.entry(uid).or_default();
        let change = restoration.change();
        of_resource
            .recent
            .entry(change.clone())
            .or_default()
            .push(now);
        of_resource.last.insert(change, restoration.clone());
        of_resource.new.push(restoration);
    }

    /// Returns what there is to say about a resource.
    pub fn take(&self, uid: &str, now: Instant) -> Taken {
        let mut all = self.0.lock();
        let Some(of_resource) = all.get_mut(uid) else {
            return Taken::default();
        };
        of_resource.recent.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < WINDOW);
            !times.is_empty()
        });
        let recent = &of_resource.recent;
        of_resource
            .last
            .retain(|change, _| recent.contains_key(change));
        let is_many = |change: &Change| recent.get(change).is_some_and(|it| it.len() >= MANY);
        let mut new = mem::take(&mut of_resource.new);
        new.retain(|it| !is_many(&it.change()));
        let repeated = of_resource
            .last
            .iter()
            .filter(|(change, _)| is_many(change));
        let mut repeated: Vec<Restoration> = repeated.map(|(_, last)| last.clone()).collect();
        repeated.sort_unstable_by_key(Restoration::change);
        Taken { new, repeated }
    }

    /// Forgets a resource.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

fn owner(object: &ObjectMeta) -> Option<String> {
    let mut owners = object.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    Some(owner.uid.clone())
}

fn place<K: Resource<DynamicType = ()>>(object: &K) -> Object {
    (K::kind(&()), object.name_any())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::names::Owner;

    fn object() -> ConfigMap {
        let owner = Owner::nodes();
        ConfigMap {
            metadata: owner.child(owner.ca_config_map()),
            ..ConfigMap::default()
        }
    }

    #[test]
    fn what_is_not_as_it_was_stored_was_changed_by_others() {
        let (restorations, object) = (Restorations::default(), object());
        assert!(!restorations.is_changed(&object, None), "the first one");
        restorations.stored(&object, [1; 32]);
        assert!(!restorations.is_changed(&object, Some([1; 32])));
        assert!(restorations.is_changed(&object, Some([2; 32])));
        assert!(restorations.is_changed(&object, None), "deleted");
        restorations.forget(&Owner::nodes().uid);
        assert!(!restorations.is_changed(&object, None));
    }

    #[test]
    fn a_restoration_is_reported_once_and_a_fight_as_long_as_it_lasts() {
        let (restorations, object) = (Restorations::default(), object());
        let (uid, start) = (Owner::nodes().uid, Instant::now());
        let restoration = Restoration::of_deleted(&object);
        let at = |second: u64| start + Duration::from_secs(second);
        for round in 1..MANY as u64 {
            restorations.note(&object.metadata, restoration.clone(), at(3 * round));
            let taken = restorations.take(&uid, at(3 * round));
            assert_eq!(taken.new, std::slice::from_ref(&restoration));
            assert!(taken.repeated.is_empty());
        }
        restorations.note(&object.metadata, restoration.clone(), at(30));
        for second in [30, 40, 600] {
            let taken = restorations.take(&uid, at(second));
            assert!(taken.new.is_empty());
            assert_eq!(
                taken.repeated,
                std::slice::from_ref(&restoration),
                "{second}"
            );
        }
        assert_eq!(restorations.take(&uid, at(700)), Taken::default());
    }

    #[test]
    fn many_different_changes_are_no_fight() {
        let (restorations, object) = (Restorations::default(), object());
        let (uid, now) = (Owner::nodes().uid, Instant::now());
        for number in 0..2 * MANY {
            let field = format!("data.{number}");
            let restoration = Restoration::of_changed(&object, vec![field]);
            restorations.note(&object.metadata, restoration, now);
        }
        let taken = restorations.take(&uid, now);
        assert_eq!((taken.new.len(), taken.repeated.len()), (2 * MANY, 0));
    }

    #[test]
    fn the_note_names_fields_and_field_manager() {
        let object = object();
        let deleted = Restoration::of_deleted(&object);
        assert_eq!(
            deleted.note(),
            "Restored ConfigMap nodes-ca, which had been deleted"
        );
        let mut changed = Restoration::of_changed(&object, vec!["data.ca.crt".into()]);
        assert_eq!(
            changed.note(),
            "Restored ConfigMap nodes-ca, which had been changed: data.ca.crt"
        );
        changed.by = Some("kubectl-edit".into());
        assert!(
            changed
                .note()
                .ends_with(" (last set by the field manager \"kubectl-edit\")")
        );
    }
}
