//! Writes the objects by server-side apply, and restores what other clients changed. No object is deleted for a repair:
//! without its DaemonSet every node would lose its exporter.
//!
//! A change of the resource is applied at once. What others change is restored at once, too, but if they change it again, only
//! after pauses that grow, because each change of a pod template restarts every pod.

use std::time::Instant;

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};

use crate::{
    apply::{
        Writer,
        drift::{Applied, Whole, drift, lacking, lists, restoration},
        error::{ApplyError, is_without_field},
        restorations::Restoration,
    },
    names::FIELD_MANAGER,
    observe::children::Child,
};

/// Which change of others a write is about to undo.
enum Undoing {
    /// None that is known: the operator applies something for the first time.
    Nothing,
    /// The deletion of the object.
    Deletion,
    /// A change of these fields.
    Change(Vec<String>),
}

impl Writer<'_> {
    /// Writes an object whose spec belongs entirely to the operator, and then removes the fields that others added. What
    /// server-side apply cannot merge with their fields is replaced. Writes nothing if the object is as wanted.
    ///
    /// # Errors
    /// [`ApplyError`]; [`ApplyError::Drift`] if what was restored was changed again.
    pub(crate) async fn whole<K: Whole>(
        &self,
        wanted: K,
        present: &Child<K>,
    ) -> Result<(), ApplyError> {
        let Some(mut undoing) = self.begin(&wanted, present, drift)? else {
            return Ok(());
        };
        let mut written = match self.applied(wanted.clone(), present).await {
            Err(refusal) if refusal.is_invalid() => {
                self.replaced(&wanted, present, refusal, &mut undoing)
                    .await?
            }
            applied => self.unless_failed(applied, present, &undoing)?,
        };
        self.verified.note_differing(&written, &wanted);
        let fields = drift(&written, &wanted);
        if !fields.is_empty() && self.may_repair(&written, &fields, &mut undoing) {
            written = self.restored(&wanted, &written, &undoing).await?;
        }
        let left = drift(&written, &wanted);
        self.end(&wanted, present, &written, undoing, &left)
    }

    /// Writes an object in which fields of others do no harm. Writes nothing if the object is as wanted.
    ///
    /// # Errors
    /// [`ApplyError`]; [`ApplyError::Drift`] if what was restored was changed again.
    pub(crate) async fn small<K: Applied>(
        &self,
        wanted: K,
        present: &Child<K>,
    ) -> Result<(), ApplyError> {
        let differences = |found: &K, wanted: &K| {
            let fields = lacking(found, wanted);
            if fields.is_empty() && !self.verified.has_same_generation(found, wanted) {
                return lists(wanted);
            }
            fields
        };
        let Some(undoing) = self.begin(&wanted, present, differences)? else {
            return Ok(());
        };
        let applied = self.applied(wanted.clone(), present).await;
        let written = self.unless_failed(applied, present, &undoing)?;
        let left = lacking(&written, &wanted);
        self.end(&wanted, present, &written, undoing, &left)
    }

    /// Returns what a write is about to undo; `None` if nothing has to be written.
    ///
    /// # Errors
    /// Another client changes the same fields again and again, and they must not be restored yet.
    fn begin<K: Applied>(
        &self,
        wanted: &K,
        present: &Child<K>,
        differences: impl Fn(&K, &K) -> Vec<String>,
    ) -> Result<Option<Undoing>, ApplyError> {
        let Some(found) = present.ours() else {
            let is_deletion = matches!(present, Child::Absent) && self.verified.is_lost(wanted);
            return Ok(Some(match is_deletion {
                true => Undoing::Deletion,
                false => Undoing::Nothing,
            }));
        };
        if self.verified.holds(found, wanted) {
            return Ok(None);
        }
        if !self.verified.was_applied(found, wanted) {
            return Ok(Some(Undoing::Nothing));
        }
        let fields = differences(found, wanted);
        if fields.is_empty() {
            // Only the status changed, or what others may change.
            self.verified.note(found, wanted);
            return Ok(None);
        }
        if !self.repairs.begin(found.meta(), &fields, Instant::now()) {
            return Err(ApplyError::drift(found, &fields));
        }
        Ok(Some(Undoing::Change(fields)))
    }

    /// A write that failed was no restoration. The next one need not wait.
    fn unless_failed<K: Applied>(
        &self,
        applied: Result<K, ApplyError>,
        present: &Child<K>,
        undoing: &Undoing,
    ) -> Result<K, ApplyError> {
        if let (Err(_), Undoing::Change(fields), Some(found)) = (&applied, undoing, present.ours())
        {
            self.repairs.overtaken(found.meta(), fields);
        }
        applied
    }

    /// Whether these fields may be repaired now. A repair that has begun may be finished.
    fn may_repair<K: Applied>(&self, object: &K, fields: &[String], undoing: &mut Undoing) -> bool {
        if matches!(undoing, Undoing::Change(_)) {
            return true;
        }
        let may = self.repairs.begin(object.meta(), fields, Instant::now());
        if may {
            *undoing = Undoing::Change(fields.to_vec());
        }
        may
    }

    /// Notes the result of a write. `left` are the fields that still differ.
    fn end<K: Applied>(
        &self,
        wanted: &K,
        present: &Child<K>,
        written: &K,
        undoing: Undoing,
        left: &[String],
    ) -> Result<(), ApplyError> {
        if !left.is_empty() {
            self.verified.note_differing(written, wanted);
            return Err(ApplyError::drift(written, left));
        }
        self.verified.note(written, wanted);
        let restoration = match (undoing, present.ours()) {
            (Undoing::Deletion, _) => Restoration::of_deleted(wanted),
            (Undoing::Change(fields), Some(found)) => {
                if found.resource_version() == written.resource_version() {
                    self.repairs.overtaken(found.meta(), &fields);
                    return Ok(());
                }
                Restoration::of_changed(found, fields)
            }
            (Undoing::Nothing | Undoing::Change(_), _) => return Ok(()),
        };
        let restorations = &self.repairs.restorations;
        restorations.note(wanted.meta(), restoration, Instant::now());
        Ok(())
    }

    /// Restores an object that server-side apply cannot merge, for example because an entry of a list has got another key,
    /// and applies again. Returns the refusal if that is not the cause.
    async fn replaced<K: Whole>(
        &self,
        wanted: &K,
        present: &Child<K>,
        refusal: ApplyError,
        undoing: &mut Undoing,
    ) -> Result<K, ApplyError> {
        let Some(seen) = present.ours() else {
            return Err(refusal);
        };
        // Read again: the version that the pass began with may be seconds old.
        let read = self.api_of(wanted).get(&seen.name_any()).await;
        let Ok(current) = read else {
            return Err(refusal);
        };
        let fields = drift(&current, wanted);
        let is_same = current.meta().uid == seen.meta().uid;
        let is_repairable = is_same && !fields.is_empty();
        if !is_repairable || !self.may_repair(&current, &fields, undoing) {
            return Err(refusal);
        }
        let restored = self.restored(wanted, &current, undoing).await?;
        self.applied(wanted.clone(), &Child::Ours(restored)).await
    }

    /// Makes the spec of `present` as wanted, with what others added removed.
    async fn restored<K: Whole>(
        &self,
        wanted: &K,
        present: &K,
        undoing: &Undoing,
    ) -> Result<K, ApplyError> {
        let name = wanted.name_any();
        let patch = serde_json::from_value(restoration(present, wanted))
            .map_err(|source| ApplyError::api("patch", wanted, kube::Error::SerdeError(source)))?;
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let api = self.api_of(wanted);
        let restored = match api
            .patch(&name, &parameters, &Patch::<()>::Json(patch))
            .await
        {
            Ok(restored) => restored,
            Err(refusal) if is_without_field(&refusal) && self.has_changed(present).await => {
                if let Undoing::Change(fields) = undoing {
                    self.repairs.overtaken(present.meta(), fields);
                }
                return Err(ApplyError::overtaken(wanted));
            }
            Err(refusal) => return Err(ApplyError::api("patch", wanted, refusal)),
        };
        if restored.resource_version() != present.resource_version() {
            self.metrics.wrote(K::kind(&()));
        }
        Ok(restored)
    }

    /// Whether an object is no longer the version that was read.
    async fn has_changed<K: Whole>(&self, read: &K) -> bool {
        let now = self.api_of(read).get_metadata(&read.name_any()).await;
        now.is_ok_and(|now| now.resource_version() != read.resource_version())
    }
}
