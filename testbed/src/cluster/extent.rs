//! How much of a cluster this user may run.

/// How much of a cluster this user may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Control plane and nodes, in their own networks; needs root.
    Whole,
    /// etcd, API server, controllers and scheduler on this machine's loopback address; everything except running pods.
    ControlPlane,
}
