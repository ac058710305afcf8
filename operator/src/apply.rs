//! The only module that writes. Whatever is as it should be is left alone, so that a steady system writes nothing.

use std::{collections::BTreeMap, fmt::Debug};

use k8s_openapi::{
    ByteString, NamespaceResourceScope,
    api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
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
    cert_manager::CertificateRequest,
    guests::expulsion,
    metrics::Metrics,
    names::{FIELD_MANAGER, Owner, published_generation},
    observe::Observed,
    render::Children,
};

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused, or did not answer.
    #[error("{kind} {name}: {source}")]
    Api {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// What it said. (Of an object's content it repeats only names of fields.)
        #[source]
        source: kube::Error,
    },
    /// The name is taken by an object of somebody else.
    #[error(
        "{kind} {name} exists and was not made by this resource: it is not touched. Delete or rename it"
    )]
    Taken {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
    },
    /// What is published is newer than what would be written: another operator is at work, or a backup was restored.
    #[error(
        "{kind} {name} holds generation {published} of the state, and the state is at {ours}: an older state is never published over a newer one. Was a backup restored? Delete {name} to publish the older one"
    )]
    Older {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// The generation that it holds.
        published: u64,
        /// The generation of the state.
        ours: u64,
    },
}

impl ApplyError {
    /// Whether somebody else wrote in between: reading again and deciding again is the mend.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.code == 409)
    }

    /// Whether the namespace is on its way out, in which nothing can be made any more.
    pub fn is_namespace_ending(&self) -> bool {
        let Self::Api {
            source: kube::Error::Api(status),
            ..
        } = self
        else {
            return false;
        };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes
            .map(|cause| cause.reason.as_str())
            .any(|reason| reason == "NamespaceTerminating")
    }
}

/// Writes objects, and counts what it wrote.
pub struct Writer<'a> {
    /// How to reach the API server.
    pub client: &'a Client,
    /// Where writes are counted.
    pub metrics: &'a Metrics,
}

