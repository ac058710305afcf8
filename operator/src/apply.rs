//! The only module that writes to the API server. Objects that are up to date are not written.

pub mod error;
pub mod intruders;
pub mod ownership;
pub mod sequence;

use std::{borrow::Cow, collections::BTreeMap, fmt::Debug};

use k8s_openapi::{
    ByteString, NamespaceResourceScope,
    api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Secret},
        rbac::v1::RoleBinding,
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    api::{SecureExporter, SecureExporterStatus},
    apply::{
        error::ApplyError,
        intruders::expulsion,
        ownership::{adopt_foreign_metadata, keeps, own},
        sequence::SEQUENCE,
    },
    names::{ChildKind, FIELD_MANAGER, Owner, published_generation},
    observe::children::{Child, Observed, controllers},
    render::{Children, Discovery},
    supplied::cert_manager::{Asked, CertificateRequest},
    telemetry::metrics::Metrics,
};

/// The objects that a pass wants to be stored.
pub struct Wanted {
    /// The Secret with the state; `None` if the stored one is up to date.
    pub state: Option<Secret>,
    /// The objects that are rendered from the state; `None` before there is one.
    pub children: Option<Children>,
}

/// Writes objects, and counts what it wrote.
pub struct Writer<'a> {
    /// Client for the API server.
    pub client: &'a Client,
    /// Counts the writes.
    pub metrics: &'a Metrics,
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
            let is_held = failed.iter().any(|(child, _)| write.behind.contains(child));
            if is_held {
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
            let Some(state) = wanted.state.clone() else {
                return Ok(());
            };
            if matches!(observed.state, Child::Absent) {
                self.confirm_existence(&state).await?;
            }
            return self.generated(state, &observed.state).await;
        }
        let Some(children) = &wanted.children else {
            return Ok(());
        };
        match child {
            ChildKind::State => Ok(()),
            ChildKind::ServiceAccount => {
                let account = children.service_account.clone();
                let applied = self.applied(account, &observed.service_account).await;
                applied.map(drop)
            }
            ChildKind::Discovery => self.discovery(children.discovery.clone(), observed).await,
            ChildKind::Server => {
                let server = children.server_secret.clone();
                self.generated(server, &observed.server).await
            }
            ChildKind::Bundle => {
                let bundle = children.ca_config_map.clone();
                self.generated(bundle, &observed.authority).await
            }
            ChildKind::Service => {
                let applied = self
                    .applied(children.service.clone(), &observed.service)
                    .await;
                applied.map(drop)
            }
            ChildKind::DaemonSet => match children.daemon_set.clone() {
                Some(daemon_set) => self.daemon_set(daemon_set, &observed.daemon_set).await,
                None => Ok(()),
            },
            ChildKind::Scrape => {
                let scrape = children.scrape_secret.clone();
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
            .map_err(|source| failed("get", "SecureExporter", &owner.name, source))?;
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
            self.applied(wanted.role, &observed.role).await?;
            self.applied(wanted.role_binding, &observed.role_binding)
                .await?;
            return Ok(());
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

    /// Creates the wanted CertificateRequest, and deletes all other ones of the resource.
    ///
    /// # Errors
    /// [`ApplyError`]
    pub async fn certificate_requests(
        &self,
        wanted: Option<CertificateRequest>,
        asked: &Asked,
    ) -> Result<(), ApplyError> {
        let Asked::Open(all) = asked else {
            return Ok(());
        };
        let is_wanted = |one: &CertificateRequest| {
            let wanted = wanted.as_ref();
            wanted.is_some_and(|wanted| wanted.name_any() == one.name_any())
        };
        for one in all.iter().filter(|one| !is_wanted(one)) {
            self.withdraw_request(one).await?;
        }
        match &wanted {
            Some(request) if !all.iter().any(is_wanted) => self.ask(request).await,
            _ => Ok(()),
        }
    }

    /// Creates a CertificateRequest. Existing ones are never changed, so a foreign object of the same name is an error.
    ///
    /// # Errors
    /// [`ApplyError`]
    async fn ask(&self, wanted: &CertificateRequest) -> Result<(), ApplyError> {
        let name = wanted.name_any();
        let parameters = &PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        match self.requests(wanted).create(parameters, wanted).await {
            Ok(_) => {
                self.metrics.wrote(CertificateRequest::kind(&()));
                Ok(())
            }
            Err(kube::Error::Api(refused)) if refused.code == 409 => Err(ApplyError::Taken {
                kind: CertificateRequest::kind(&()),
                name,
            }),
            Err(source) => Err(failed(
                "create",
                CertificateRequest::kind(&()),
                &name,
                source,
            )),
        }
    }

    /// Deletes a CertificateRequest that is completed or no longer wanted.
    ///
    /// # Errors
    /// [`ApplyError`], unless it is already gone.
    async fn withdraw_request(&self, present: &CertificateRequest) -> Result<(), ApplyError> {
        let name = present.name_any();
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: present.metadata.uid.clone(),
            resource_version: None,
        });
        match self.requests(present).delete(&name, &parameters).await {
            Ok(_) => {
                self.metrics.wrote(CertificateRequest::kind(&()));
                Ok(())
            }
            Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(()),
            Err(source) => Err(failed(
                "delete",
                CertificateRequest::kind(&()),
                &name,
                source,
            )),
        }
    }

    fn requests(&self, one: &CertificateRequest) -> Api<CertificateRequest> {
        Api::namespaced(self.client.clone(), &one.namespace().unwrap_or_default())
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
            Err(source) => Err(failed(
                "patch the status of",
                "SecureExporter",
                &owner.name,
                source,
            )),
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
            "status": {"conditions": status.conditions},
        });
        api.patch_status(&owner.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(|source| {
                failed("patch the status of", "SecureExporter", &owner.name, source)
            })?;
        self.metrics.wrote("Status");
        Ok(())
    }

    /// Empties the binding when no service account is listed any more. The operator has no permission to delete it.
    async fn withdraw(&self, binding: &RoleBinding) -> Result<(), ApplyError> {
        if binding.subjects.as_ref().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let name = binding.name_any();
        let api: Api<RoleBinding> = Api::namespaced(
            self.client.clone(),
            &binding.namespace().unwrap_or_default(),
        );
        let patch = json!({"metadata": {"uid": binding.metadata.uid}, "subjects": null});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(|source| failed("patch", RoleBinding::kind(&()), &name, source))?;
        self.metrics.wrote(RoleBinding::kind(&()));
        Ok(())
    }

    /// Replaces an object with generated material only in the version that was read: a blind write could lose a key.
    async fn generated<K: Generated>(
        &self,
        mut wanted: K,
        present: &Child<K>,
    ) -> Result<(), ApplyError> {
        let name = wanted.name_any();
        let present = own(present, &name)?;
        let api: Api<K> =
            Api::namespaced(self.client.clone(), &wanted.namespace().unwrap_or_default());
        let parameters = &PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let verb = if present.is_some() {
            "update"
        } else {
            "create"
        };
        let written = match present {
            None => api.create(parameters, &wanted).await,
            Some(present) => {
                if present.content() == wanted.content() && keeps(present, &wanted) {
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
                adopt_foreign_metadata(&mut wanted, present);
                wanted
                    .meta_mut()
                    .resource_version
                    .clone_from(&present.meta().resource_version);
                api.replace(&name, parameters, &wanted).await
            }
        };
        written.map_err(|source| failed(verb, K::kind(&()), &name, source))?;
        self.metrics.wrote(K::kind(&()));
        Ok(())
    }

    /// Writes other objects by server-side apply, which only changes our fields.
    async fn applied<K>(&self, mut wanted: K, present: &Child<K>) -> Result<K, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let name = wanted.name_any();
        let present = own(present, &name)?;
        let api: Api<K> =
            Api::namespaced(self.client.clone(), &wanted.namespace().unwrap_or_default());
        // With the uid that was read, the API server refuses an object that was recreated in between.
        if let Some(present) = present {
            wanted.meta_mut().uid.clone_from(&present.meta().uid);
        }
        let parameters = &PatchParams::apply(FIELD_MANAGER).force();
        let written = api
            .patch(&name, parameters, &Patch::Apply(&wanted))
            .await
            .map_err(|source| failed("apply", K::kind(&()), &name, source))?;
        if present.and_then(|object| object.resource_version()) != written.resource_version() {
            self.metrics.wrote(K::kind(&()));
        }
        Ok(written)
    }

    async fn daemon_set(
        &self,
        wanted: DaemonSet,
        present: &Child<DaemonSet>,
    ) -> Result<(), ApplyError> {
        let written = self.applied(wanted.clone(), present).await?;
        let Some(patch) = expulsion(&written, &wanted) else {
            return Ok(());
        };
        let name = wanted.name_any();
        let api: Api<DaemonSet> =
            Api::namespaced(self.client.clone(), &wanted.namespace().unwrap_or_default());
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        api.patch(&name, &parameters, &Patch::Merge(&patch))
            .await
            .map_err(|source| failed("patch", DaemonSet::kind(&()), &name, source))?;
        self.metrics.wrote(DaemonSet::kind(&()));
        Ok(())
    }
}

