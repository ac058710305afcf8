//! Why a pass could not do everything that a resource asks for, with the text for users and the category for metrics and
//! conditions.

use crate::{
    apply::error::ApplyError,
    names::ChildKind,
    observe::api_error::{self, Class},
    render::RenderError,
    rotation::{carry_out::make::RotationError, state::format::StateError},
    spec::SpecError,
    supplied::{certificate::SupplyProblem, credentials::CredentialsProblem},
};
use secure_exporter_pki::InspectError;

/// A problem of a pass. It only stops what depends on it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The spec is invalid, and an earlier one was accepted.
    #[error(
        "{0}. The spec was not accepted: the exporters keep running unchanged, and the operator still renews their certificates and passwords according to the last accepted spec"
    )]
    Spec(#[source] SpecError),
    /// The spec is invalid, and none was accepted before.
    #[error("{0}. The spec was not accepted, and no earlier one was, so nothing is issued")]
    FirstSpec(#[source] SpecError),
    /// The operator's policy forbids the pods of this spec.
    #[error(
        "{0}. The DaemonSet stays as it is, and the operator still renews certificates and passwords"
    )]
    Workload(#[source] SpecError),
    /// There is no password yet.
    #[error("nothing can be published yet, because there is no usable password: {0}")]
    NoPassword(#[source] CredentialsProblem),
    /// There is no serving certificate yet.
    #[error("nothing can be published yet, because there is no usable serving certificate: {0}")]
    IssuerNotReady(#[source] SupplyProblem),
    /// The state Secret is damaged.
    #[error(
        "cannot use Secret {name}: {source}. The exporters keep what they have, and nothing is renewed. Restore the Secret from a backup; if there is none, delete it, and the operator rebuilds it from the published objects or issues new credentials, which every scraper must then read again"
    )]
    State {
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        source: StateError,
    },
    /// A certificate in the state cannot be read.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The next state could not be created.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// Nothing safe could be rendered.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// An object could not be read.
    #[error("cannot read {what}: {said}")]
    Read {
        /// The object or objects.
        what: &'static str,
        /// The kind of failure.
        class: Class,
        /// The API server's message.
        said: String,
    },
    /// A generated object could not be written.
    #[error("{source}")]
    Child {
        /// The object.
        child: ChildKind,
        /// The cause.
        #[source]
        source: ApplyError,
    },
    /// Another object could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The task that generates keys was cancelled.
    #[error("cannot generate keys: the task was cancelled")]
    Interrupted,
}

impl Problem {
    /// A failed read of `what`.
    pub fn read(what: &'static str, source: &kube::Error) -> Self {
        Self::Read {
            what,
            class: api_error::class(source),
            said: api_error::text(source),
        }
    }

    /// A generated object that could not be written.
    pub fn child(child: ChildKind, source: ApplyError) -> Self {
        Self::Child { child, source }
    }

    /// Whether only a change of the spec or of the operator's policy can solve it.
    pub fn is_of_spec(&self) -> bool {
        matches!(self, Self::Spec(_) | Self::FirstSpec(_) | Self::Workload(_))
    }

    /// Whether another writer was faster, so that reading and deciding again solves it.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Child { source, .. } | Self::Apply(source) => source.is_conflict(),
            _ => false,
        }
    }

    /// The category, for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Spec(_) | Self::FirstSpec(_) => "InvalidSpec",
            Self::Workload(_) => "WorkloadRefused",
            Self::NoPassword(_) => "PasswordUnusable",
            Self::IssuerNotReady(_) => "IssuerNotReady",
            Self::State { .. } | Self::Inspect(_) => "StateDamaged",
            Self::Rotation(_) => "IssuanceFailed",
            Self::Render(_) => "NothingSafeToPublish",
            Self::Read { class, .. } => of_class(*class, "ReadFailed"),
            Self::Child { source, .. } | Self::Apply(source) => of_apply(source),
            Self::Interrupted => "Interrupted",
        }
    }

    /// Whether a retry may succeed without any action of a user. Such a problem is logged and counted, but does not change
    /// conditions.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Read { class, .. } => class.is_passing(),
            Self::Child { source, .. } | Self::Apply(source) => source.is_passing(),
            Self::Interrupted => true,
            _ => false,
        }
    }
}

fn of_apply(error: &ApplyError) -> &'static str {
    match error {
        ApplyError::Taken { .. } => "ForeignObject",
        ApplyError::Leftover { .. } => "WaitingForGarbageCollector",
        ApplyError::Older { .. } => "OlderState",
        ApplyError::Immutable { .. } => "ImmutableField",
        ApplyError::Drift { .. } => "ForeignFields",
        ApplyError::Overtaken { .. } => "Conflict",
        ApplyError::Unread { class, .. } => of_class(*class, "ReadFailed"),
        ApplyError::Api { source, .. } => of_api(source, "WriteFailed"),
    }
}

fn of_api(error: &kube::Error, otherwise: &'static str) -> &'static str {
    of_class(api_error::class(error), otherwise)
}

fn of_class(class: Class, otherwise: &'static str) -> &'static str {
    match class {
        Class::Conflict => "Conflict",
        Class::Forbidden => "Forbidden",
        Class::Unauthorized => "Unauthorized",
        Class::NamespaceTerminating => "NamespaceTerminating",
        Class::NotFound => "NotFound",
        Class::TooManyRequests => "ApiServerBusy",
        Class::Unavailable => "ApiServerUnavailable",
        Class::Refused => otherwise,
    }
}
