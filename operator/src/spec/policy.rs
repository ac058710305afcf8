//! What the operator's administrator allows the author of a resource.

use crate::spec::{
    image_policy::{ImagePolicy, ImagePolicyError},
    pod_policy::{PodPolicy, PodPolicyError},
};

/// What the author of a resource may put on the exporters' pods. The operator creates the pods with its own permissions, so
/// without a policy an author would gain what only the operator may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which images may run.
    pub images: ImagePolicy,
    /// Which labels, annotations, priority classes and resources the pods may have.
    pub pods: PodPolicy,
}

/// Why a flag of the policy is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// An image flag.
    #[error(transparent)]
    Images(#[from] ImagePolicyError),
    /// A flag about pods.
    #[error(transparent)]
    Pods(#[from] PodPolicyError),
}
