//! What keeps a pass from carrying out all that a resource asks for, in the words that people, metrics and conditions have
//! for it.

use crate::{
    apply::error::ApplyError,
    names::ChildKind,
    observe::api_error::{self, Class},
    render::RenderError,
    rotation::{carry_out::RotationError, state::StateError},
    spec::SpecError,
    supplied::{certificate::SupplyProblem, credentials::OwnProblem},
};
use secure_exporter_pki::InspectError;

/// Something that a pass could not carry out. It stops what depends on it, and nothing else.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The spec asks for what cannot be, and another one was accepted before.
    #[error(
        "{0}. This spec is not accepted: the exporters keep what they have, and their certificates and passwords are still renewed as the last accepted spec says"
    )]
    Spec(#[source] SpecError),
    /// The spec asks for what cannot be, and none was accepted before.
    #[error("{0}. No spec of this resource has been accepted yet, so nothing is issued")]
    FirstSpec(#[source] SpecError),
    /// The operator's policy forbids what the pods would be made of.
    #[error("{0}. The DaemonSet stays as it is; certificates and passwords are still renewed")]
    Workload(#[source] SpecError),
    /// There is no password to begin with.
    #[error("nothing is published yet, because there is no password: {0}")]
    NoPassword(#[source] OwnProblem),
    /// There is no certificate to begin with.
    #[error("nothing is published yet, because there is no certificate to serve: {0}")]
    IssuerNotReady(#[source] SupplyProblem),
    /// The state Secret is damaged.
    #[error(
        "Secret {name}: {source}. Restore it from a backup; if there is none, delete it, and every scraper must read its Secret again"
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
    /// The next state could not be made.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// Nothing safe could be rendered.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Something could not be read.
    #[error("cannot read {what}: {said}")]
    Read {
        /// What.
        what: &'static str,
        /// What kind of failure it was.
        class: Class,
        /// What the API server said.
        said: String,
    },
    /// A child could not be written.
    #[error("{source}")]
    Child {
        /// Which.
        child: ChildKind,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// Something else could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The task that makes keys was cancelled.
    #[error("making keys was interrupted")]
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

    /// A child that could not be written.
    pub fn child(child: ChildKind, source: ApplyError) -> Self {
        Self::Child { child, source }
    }

    /// Whether only another spec, or another policy, can help.
    pub fn is_of_spec(&self) -> bool {
        matches!(self, Self::Spec(_) | Self::FirstSpec(_) | Self::Workload(_))
    }

    /// Whether another writer was faster: reading and deciding again is all that it takes.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Child { source, .. } | Self::Apply(source) => source.is_conflict(),
            _ => false,
        }
    }

    /// A word of few, for metrics and conditions.
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

    /// Whether the same try may succeed soon without anybody's help: it is logged and counted, and no condition follows it.
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
        Class::TooManyRequests => "ApiServerBusy",
        Class::Unavailable => "ApiServerUnavailable",
        Class::Refused => otherwise,
    }
}
