//! Writes the objects whose spec belongs entirely to the operator, and removes what other clients put into them. No object is
//! deleted for a repair: without its DaemonSet every node would lose its exporter.

use std::time::Instant;

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};

use crate::{
    apply::{
        Writer,
        drift::{Whole, drift, restoration},
        error::ApplyError,
    },
    names::FIELD_MANAGER,
    observe::children::Child,
};

impl Writer<'_> {
    /// Writes by server-side apply, and then removes the fields that others added. What server-side apply cannot merge with
    /// their fields is replaced. Writes nothing if the object is still as it was after the last write.
    ///
    /// # Errors
    /// [`ApplyError`]; [`ApplyError::Drift`] if what was removed came back.
    pub(crate) async fn whole<K: Whole>(
        &self,
        wanted: K,
        present: &Child<K>,
    ) -> Result<(), ApplyError> {
        if present
            .ours()
            .is_some_and(|present| self.verified.holds(present, &wanted))
        {
            return Ok(());
        }
        let written = match self.applied(wanted.clone(), present).await {
            Err(refusal) if refusal.is_invalid() => {
                self.replaced(&wanted, present, refusal).await?
            }
            applied => applied?,
        };
        let fields = drift(&written, &wanted);
        if fields.is_empty() {
            self.verified.note(&written, &wanted);
            return Ok(());
        }
        let is_tried = !self.repairs.begin(written.meta(), &fields, Instant::now());
        let left = if is_tried {
            fields
        } else {
            drift(&self.restored(&wanted, &written, &fields).await?, &wanted)
        };
        if left.is_empty() {
            return Ok(());
        }
        Err(ApplyError::Drift {
            kind: K::kind(&()),
            name: wanted.name_any(),
            fields: left.join(", "),
        })
    }

    /// Restores an object that server-side apply cannot merge, for example because an entry of a list has got another key,
    /// and applies again. Returns the refusal if that is not the cause.
    async fn replaced<K: Whole>(
        &self,
        wanted: &K,
        present: &Child<K>,
        refusal: ApplyError,
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
        if !is_repairable || !self.repairs.begin(current.meta(), &fields, Instant::now()) {
            return Err(refusal);
        }
        let restored = self.restored(wanted, &current, &fields).await?;
        self.applied(wanted.clone(), &Child::Ours(restored)).await
    }

    /// Removes the `fields` that others set.
    async fn restored<K: Whole>(
        &self,
        wanted: &K,
        present: &K,
        fields: &[String],
    ) -> Result<K, ApplyError> {
        let name = wanted.name_any();
        let patch = serde_json::from_value(restoration(present, wanted))
            .map_err(|source| ApplyError::api("patch", wanted, kube::Error::SerdeError(source)))?;
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let restored = self
            .api_of(wanted)
            .patch(&name, &parameters, &Patch::<()>::Json(patch))
            .await
            .map_err(|source| ApplyError::of_restoration(wanted, source));
        if matches!(restored, Err(ApplyError::Overtaken { .. })) {
            self.repairs.overtaken(present.meta(), fields);
        }
        let restored = restored?;
        if restored.resource_version() != present.resource_version() {
            self.metrics.wrote(K::kind(&()));
        }
        Ok(restored)
    }
}
