//! Why a pass over a resource ended early, in the words that people, metrics and conditions have for it.

use crate::{
    api::SpecError,
    apply::ApplyError,
    own_credentials::OwnProblem,
    pki::InspectError,
    render::RenderError,
    rotation::{RotationError, state::StateError},
    supply::SupplyProblem,
};

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The resource was never stored.
    #[error("the resource has no name, namespace or uid")]
    Nameless,
    /// The spec asks for what cannot be.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is no password to begin with.
    #[error("nothing is published yet, because there is no password: {0}")]
    NoPassword(OwnProblem),
    /// There is no certificate to begin with.
    #[error("nothing is published yet, because there is no certificate to serve: {0}")]
    IssuerNotReady(SupplyProblem),
    /// A child's name is taken.
    #[error(
        "{0} exists and was not made by this resource: it is not touched. Delete or rename it, or rename the SecureExporter"
    )]
    Foreign(String),
    /// The children of a deleted resource of the same name are still there.
    #[error(
        "{0} belongs to a deleted SecureExporter of the same name: waiting for the garbage collector"
    )]
    Leftover(String),
    /// The state Secret is damaged.
    #[error(
        "Secret {name}: {source}. Restore it from a backup; if there is none, delete it, and every scraper must read its Secret anew"
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
    /// The API server could not be read from.
    #[error("cannot read the children: {0}")]
    Observe(#[source] kube::Error),
    /// Something could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The task that makes keys was cancelled.
    #[error("making keys was interrupted")]
    Interrupted,
}

impl ReconcileError {
    /// A word of few, for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Nameless => "Nameless",
            Self::Spec(_) => "InvalidSpec",
            Self::NoPassword(_) => "PasswordUnusable",
            Self::IssuerNotReady(_) => "IssuerNotReady",
            Self::Foreign(_) => "ForeignObject",
            Self::Leftover(_) => "WaitingForGarbageCollector",
            Self::State { .. } | Self::Inspect(_) => "StateDamaged",
            Self::Rotation(_) => "IssuanceFailed",
            Self::Render(_) => "NothingSafeToPublish",
            Self::Observe(_) => "ApiServerUnavailable",
            Self::Apply(ApplyError::Taken { .. }) => "ForeignObject",
            Self::Apply(ApplyError::Older { .. }) => "OlderState",
            Self::Apply(error) if error.is_conflict() => "Conflict",
            Self::Apply(error) if error.is_namespace_ending() => "NamespaceTerminating",
            Self::Apply(_) => "WriteFailed",
            Self::Interrupted => "Interrupted",
        }
    }

    /// Whether the same try may succeed by itself soon, and is no news to anybody.
    pub fn is_passing(&self) -> bool {
        matches!(
            self.category(),
            "Conflict"
                | "NamespaceTerminating"
                | "ApiServerUnavailable"
                | "Interrupted"
                | "WaitingForGarbageCollector"
        )
    }
}