impl Writer<'_> {
    /// Writes the Secret with the state: created, or replaced in exactly the version that was read.
    ///
    /// # Errors
    /// As [`ApplyError`] says.
    pub async fn state(&self, wanted: Secret, present: Option<&Secret>) -> Result<(), ApplyError> {
        self.generated(wanted, present).await
    }

    /// Writes every child that is not as it should be, in an order in which nothing refers to what is not there yet.
    ///
    /// # Errors
    /// As [`ApplyError`] says.
    pub async fn children(
        &self,
        children: Children,
        observed: &Observed,
    ) -> Result<(), ApplyError> {
        self.applied(children.service_account, observed.service_account.as_ref())
            .await?;
        if let Some(discovery) = children.discovery {
            self.applied(discovery.role, observed.role.as_ref()).await?;
            self.applied(discovery.role_binding, observed.role_binding.as_ref())
                .await?;
        } else if let Some(binding) = &observed.role_binding {
            self.withdraw(binding).await?;
        }
        self.generated(children.server_secret, observed.server.as_ref())
            .await?;
        self.generated(children.ca_config_map, observed.authority.as_ref())
            .await?;
        self.applied(children.service, observed.service.as_ref())
            .await?;
        self.daemon_set(children.daemon_set, observed.daemon_set.as_ref())
            .await?;
        // Last: whoever mounts it finds exporters that know what it holds.
        self.generated(children.scrape_secret, observed.scrape.as_ref())
            .await
    }

    /// Asks cert-manager. What is asked is never changed, so an object of another's under its name is an error.
    ///
    /// # Errors
    /// As [`ApplyError`] says.
    pub async fn ask(&self, wanted: &CertificateRequest) -> Result<(), ApplyError> {
        let name = wanted.name_any();
        let parameters = &PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        match self.requests(wanted).create(parameters, wanted).await {
            Ok(_) => {
                self.metrics.wrote(CertificateRequest::KIND);
                Ok(())
            }
            Err(kube::Error::Api(refused)) if refused.code == 409 => Err(ApplyError::Taken {
                kind: CertificateRequest::KIND,
                name,
            }),
            Err(source) => Err(failed(CertificateRequest::KIND, &name, source)),
        }
    }

    /// Removes a request that was answered, or is not asked any more.
    ///
    /// # Errors
    /// As [`ApplyError`] says; one that is gone is no error.
    pub async fn withdraw_request(&self, present: &CertificateRequest) -> Result<(), ApplyError> {
        let name = present.name_any();
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: present.metadata.uid.clone(),
            resource_version: None,
        });
        match self.requests(present).delete(&name, &parameters).await {
            Ok(_) => {
                self.metrics.wrote(CertificateRequest::KIND);
                Ok(())
            }
            Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(()),
            Err(source) => Err(failed(CertificateRequest::KIND, &name, source)),
        }
    }

    fn requests(&self, one: &CertificateRequest) -> Api<CertificateRequest> {
        Api::namespaced(self.client.clone(), &one.namespace().unwrap_or_default())
    }

    /// Writes the status where it differs.
    ///
    /// # Errors
    /// As [`ApplyError`] says; a resource that is gone is no error.
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
        // The uid keeps it from a new resource of the same name.
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
            Err(source) => Err(failed("SecureExporter", &owner.name, source)),
        }
    }

    /// Nobody is listed any more. The binding stays, without subjects: the operator has no right to delete.
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
            .map_err(|source| failed(RoleBinding::KIND, &name, source))?;
        self.metrics.wrote(RoleBinding::KIND);
        Ok(())
    }

    /// What holds generated material is never written blindly: a write that raced with another would lose a key.
    async fn generated<K: Generated>(
        &self,
        mut wanted: K,
        present: Option<&K>,
    ) -> Result<(), ApplyError> {
        let name = wanted.name_any();
        let api: Api<K> =
            Api::namespaced(self.client.clone(), &wanted.namespace().unwrap_or_default());
        let parameters = &PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
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
                        kind: K::KIND,
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
        written.map_err(|source| failed(K::KIND, &name, source))?;
        self.metrics.wrote(K::KIND);
        Ok(())
    }

    /// Everything else is applied: the API server changes our fields alone, and nothing where they are as they should be.
    async fn applied<K>(&self, mut wanted: K, present: Option<&K>) -> Result<K, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Named,
    {
        let name = wanted.name_any();
        let api: Api<K> =
            Api::namespaced(self.client.clone(), &wanted.namespace().unwrap_or_default());
        // With the uid of what was read, an object that was exchanged in between is refused instead of taken over.
        if let Some(present) = present {
            wanted.meta_mut().uid.clone_from(&present.meta().uid);
        }
        let parameters = &PatchParams::apply(FIELD_MANAGER).force();
        let written = api
            .patch(&name, parameters, &Patch::Apply(&wanted))
            .await
            .map_err(|source| failed(K::KIND, &name, source))?;
        if present.and_then(|object| object.resource_version()) != written.resource_version() {
            self.metrics.wrote(K::KIND);
        }
        Ok(written)
    }

    async fn daemon_set(
        &self,
        wanted: DaemonSet,
        present: Option<&DaemonSet>,
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
            .map_err(|source| failed(DaemonSet::KIND, &name, source))?;
        self.metrics.wrote(DaemonSet::KIND);
        Ok(())
    }
}

/// A merge patch leaves out what it does not name, so what the new status no longer has is named as null.
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

/// Labels, annotations and owners of ours that `present` must have; what others added stays.
fn keeps<K: Resource>(present: &K, wanted: &K) -> bool {
    let has = |present: Option<&BTreeMap<String, String>>,
               wanted: Option<&BTreeMap<String, String>>| {
        wanted
            .into_iter()
            .flatten()
            .all(|(key, value)| present.and_then(|map| map.get(key)) == Some(value))
    };
    let (present, wanted) = (present.meta(), wanted.meta());
    has(present.labels.as_ref(), wanted.labels.as_ref())
        && has(present.annotations.as_ref(), wanted.annotations.as_ref())
        && wanted.owner_references.iter().flatten().all(|owner| {
            present
                .owner_references
                .iter()
                .flatten()
                .any(|one| one == owner)
        })
}

fn adopt_foreign_metadata<K: Resource>(wanted: &mut K, present: &K) {
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

fn failed(kind: &'static str, name: &str, source: kube::Error) -> ApplyError {
    ApplyError::Api {
        kind,
        name: name.to_owned(),
        source,
    }
}

/// The kind as metrics and errors name it.
trait Named {
    const KIND: &'static str;
}

macro_rules! named {
    ($($kind:ident),*) => {$(
        impl Named for $kind {
            const KIND: &'static str = stringify!($kind);
        }
    )*};
}

named!(
    CertificateRequest,
    Secret,
    ConfigMap,
    DaemonSet,
    Service,
    ServiceAccount,
    Role,
    RoleBinding
);

/// An object whose content is generated from the state.
trait Generated:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Named
{
    /// What must be exactly as rendered.
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
