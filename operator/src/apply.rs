//! Writes the generated objects, the status and the Leases. Objects that are up to date are not written.

mod certificate_requests;
pub mod drift;
pub mod error;
pub(crate) mod leases;
pub mod ownership;
mod pod_monitor;
mod recreation;
mod repair;
pub mod repairs;
pub mod sequence;
pub mod verified;

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{ConfigMap, Secret},
        rbac::v1::RoleBinding,
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    api::{SecureExporter, SecureExporterStatus},
    apply::{
        error::ApplyError,
        ownership::{adopt_foreign_metadata, has_same_controller, keeps, own},
        repairs::Repairs,
        sequence::SEQUENCE,
        verified::Verified,
    },
    names::{ChildKind, FIELD_MANAGER, Owner, published_generation},
    observe::children::{Child, Observed, controllers},
    render::{Children, Discovery},
    secret_object::{SecretObject, wipe},
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
        let patch = json!({"metadata": {"uid": binding.metadata.uid}, "subjects": null});
        self.api_of(binding)
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(|source| ApplyError::api("patch", binding, source))?;
        self.metrics.wrote(RoleBinding::kind(&()));
        Ok(())
    }

    /// Replaces an object with generated material only in the version that was read: a blind write could lose a key.
    async fn generated<K: Generated>(
        &self,
        wanted: &K,
        present: &Child<K>,
    ) -> Result<(), ApplyError> {
        let name = wanted.name_any();
        let Some(present) = own(present, &name)? else {
            return self.created(wanted).await;
        };
        if present.has_content_of(wanted) && keeps(present, wanted) {
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
        replaced
            .map_err(|source| ApplyError::api("update", wanted, source))?
            .wipe();
        self.metrics.wrote(K::kind(&()));
        Ok(())
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
                let is_as_wanted = has_same_controller(found.meta(), wanted.meta())
                    && found.has_content_of(wanted)
                    && keeps(&found, wanted);
                found.wipe();
                if !is_as_wanted {
                    // The next pass reads it and decides.
                    return Err(ApplyError::api("create", wanted, source));
                }
            }
            created => {
                created
                    .map_err(|source| ApplyError::api("create", wanted, source))?
                    .wipe();
            }
        }
        self.metrics.wrote(K::kind(&()));
        Ok(())
    }

    /// Writes an object in which fields of others do no harm, unless it is still as it was after the last write.
    async fn small<K>(&self, wanted: K, present: &Child<K>) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        if present
            .ours()
            .is_some_and(|present| self.verified.holds(present, &wanted))
        {
            return Ok(());
        }
        let written = self.applied(wanted.clone(), present).await?;
        self.verified.note(&written, &wanted);
        Ok(())
    }

    /// Writes other objects by server-side apply, which only changes our fields.
    async fn applied<K, P>(&self, mut wanted: K, present: &Child<P>) -> Result<K, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
        P: Resource<DynamicType = ()>,
    {
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

/// An object whose content is generated from the state.
trait Generated:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
    /// Whether the part that must be exactly as rendered is the same.
    fn has_content_of(&self, other: &Self) -> bool;

    /// Overwrites what is secret, when it is no longer needed.
    fn wipe(&mut self);
}

impl Generated for Secret {
    fn has_content_of(&self, other: &Self) -> bool {
        self.data.iter().flatten().eq(other.data.iter().flatten())
    }

    fn wipe(&mut self) {
        wipe(self);
    }
}

impl Generated for ConfigMap {
    fn has_content_of(&self, other: &Self) -> bool {
        self.data.iter().flatten().eq(other.data.iter().flatten())
    }

    fn wipe(&mut self) {}
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
