//! Why a Lease could not be held.

use crate::observe::api_error;

/// Why a Lease could not be held.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// It could not be read, so it is not known who serves the namespace.
    #[error("cannot read it: {}", api_error::text(.0))]
    Unread(#[source] kube::Error),
    /// It could not be read, and this release was the last one to hold it.
    #[error("cannot read it: {}", api_error::text(.0))]
    Unconfirmed(#[source] kube::Error),
    /// Nobody else holds it, and it could not be written.
    #[error("cannot write it: {}", api_error::text(.0))]
    Unwritten(#[source] kube::Error),
}
