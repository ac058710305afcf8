//! Writes the generated objects, the status and the Leases. Objects that are up to date are not written.

mod certificate_requests;
pub mod drift;
pub mod error;
mod field_managers;
mod generated;
pub(crate) mod leases;
pub mod ownership;
mod pod_monitor;
mod recreation;
mod repair;
pub mod repairs;
pub mod restorations;
pub mod sequence;
pub mod verified;

use std::time::Instant;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{core::v1::Secret, rbac::v1::RoleBinding},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    api::{SecureExporter, SecureExporterStatus},
    apply::{
        drift::Applied, error::ApplyError, ownership::own, repairs::Repairs,
        restorations::Restoration, sequence::SEQUENCE, verified::Verified,
    },
    names::{ChildKind, FIELD_MANAGER, Owner},
    observe::children::{Child, Observed, controllers},
    render::{Children, Discovery},
    secret_object::SecretObject,
    telemetry::metrics::Metrics,
};

/// The objects that a pass wants to be stored.
pub struct Wanted {
    /// The Secret with the state; `None` if the stored one is up to date.
    pub state: Option<SecretObject>,
    /// The objects that are rendered from the state; `None` before there is one.
    pub children: Option<Children>,
}

/// Writes objects, and counts what it wrote.
pub struct Writer<'a> {
    /// Client for the API server.
    pub client: &'a Client,
    /// Counts the writes.
    pub metrics: &'a Metrics,
    /// The repairs that were tried.
    pub repairs: &'a Repairs,
    /// What need not be applied again.
    pub verified: &'a Verified,
}

impl Writer<'_> {
    /// Writes the objects that are not up to date, in the order of [`SEQUENCE`]. An object that cannot be written only stops
    /// those that depend on it. Returns the errors.
    pub async fn write(
        &self,
        wanted: &Wanted,
        observed: &Observed,
    ) -> Vec<(ChildKind, ApplyError)> {
        let mut failed: Vec<(ChildKind, ApplyError)> = Vec::new();
        for write in SEQUENCE {
            let children: Vec<ChildKind> = failed.iter().map(|(child, _)| *child).collect();
            if write.is_held(&children) {
                continue;
            }
            if let Err(error) = self.write_one(write.child, wanted, observed).await {
                failed.push((write.child, error));
            }
        }
        failed
    }

    async fn write_one(
        &self,
        child: ChildKind,
        wanted: &Wanted,
        observed: &Observed,
    ) -> Result<(), ApplyError> {
        if child == ChildKind::State {
            let Some(state) = &wanted.state else {
                return Ok(());
            };
            if matches!(observed.state, Child::Absent) {
                self.confirm_existence(state).await?;
            }
            return self.generated(&**state, &observed.state).await;
        }
        let Some(children) = &wanted.children else {
            return Ok(());
        };
        match child {
            ChildKind::State => Ok(()),
            ChildKind::ServiceAccount => {
                let account = children.service_account.clone();
                self.small(account, &observed.service_account).await
            }
            ChildKind::Discovery => self.discovery(children.discovery.clone(), observed).await,
            ChildKind::Server => {
                let server: &Secret = &children.server_secret;
                self.generated(server, &observed.server).await
            }
            ChildKind::Bundle => {
                let bundle = &children.ca_config_map;
                self.generated(bundle, &observed.authority).await
            }
            ChildKind::Service => {
                self.whole(children.service.clone(), &observed.service)
                    .await
            }
            ChildKind::DaemonSet => match children.daemon_set.clone() {
                Some(daemon_set) => self.whole(daemon_set, &observed.daemon_set).await,
                None => Ok(()),
            },
            ChildKind::Scrape => {
                let scrape: &Secret = &children.scrape_secret;
                self.generated(scrape, &observed.scrape).await
            }
        }
    }

    /// Reads whether the resource of a new state still exists. The cache may be old, and a state for a deleted resource would
    /// be a CA that nobody asked for, which the next resource of this name would have to wait for.
    async fn confirm_existence(&self, state: &Secret) -> Result<(), ApplyError> {
        let Some(owner) = controllers(&state.metadata).next() else {
            return Ok(());
        };
        let namespace = state.namespace().unwrap_or_default();
        let api: Api<SecureExporter> = Api::namespaced(self.client.clone(), &namespace);
        let live = api
            .get_metadata_opt(&owner.name)
            .await
            .map_err(|source| ApplyError::api("create", state, source))?;
        let exists = live.is_some_and(|live| {
            live.metadata.uid.as_ref() == Some(&owner.uid)
                && live.metadata.deletion_timestamp.is_none()
        });
        if exists {
            return Ok(());
        }
        Err(ApplyError::Orphaned {
            name: state.name_any(),
            resource: owner.name.clone(),
        })
    }

    async fn discovery(
        &self,
        wanted: Option<Discovery>,
        observed: &Observed,
    ) -> Result<(), ApplyError> {
        if let Some(wanted) = wanted {
            self.small(wanted.role, &observed.role).await?;
            return self
                .small(wanted.role_binding, &observed.role_binding)
                .await;
        }
        match &observed.role_binding {
            Child::Ours(binding) => self.withdraw(binding).await,
            Child::Unknown(error) => {
                let kind = RoleBinding::kind(&());
                Err(ApplyError::unread(
                    kind,
                    "of the scrapers".to_owned(),
                    error,
                ))
            }
            Child::Absent | Child::Foreign | Child::Restored(_) | Child::Leftover => Ok(()),
        }
    }

    /// Writes the status if it changed.
    ///
    /// # Errors
    /// [`ApplyError`], unless the resource is gone.
    pub async fn status(
        &self,
        resource: &SecureExporter,
        owner: &Owner,
        status: &SecureExporterStatus,
    ) -> Result<(), ApplyError> {
        if resource.status.as_ref() == Some(status) {
            return Ok(());
        }
        let api: Api<SecureExporter> = Api::namespaced(self.client.clone(), &owner.namespace);
        // With the uid, the status is not written to a new resource of the same name.
        let patch =
            json!({"metadata": {"uid": owner.uid}, "status": with_removals(resource, status)});
        match api
            .patch_status(&owner.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Ok(_) => {
                self.metrics.wrote("Status");
                Ok(())
            }
            Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(()),
            Err(source) => Err(ApplyError::api("patch the status of", resource, source)),
        }
    }

    /// Writes the conditions of a resource that another release serves, unless it has changed since it was read.
    ///
    /// # Errors
    /// [`ApplyError`]
    pub async fn contended(
        &self,
        resource: &SecureExporter,
        owner: &Owner,
        status: &SecureExporterStatus,
    ) -> Result<(), ApplyError> {
        let api: Api<SecureExporter> = Api::namespaced(self.client.clone(), &owner.namespace);
        let patch = json!({
            "metadata": {"uid": owner.uid, "resourceVersion": resource.resource_version()},
            "status": {"conditions": status.conditions, "contendedTime": status.contended_time},
        });
        api.patch_status(&owner.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(|source| ApplyError::api("patch the status of", resource, source))?;
        self.metrics.wrote("Status");
        Ok(())
    }

    /// Empties the binding when no service account is listed any more. The operator has no permission to delete it.
    async fn withdraw(&self, binding: &RoleBinding) -> Result<(), ApplyError> {
        if binding.subjects.as_ref().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let name = binding.name_any();
        let empty = empty(binding);
        let fields = vec!["subjects".to_owned()];
        // Then another client filled it again.
        let was_empty = self.verified.was_applied(binding, &empty);
        if was_empty && !self.repairs.begin(binding.meta(), &fields, Instant::now()) {
            return Err(ApplyError::drift(binding, &fields));
        }
        let patch = json!({"metadata": {"uid": binding.metadata.uid}, "subjects": null});
        self.api_of(binding)
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(|source| ApplyError::api("patch", binding, source))?;
        self.metrics.wrote(RoleBinding::kind(&()));
        self.verified.note_differing(binding, &empty);
        if was_empty {
            let restoration = Restoration::of_changed(binding, fields);
            let restorations = &self.repairs.restorations;
            restorations.note(binding.meta(), restoration, Instant::now());
        }
        Ok(())
    }

    /// Writes other objects by server-side apply, which only changes our fields.
    async fn applied<K: Applied>(
        &self,
        mut wanted: K,
        present: &Child<K>,
    ) -> Result<K, ApplyError> {
        let name = wanted.name_any();
        let present = own(present, &name)?;
        // With the uid that was read, the API server refuses an object that was recreated in between.
        if let Some(present) = present {
            wanted.meta_mut().uid.clone_from(&present.meta().uid);
        }
        let parameters = &PatchParams::apply(FIELD_MANAGER).force();
        let written = self
            .api_of(&wanted)
            .patch(&name, parameters, &Patch::Apply(&wanted))
            .await
            .map_err(|source| ApplyError::api("apply", &wanted, source))?;
        if present.and_then(ResourceExt::resource_version) != written.resource_version() {
            self.metrics.wrote(K::kind(&()));
        }
        Ok(written)
    }

    /// The API for the objects of this kind and namespace.
    fn api_of<K>(&self, object: &K) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }
}

