//! The only module that writes. Whatever is as it should be is left alone, so that a steady system writes nothing.

pub mod error;
pub mod intruders;
mod kind;
pub mod ownership;

use std::{collections::BTreeMap, fmt::Debug};

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
        kind::Named,
        ownership::{adopt_foreign_metadata, keeps, own},
    },
    names::{ChildKind, FIELD_MANAGER, Owner, published_generation},
    observe::children::{Child, Observed},
    render::{Children, Discovery},
    supplied::cert_manager::CertificateRequest,
    telemetry::metrics::Metrics,
};

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
    pub async fn state(&self, wanted: Secret, present: &Child<Secret>) -> Result<(), ApplyError> {
        self.generated(wanted, present).await
    }

    /// Writes every child that is not as it should be, in an order in which nothing refers to what is not there yet. One
    /// that cannot be written stops only itself and what refers to it: what went wrong, of each.
    pub async fn children(
        &self,
        children: Children,
        observed: &Observed,
    ) -> Vec<(ChildKind, ApplyError)> {
        let account = self
            .applied(children.service_account, &observed.service_account)
            .await
            .map(|_| ());
        let discovery = self.discovery(children.discovery, observed).await;
        let server = self
            .generated(children.server_secret, &observed.server)
            .await;
        let bundle = self
            .generated(children.ca_config_map, &observed.authority)
            .await;
        let service = self.applied(children.service, &observed.service).await;
        let has_mounts = (account.is_ok() || observed.service_account.ours().is_some())
            && (server.is_ok() || observed.server.ours().is_some());
        let daemon_set = match children.daemon_set.filter(|_| has_mounts) {
            Some(wanted) => self.daemon_set(wanted, &observed.daemon_set).await,
            None => Ok(()),
        };
        // Last, and only behind the exporters' own: whoever mounts it finds exporters that know what it holds.
        let scrape = match &server {
            Ok(()) => {
                self.generated(children.scrape_secret, &observed.scrape)
                    .await
            }
            Err(_) => Ok(()),
        };
        let outcomes = [
            (ChildKind::Server, server),
            (ChildKind::Scrape, scrape),
            (ChildKind::DaemonSet, daemon_set),
            (ChildKind::Bundle, bundle),
            (ChildKind::ServiceAccount, account),
            (ChildKind::Discovery, discovery),
            (ChildKind::Service, service.map(|_| ())),
        ];
        let failed = outcomes.into_iter();
        failed
            .filter_map(|(child, outcome)| Some((child, outcome.err()?)))
            .collect()
    }

    async fn discovery(
        &self,
        wanted: Option<Discovery>,
        observed: &Observed,
    ) -> Result<(), ApplyError> {
        match (wanted, observed.role_binding.ours()) {
            (Some(wanted), _) => {
                self.applied(wanted.role, &observed.role).await?;
                self.applied(wanted.role_binding, &observed.role_binding)
                    .await?;
                Ok(())
            }
            (None, Some(binding)) => self.withdraw(binding).await,
            (None, None) => Ok(()),
        }
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
            Err(source) => Err(failed("create", CertificateRequest::KIND, &name, source)),
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
            Err(source) => Err(failed("delete", CertificateRequest::KIND, &name, source)),
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
            Err(source) => Err(failed(
                "patch the status of",
                "SecureExporter",
                &owner.name,
                source,
            )),
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
            .map_err(|source| failed("patch", RoleBinding::KIND, &name, source))?;
        self.metrics.wrote(RoleBinding::KIND);
        Ok(())
    }

    /// What holds generated material is never written blindly: a write that raced with another would lose a key.
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
        written.map_err(|source| failed(verb, K::KIND, &name, source))?;
        self.metrics.wrote(K::KIND);
        Ok(())
    }

    /// Everything else is applied: the API server changes our fields alone, and nothing where they are as they should be.
    async fn applied<K>(&self, mut wanted: K, present: &Child<K>) -> Result<K, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Named,
    {
        let name = wanted.name_any();
        let present = own(present, &name)?;
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
            .map_err(|source| failed("apply", K::KIND, &name, source))?;
        if present.and_then(|object| object.resource_version()) != written.resource_version() {
            self.metrics.wrote(K::KIND);
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
            .map_err(|source| failed("patch", DaemonSet::KIND, &name, source))?;
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

fn failed(verb: &'static str, kind: &'static str, name: &str, source: kube::Error) -> ApplyError {
    ApplyError::Api {
        verb,
        kind,
        name: name.to_owned(),
        source,
    }
}

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
