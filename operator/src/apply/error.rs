//! Why a write was not made.

use std::borrow::Cow;

use kube::{Resource, ResourceExt};
use serde::Serialize;

use crate::{
    apply::{
        field_managers::setter,
        recreation::{immutable_field, recreation_command},
        restorations::set_by,
    },
    names::{ADOPT_ANNOTATION, Owner},
    observe::api_error::{self, Class},
};

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused the request, or did not answer.
    #[error("cannot {verb} {kind} {name}: {}", api_error::text(source))]
    Api {
        /// The verb of the request.
        verb: &'static str,
        /// Kind of the object.
        kind: Cow<'static, str>,
        /// Name of the object.
        name: String,
        /// The cause. (The API server repeats only field names of an object's content.)
        #[source]
        source: Box<kube::Error>,
    },
    /// The resource was deleted, and perhaps created again, after the pass had begun.
    #[error(
        "did not create Secret {name}: SecureExporter {resource} was deleted, or deleted and created again, in the meantime"
    )]
    Orphaned {
        /// Name of the Secret with the state.
        name: String,
        /// Name of the resource.
        resource: String,
    },
    /// Another controller or a user created an object of this name.
    #[error(
        "cannot write {kind} {name}: an object of this name exists that does not belong to this SecureExporter; delete it, or choose another name for the SecureExporter"
    )]
    Taken {
        /// Kind of the object.
        kind: Cow<'static, str>,
        /// Name of the object.
        name: String,
    },
    /// The object seems to be restored from a backup, and the resource does not allow its adoption.
    #[error(
        "cannot write {kind} {name}: it has the labels of this SecureExporter but no owner, as after a restore from a backup. If it is from your backup, let the operator adopt it: kubectl annotate -n {} secexp {} {ADOPT_ANNOTATION}={} --overwrite. Otherwise delete it; but the Secret {} contains the key of the CA, which is lost with it",
        owner.namespace, owner.name, owner.uid, owner.state_secret()
    )]
    Restored {
        /// Kind of the object.
        kind: Cow<'static, str>,
        /// Name of the object.
        name: String,
        /// The resource.
        owner: Owner,
    },
    /// The garbage collector has not removed the object of a deleted resource yet.
    #[error(
        "cannot write {kind} {name} yet: the garbage collector is still deleting it, or it belongs to a deleted SecureExporter of the same name"
    )]
    Leftover {
        /// Kind of the object.
        kind: Cow<'static, str>,
        /// Name of the object.
        name: String,
    },
    /// The object could not be read, so it is not known what would be overwritten.
    #[error("cannot write {kind} {name}, because it cannot be read: {problem}")]
    Unread {
        /// Kind of the object.
        kind: Cow<'static, str>,
        /// Name of the object.
        name: String,
        /// The kind of failure.
        class: Class,
        /// The API server's message.
        problem: String,
    },
    /// A field has another value than the operator writes, and can never be changed.
    #[error(
        "cannot change {kind} {name}: {}. To create it again: {command}",
        api_error::text(source)
    )]
    Immutable {
        /// Kind of the object.
        kind: Cow<'static, str>,
        /// Name of the object.
        name: String,
        /// The API server's answer.
        #[source]
        source: Box<kube::Error>,
        /// Creates it again without a gap.
        command: String,
    },
    /// Others set fields that are ours, and set them again after the operator restored them.
    #[error(
        "{kind} {name} is not as the operator writes it, and what differs comes back when it is restored: {fields}{}. An admission webhook or policy, or another controller, sets these fields; exclude objects with the label app.kubernetes.io/managed-by=secure-exporter-operator there",
        set_by(by.as_deref())
    )]
    Drift {
        /// Kind of the object.
        kind: Cow<'static, str>,
        /// Name of the object.
        name: String,
        /// The paths of the fields.
        fields: String,
        /// The field manager that last set them, if it is known.
        by: Option<String>,
    },
    /// The object changed after it was read, so it was not repaired.
    #[error("cannot repair {kind} {name} yet: it changed at the same moment")]
    Overtaken {
        /// Kind of the object.
        kind: Cow<'static, str>,
        /// Name of the object.
        name: String,
    },
    /// The published state is newer than the one to be written: another operator is running, or a backup was restored.
    #[error(
        "cannot write {kind} {name}: it contains generation {published} of the state, but the state is at generation {ours}, perhaps because a backup was restored; delete {name} to publish the older state"
    )]
    Older {
        /// Kind of the object.
        kind: Cow<'static, str>,
        /// Name of the object.
        name: String,
        /// The generation that the object contains.
        published: u64,
        /// The generation of the state.
        ours: u64,
    },
}

impl ApplyError {
    /// A request about `object` that the API server refused or did not answer.
    pub(crate) fn api<K>(verb: &'static str, object: &K, source: kube::Error) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let (kind, name, source) = (K::kind(&()), object.name_any(), Box::new(source));
        match immutable_field(&source) {
            Some(field) => Self::Immutable {
                command: recreation_command(object, field),
                kind,
                name,
                source,
            },
            None => Self::Api {
                verb,
                kind,
                name,
                source,
            },
        }
    }

    /// Others set these fields of `object`, as it is now, again and again.
    pub(crate) fn drift<K: Resource<DynamicType = ()>>(object: &K, fields: &[String]) -> Self {
        Self::Drift {
            kind: K::kind(&()),
            name: object.name_any(),
            fields: fields.join(", "),
            by: setter(object.meta(), fields),
        }
    }

    /// The object changed before it could be repaired.
    pub(crate) fn overtaken<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let (kind, name) = (K::kind(&()), object.name_any());
        Self::Overtaken { kind, name }
    }

    /// Whether the API server found the object invalid that results from a write.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Api { source, .. } if is_invalid(source))
    }

    /// An object that could not be read.
    pub fn unread(kind: Cow<'static, str>, name: String, error: &kube::Error) -> Self {
        Self::Unread {
            kind,
            name,
            class: api_error::class(error),
            problem: api_error::text_of_read(error),
        }
    }

    /// Whether the object could not even be read.
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Unread { .. })
    }

    /// Whether another writer was faster.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Api { source, .. } => api_error::class(source) == Class::Conflict,
            Self::Overtaken { .. } => true,
            _ => false,
        }
    }

    /// Whether a retry may succeed without any action of a user.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Api { source, .. } => api_error::class(source).is_passing(),
            Self::Unread { class, .. } => class.is_passing(),
            Self::Orphaned { .. } => true,
            // The garbage collector takes seconds; if it takes longer, a user should know.
            Self::Leftover { .. }
            | Self::Taken { .. }
            | Self::Restored { .. }
            | Self::Older { .. } => false,
            Self::Immutable { .. } | Self::Drift { .. } => false,
            Self::Overtaken { .. } => true,
        }
    }
}

/// Whether a JSON patch was refused without naming a field of the object. Then either one of its tests failed, or an admission
/// policy refused the write.
pub(crate) fn is_without_field(refusal: &kube::Error) -> bool {
    is_invalid(refusal) && api_error::causes(refusal).all(|cause| cause.field.is_empty())
}

fn is_invalid(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(refused) if refused.code == 422)
}