fn as_manager() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    }
}

fn is_already_there(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(refused) if refused.is_already_exists())
}

/// Sets fields that the new status does not have to null, at any depth, because a merge patch keeps what it does not name.
fn with_removals(resource: &SecureExporter, status: &SecureExporterStatus) -> serde_json::Value {
    let mut wanted = json!(status);
    remove_absent(&mut wanted, &json!(resource.status));
    wanted
}

fn remove_absent(wanted: &mut serde_json::Value, present: &serde_json::Value) {
    let (Some(wanted), Some(present)) = (wanted.as_object_mut(), present.as_object()) else {
        return;
    };
    for (field, value) in present {
        match wanted.get_mut(field) {
            Some(kept) => remove_absent(kept, value),
            None => {
                wanted.insert(field.clone(), serde_json::Value::Null);
            }
        }
    }
}

/// The binding without its subjects.
fn empty(binding: &RoleBinding) -> RoleBinding {
    RoleBinding {
        metadata: ObjectMeta {
            name: binding.metadata.name.clone(),
            namespace: binding.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        role_ref: binding.role_ref.clone(),
        subjects: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_gone_is_removed_at_any_depth() {
        let present = json!({"a": 1, "b": {"c": 1, "d": {"e": 1}}, "list": [{"f": 1}]});
        let mut wanted = json!({"b": {"d": {}}, "list": [{}]});
        remove_absent(&mut wanted, &present);
        let patch = json!({"a": null, "b": {"c": null, "d": {"e": null}}, "list": [{}]});
        assert_eq!(wanted, patch);
    }
}
