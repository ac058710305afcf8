//! Errors of the command line.

/// What is wrong with a command line; the message names the flag and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FlagError(pub(super) String);