/// Sets fields that the new status does not have to null, because a merge patch keeps what it does not name.
fn with_removals(resource: &SecureExporter, status: &SecureExporterStatus) -> serde_json::Value {
    let mut wanted = json!(status);
    let present = json!(resource.status);
    if let (Some(wanted), Some(present)) = (wanted.as_object_mut(), present.as_object()) {
        for field in present.keys() {
            wanted.entry(field).or_insert(serde_json::Value::Null);
        }
    }
    wanted
}

fn failed(
    verb: &'static str,
    kind: impl Into<Cow<'static, str>>,
    name: &str,
    source: kube::Error,
) -> ApplyError {
    ApplyError::Api {
        verb,
        kind: kind.into(),
        name: name.to_owned(),
        source: Box::new(source),
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
    /// The part that must be exactly as rendered.
    fn content(&self) -> BTreeMap<String, ByteString>;
}

impl Generated for Secret {
    fn content(&self) -> BTreeMap<String, ByteString> {
        self.data.clone().unwrap_or_default()
    }
}

impl Generated for ConfigMap {
    fn content(&self) -> BTreeMap<String, ByteString> {
        let data = self.data.iter().flatten();
        data.map(|(key, value)| (key.clone(), ByteString(value.clone().into_bytes())))
            .collect()
    }
}
