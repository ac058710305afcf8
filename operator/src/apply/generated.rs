//! Writes the Secrets and ConfigMaps. A write never waits because another client changes them: a certificate must not expire.

use std::{collections::BTreeMap, time::Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use crate::{
    apply::{
        Writer, as_manager,
        drift::{Applied, lacking_metadata},
        error::ApplyError,
        is_already_there,
        ownership::{adopt_foreign_metadata, has_same_controller, keeps, own},
        restorations::Restoration,
    },
    names::published_generation,
    observe::children::Child,
    secret_object::wipe,
};

/// An object whose content is generated from the state.
pub(super) trait Generated: Applied {
    /// The content by key, which must be exactly as rendered.
    fn entries(&self) -> impl Iterator<Item = (&str, &[u8])>;

    /// Overwrites what is secret, when it is no longer needed.
    fn wipe(&mut self);
}

impl Generated for Secret {
    fn entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let entries = self.data.iter().flatten();
        entries.map(|(key, value)| (key.as_str(), value.0.as_slice()))
    }

    fn wipe(&mut self) {
        wipe(self);
    }
}

impl Generated for ConfigMap {
    fn entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let entries = self.data.iter().flatten();
        entries.map(|(key, value)| (key.as_str(), value.as_bytes()))
    }

    fn wipe(&mut self) {}
}

impl Writer<'_> {
    /// Replaces an object with generated material only in the version that was read: a blind write could lose a key. It never
    /// waits because another client changes the object.
    pub(super) async fn generated<K: Generated>(
        &self,
        wanted: &K,
        present: &Child<K>,
    ) -> Result<(), ApplyError> {
        let name = wanted.name_any();
        let Some(present) = own(present, &name)? else {
            self.created(wanted).await?;
            self.note_stored(wanted, None);
            return Ok(());
        };
        if is_as(present, wanted) {
            self.repairs
                .restorations
                .stored(wanted, hash(wanted, wanted));
            return Ok(());
        }
        let (published, ours) = (
            published_generation(present.meta()),
            published_generation(wanted.meta()),
        );
        if published > ours {
            return Err(ApplyError::Older {
                kind: K::kind(&()),
                name,
                published,
                ours,
            });
        }
        let mut next = wanted.clone();
        adopt_foreign_metadata(&mut next, present);
        next.meta_mut()
            .resource_version
            .clone_from(&present.meta().resource_version);
        let api = self.api_of(wanted);
        let replaced = api.replace(&name, &as_manager(), &next).await;
        next.wipe();
        let replaced = replaced.map_err(|source| ApplyError::api("update", wanted, source))?;
        self.metrics.wrote(K::kind(&()));
        check_stored(replaced, wanted)?;
        self.note_stored(wanted, Some(present));
        Ok(())
    }

    /// Notes that an object was written, and whether that undid a change of another client. `before` is how it was read.
    fn note_stored<K: Generated>(&self, wanted: &K, before: Option<&K>) {
        let restorations = &self.repairs.restorations;
        if restorations.is_changed(wanted, before.map(|before| hash(before, wanted))) {
            let restoration = match before {
                Some(before) => Restoration::of_changed(before, differences(before, wanted)),
                None => Restoration::of_deleted(wanted),
            };
            restorations.note(wanted.meta(), restoration, Instant::now());
        }
        restorations.stored(wanted, hash(wanted, wanted));
    }

    async fn created<K: Generated>(&self, wanted: &K) -> Result<(), ApplyError> {
        let api = self.api_of(wanted);
        match api.create(&as_manager(), wanted).await {
            // If the answer to a create was lost, a proxy may send it again, and the second one finds the object of the first.
            Err(source) if is_already_there(&source) => {
                let mut found = api
                    .get(&wanted.name_any())
                    .await
                    .map_err(|source| ApplyError::api("get", wanted, source))?;
                let is_as_wanted =
                    has_same_controller(found.meta(), wanted.meta()) && is_as(&found, wanted);
                found.wipe();
                if !is_as_wanted {
                    // The next pass reads it and decides.
                    return Err(ApplyError::api("create", wanted, source));
                }
            }
            created => {
                let created =
                    created.map_err(|source| ApplyError::api("create", wanted, source))?;
                check_stored(created, wanted)?;
            }
        }
        self.metrics.wrote(K::kind(&()));
        Ok(())
    }
}

/// Whether the content is the same, and what is ours of the metadata.
fn is_as<K: Generated>(present: &K, wanted: &K) -> bool {
    present.entries().eq(wanted.entries()) && keeps(present, wanted)
}

/// Checks that the API server stored what it was sent: an admission webhook may have changed it.
fn check_stored<K: Generated>(mut stored: K, wanted: &K) -> Result<(), ApplyError> {
    let fields = differences(&stored, wanted);
    stored.wipe();
    if fields.is_empty() {
        return Ok(());
    }
    Err(ApplyError::drift(&stored, &fields))
}

/// The paths at which two objects differ: names alone, nothing secret.
fn differences<K: Generated>(present: &K, wanted: &K) -> Vec<String> {
    let (one, other): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (present.entries().collect(), wanted.entries().collect());
    let keys = one
        .keys()
        .chain(other.keys().filter(|key| !one.contains_key(*key)));
    let differing = keys.filter(|key| one.get(*key) != other.get(*key));
    let mut paths: Vec<String> = differing.map(|key| format!("data.{key}")).collect();
    paths.extend(lacking_metadata(present.meta(), wanted.meta()));
    paths
}

/// A hash of the content, and of the labels and annotations that `ours` has.
fn hash<K: Generated>(object: &K, ours: &K) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    for (key, value) in object.entries() {
        add(key.as_bytes());
        add(value);
    }
    let (object, ours) = (object.meta(), ours.meta());
    let maps = [
        (&object.labels, &ours.labels),
        (&object.annotations, &ours.annotations),
    ];
    for (present, ours) in maps {
        for key in ours.iter().flatten().map(|(key, _)| key) {
            let value = present.as_ref().and_then(|present| present.get(key));
            add(value.map_or(&[][..], |value| value.as_bytes()));
        }
    }
    hash.finalize().into()
}
