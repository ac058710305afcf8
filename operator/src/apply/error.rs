//! Why a write was not made.

use crate::observe::api_error::{self, Class};

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused, or did not answer.
    #[error("cannot {verb} {kind} {name}: {}", api_error::text(source))]
    Api {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// What it said. (Of an object's content it repeats only names of fields.)
        #[source]
        source: kube::Error,
    },
    /// The name is taken by an object that another controller or a user has made.
    #[error(
        "{kind} {name} exists and was not made by this resource: it is not touched. Delete or rename it, or rename the SecureExporter"
    )]
    Taken {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
    },
    /// The garbage collector has not removed it yet.
    #[error(
        "{kind} {name} is being deleted, or belongs to a deleted SecureExporter of the same name: waiting for the garbage collector"
    )]
    Leftover {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
    },
    /// It was not read, so it is not known what would be written over.
    #[error("{kind} {name} could not be read, so it is not written: {problem}")]
    Unread {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// What kind of failure it was.
        class: Class,
        /// What the API server said.
        problem: String,
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
    /// Whether another writer was faster.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if api_error::class(source) == Class::Conflict)
    }

    /// Whether the same write may succeed soon without anybody's help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Api { source, .. } => api_error::class(source).is_passing(),
            Self::Unread { class, .. } => class.is_passing(),
            // The garbage collector takes seconds; where it takes longer a person should know.
            Self::Leftover { .. } | Self::Taken { .. } | Self::Older { .. } => false,
        }
    }
}
