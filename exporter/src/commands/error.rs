//! How a command fails.

use super::{password, pki, staged};
use crate::credentials::snapshot::SnapshotError;

/// Why a command failed; the message names what is wrong, where it is and how to fix it.
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
