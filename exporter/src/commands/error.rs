//! How a command fails.

use super::{password, pki, staged};
use crate::credentials::snapshot::SnapshotError;

/// Why a command ended without doing what it should; the message names the thing, the place and the mend.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Password(#[from] password::PasswordError),
    #[error(transparent)]
    Certificate(#[from] pki::PkiError),
    #[error(transparent)]
    Files(#[from] staged::StagedError),
    #[error(transparent)]
    Configuration(#[from] SnapshotError),
    #[error("{0}")]
    Refused(String),
}
